"""What the control room relies on in any store of episodes of drift: moved from the revision that was read, or not."""

from __future__ import annotations

from dataclasses import replace

from drift.incidents import Incident, Word
from drift.reading import Layer
from serving.control.incident_form import encode_incident, encode_word
from serving.control.publication import Beside, HeardFinding, IncidentWrite, Job, LedgerEntry, Refused
from tests.contracts.conftest import Bench
from tests.drift.incidents import CANDIDATE, MODEL, STABLE, finding, incident

ENTRY = LedgerEntry("drift", "drift", "because", {"model": MODEL})
ONE = incident(finding(CANDIDATE, Layer.PREDICTION))
OTHER = replace(incident(finding(STABLE, Layer.UNIVARIATE)), identity="ep_0123456789abcdef")


def write(about: Incident, *, over: bool = False) -> IncidentWrite:
    """From the revision before it."""
    record = encode_incident(replace(about, over=over))
    return IncidentWrite(about.identity, about.model, about.revision - 1, about.revision, record, over)


async def test_an_empty_store_has_none(bench: Bench) -> None:
    """Nothing is open, nothing was, nobody is silent."""
    assert dict(await bench.store.open_incidents()) == {}
    assert list(await bench.store.incidents(10)) == []
    assert await bench.store.incident(ONE.identity) is None
    assert dict(await bench.store.silences()) == {}


async def test_an_episode_is_written_with_all_that_follows(bench: Bench) -> None:
    """The finding that is heard, the ledger, what is to be told: all of it, or nothing where it had moved."""
    store = bench.store
    beside = Beside(
        entries=(ENTRY,), jobs=(Job(0, "drift", 3),), heard=HeardFinding("", "1-0"), incidents=(write(ONE),)
    )
    assert (await store.note(beside)).done
    assert dict(await store.open_incidents()) == {MODEL: ONE}
    assert await store.incident(ONE.identity) == ONE
    late = await store.note(replace(beside, heard=HeardFinding("1-0", "2-0"), nonce="late"))
    assert (late.done, late.refused, late.by) == (False, Refused.EPISODE, ONE.identity)
    assert await store.heard_finding() == "1-0"
    assert len(await store.ledger(10)) == len(await store.due_jobs()) == 1
    after = ONE.next()
    assert (await store.note(Beside(incidents=(write(after),)))).done
    assert await store.incident(ONE.identity) == after


async def test_the_same_attempt_is_made_once(bench: Bench) -> None:
    """A command that is sent again because its connection broke gets the answer of the first time."""
    beside = Beside(entries=(ENTRY,), incidents=(write(ONE),))
    assert [(await bench.store.note(beside)).done for _ in range(2)] == [True, True]
    assert len(await bench.store.ledger(10)) == 1


async def test_a_model_has_one_that_is_open(bench: Bench) -> None:
    """Another begins when it is over, and is the newer one; what is over is found by its name."""
    store = bench.store
    await store.note(Beside(incidents=(write(ONE),)))
    refused = await store.note(Beside(incidents=(write(OTHER),)))
    assert (refused.refused, refused.by) == (Refused.EPISODE, ONE.identity)
    over = replace(ONE.next(), over=True)
    await store.note(Beside(incidents=(write(over, over=True),)))
    assert dict(await store.open_incidents()) == {}
    await store.note(Beside(incidents=(write(OTHER),)))
    assert dict(await store.open_incidents()) == {MODEL: OTHER}
    assert [one.identity for one in await store.incidents(10)] == [OTHER.identity, ONE.identity]
    assert list(await store.incidents(1)) == [OTHER]
    assert await store.incident(ONE.identity) == over


async def test_one_that_nobody_can_read_makes_room(bench: Bench) -> None:
    """For another that names it; else no finding of the model would ever be heard again."""
    store = bench.store
    await store.note(Beside(incidents=(replace(write(ONE), record='{"of": "another release"}'),)))
    assert dict(await store.open_incidents()) == {}
    assert dict(await store.lost_incidents()) == {MODEL: ONE.identity}
    assert (await store.note(Beside(incidents=(write(OTHER),)))).refused is Refused.EPISODE
    assert (await store.note(Beside(incidents=(replace(write(OTHER), replaces=ONE.identity),)))).done
    assert dict(await store.open_incidents()) == {MODEL: OTHER}
    assert dict(await store.lost_incidents()) == {}
    assert list(await store.incidents(10)) == [OTHER]


async def test_two_models_drift_apart(bench: Bench) -> None:
    """One script may write of both."""
    words = replace(OTHER, model="words")
    assert (await bench.store.note(Beside(incidents=(write(ONE), write(words))))).done
    assert dict(await bench.store.open_incidents()) == {MODEL: ONE, "words": words}


async def test_whoever_no_longer_leads_moves_nothing(bench: Bench) -> None:
    """An operator needs no lead."""
    fence = await bench.store.lead("one", 60)
    assert fence is not None
    refused = await bench.store.note(Beside(fence=fence - 1, incidents=(write(ONE),)))
    assert refused.refused is Refused.DEPOSED
    assert await bench.store.incident(ONE.identity) is None
    assert (await bench.store.note(Beside(incidents=(write(ONE),)))).done


async def test_silences_are_kept_and_taken_back(bench: Bench) -> None:
    """With who, why and until when, and with the ledger's entry."""
    word = Word("ada", "the migration", 10.0, 20.0)
    await bench.store.note(Beside(entries=(ENTRY,), silences={MODEL: encode_word(word)}))
    assert dict(await bench.store.silences()) == {MODEL: word}
    await bench.store.note(Beside(silences={"words": encode_word(word)}))
    await bench.store.note(Beside(silences={MODEL: ""}))
    assert dict(await bench.store.silences()) == {"words": word}
    assert len(await bench.store.ledger(10)) == 1
