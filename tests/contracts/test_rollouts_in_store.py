"""What rollouts rely on in any store: one winner per revision, all of a step or nothing, a fence that deposes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from router.commands import Pause, RollBack, ask
from router.match import Match
from router.policy import Policy, Rule
from router.rollout import Seen
from router.rollout import start as started
from serving.control.errors import Deposed, GatewayTooOld, ModelStopped, NotNow, RolloutActive, RolloutMoved
from serving.control.publication import Job
from serving.control.publishing import Beside, Change, LedgerEntry, RecordWrite, Refused, publish
from serving.control.rolling.document import document_from
from serving.control.rolling.kept import EVERYTHING, MOST_DUE, Answered, Claim, Stop
from serving.control.rolling.moving import begin, move
from serving.control.rolling.outward import Hook
from serving.control.rolling.records import Record, decode_record, new_id, written
from serving.control.rolling.service import _start_fact
from serving.leases import GatewayLease
from tests.contracts.conftest import Bench

MODEL = "digits"
CANARY = {"candidate": 2, "canary": {"needs": "minima", "steps": ["1%"], "hold": "1s"}}
SECRET = "whsec_" + "A" * 32


async def base(bench: Bench, model: str = MODEL) -> Policy:
    """A model with its first policy."""
    await bench.store.change(model, Policy(1, salt="s"), 0, who="settings")
    return Policy(1, salt="s")


async def begun(bench: Bench, model: str = MODEL, *, again: bool = False, **more: Any) -> Record:  # noqa: ANN401
    """A rollout that was started."""
    record = new(await bench.store.policy((await bench.store.state()).snapshot.models[model].digest), model, **more)
    said = _start_fact(record.rollout, 1.0, "ada", "", anew=False)
    return (await begin(bench.store, record, said, again=again, expected=None)).record


def new(
    policy: Policy, model: str = MODEL, document: Mapping[str, Any] = CANARY, hooks: tuple[Hook, ...] = ()
) -> Record:
    """A rollout that nobody has."""
    plan = document_from(dict(document)).plan
    return Record(started(new_id(), plan, policy, 1.0), model, "ada", 1.0, hooks=hooks)


async def back(bench: Bench, record: Record, fence: int | None = None) -> Record:
    """The rollout, rolled back."""
    step = ask(record.rollout, RollBack(who="ada", why="no"), Seen(2.0))
    return (await move(bench.store, record, step, fence=fence)).record


async def test_a_rollout_is_read_back_whole(bench: Bench) -> None:
    """Its record, its place among those in progress, and its entry in the ledger."""
    await base(bench)
    record = await begun(bench, hooks=(Hook("https://hooks.example.com/x", SECRET),))
    assert await bench.store.rollout(record.id) == record == decode_record(record.encode())
    look = await bench.store.look()
    assert (look.records, look.stopped, look.damaged) == ((record,), {}, {})
    assert list(await bench.store.rollouts(MODEL, 10)) == [record]
    assert list(await bench.store.rollouts("other", 10)) == []
    [newest, *_] = await bench.store.ledger(10)
    assert newest.entry.facts["rollout"]["id"] == record.id
    assert SECRET not in str(newest)
    assert SECRET not in repr(record)


async def test_what_is_not_there_is_said_to_be_nothing(bench: Bench) -> None:
    """An empty store has no rollouts, no stops, no counts, no deliveries."""
    look = await bench.store.look()
    assert (look.records, dict(look.stopped)) == ((), {})
    assert look.now_s > 1_600_000_000
    assert await bench.store.rollout("ro_000000000000") is None
    assert list(await bench.store.rollouts(None, 10)) == []
    assert await bench.store.counts("ro_000000000000") is None
    assert list(await bench.store.due_jobs()) == []
    assert await bench.store.barred(MODEL) == {}


async def test_of_twenty_steps_from_one_revision_one_is_taken(bench: Bench) -> None:
    """The others are told, and one entry and one epoch come of it."""
    await base(bench)
    record = await begun(bench)
    said = await asyncio.gather(*(back(bench, record) for _ in range(20)), return_exceptions=True)
    assert [type(one) for one in said].count(RolloutMoved) == 19
    assert len(await bench.store.ledger(100)) == 3


async def test_of_twenty_starts_one_is_done(bench: Bench) -> None:
    """A model has one rollout at a time; the losers are told which."""
    await base(bench)
    said = await asyncio.gather(*(begun(bench) for _ in range(20)), return_exceptions=True)
    [winner] = [one for one in said if isinstance(one, Record)]
    losers = [one for one in said if isinstance(one, RolloutActive)]
    assert len(losers) == 19
    assert {one.rollout for one in losers} == {winner.id}


async def test_rollouts_of_different_models_never_meet(bench: Bench) -> None:
    """Twenty models, twenty starts and twenty steps, none refused."""
    for number in range(20):
        await base(bench, f"m{number}")

    async def both(model: str) -> None:
        await back(bench, await begun(bench, model))

    await asyncio.gather(*(both(f"m{number}") for number in range(20)))
    assert (await bench.store.look()).records == ()
    assert len(await bench.store.rollouts(None, 100)) == 20


async def test_a_policy_set_by_hand_meets_a_rollout(bench: Bench) -> None:
    """The store itself refuses it, whoever checked what before."""
    await base(bench)
    record = await begun(bench)
    with pytest.raises(RolloutActive, match=record.id):
        await bench.store.change(MODEL, Policy(1, salt="t"), None, who="bob")
    await back(bench, record)
    await bench.store.change(MODEL, Policy(1, salt="t"), None, who="bob")


async def test_what_went_back_is_barred_until_somebody_insists(bench: Bench) -> None:
    """Also where the two starts and the rollback race: the store holds the bar."""
    await base(bench)
    record = await back(bench, await begun(bench))
    assert await bench.store.barred(MODEL) == {2: record.id}
    with pytest.raises(NotNow, match=record.id):
        await begun(bench)
    await begun(bench, again=True)
    assert await bench.store.barred(MODEL) == {}


async def test_a_fence_deposes(bench: Bench) -> None:
    """A lead changes hands when its lease has lapsed; what the old leader writes after that is refused."""
    first = await bench.store.lead("one", 0.05)
    assert await bench.store.lead("two", 60) is None
    assert await bench.store.lead("one", 0.05) == first
    await asyncio.sleep(0.1)
    second = await bench.store.lead("two", 60)
    assert first is not None
    assert second is not None
    assert second > first
    await base(bench)
    record = await begun(bench)
    with pytest.raises(Deposed):
        await back(bench, record, fence=first)
    await back(bench, record, fence=second)


async def test_who_resigns_makes_way_at_once(bench: Bench) -> None:
    """And who does not lead cannot resign for another."""
    first = await bench.store.lead("one", 60)
    await bench.store.resign("two")
    assert await bench.store.lead("two", 60) is None
    await bench.store.resign("one")
    assert (await bench.store.lead("two", 60) or 0) > (first or 0)


async def test_a_stop_forbids_what_grows(bench: Bench) -> None:
    """Of that model, or of all; what goes back is never held up."""
    await base(bench)
    record = await begun(bench)
    grown = Change(MODEL, Policy(1, salt="t"), None, "bob", grows=True)
    for mark in (MODEL, EVERYTHING):
        await bench.store.note(Beside(stops={mark: Stop("ada", 1.0, "smoke").encode()}))
        stopped = (await bench.store.look()).stop_of(MODEL)
        assert stopped == Stop("ada", 1.0, "smoke")
        assert await bench.store.stopped() == {mark: stopped}
        if mark == MODEL:
            await back(bench, record)
        with pytest.raises(ModelStopped):
            await publish(bench.store, grown)
        with pytest.raises(ModelStopped):
            await begun(bench, again=True)
        await publish(bench.store, replace(grown, grows=False))
        await bench.store.note(Beside(unstops=(mark,)))
    assert await bench.store.stopped() == {}


async def test_what_a_gateway_cannot_read_is_not_published(bench: Bench) -> None:
    """The refusal names it; once it is gone, or can read it, the change goes through."""
    await base(bench)
    ruled = Policy(1, salt="s", rules=(Rule(2, (Match("x-tier", ("staff",)),)),))
    lease = GatewayLease("old", "b", 7, "h", 8000, 0, "", reader=1)
    bench.gateway.gateway_says(lease, 60)
    with pytest.raises(GatewayTooOld, match="old"):
        await bench.store.change(MODEL, ruled, None, who="ada")
    await bench.store.change(MODEL, Policy(1, salt="t"), None, who="ada")
    bench.gateway.gateway_says(replace(lease, reader=2), 60)
    await bench.store.change(MODEL, ruled, None, who="ada")


async def test_a_note_is_written_once_however_often_it_is_sent(bench: Bench) -> None:
    """A client whose connection broke sends it again, and gets the answer of the first time."""
    note = Beside(entries=(LedgerEntry("stop", "ada", "", {}),), stops={MODEL: "{}"})
    assert (await bench.store.note(note)).done
    assert (await bench.store.note(note)).done
    assert len(await bench.store.ledger(10)) == 1


async def test_nothing_is_written_where_one_thing_does_not_hold(bench: Bench) -> None:
    """Each of the conditions refuses everything, and says which it was."""
    await base(bench)
    record = await begun(bench)
    entry = LedgerEntry("x", "ada", "", {})
    before = len(await bench.store.ledger(100))
    gone = RecordWrite("ro_000000000000", "other", 3, 4, "{}")
    for refused, beside in {
        Refused.HEAD: Beside(entries=(entry,), seen="another"),
        Refused.DEPOSED: Beside(entries=(entry,), fence=99),
        Refused.ACTIVE: Beside(entries=(entry,), free=(MODEL,)),
        Refused.MOVED: Beside(entries=(entry,), records=(gone,), stops={MODEL: "{}"}),
    }.items():
        answer = await bench.store.note(beside)
        assert (answer.done, answer.refused) == (False, refused)
    assert len(await bench.store.ledger(100)) == before
    assert (await bench.store.look()).records == (record,)
    assert await bench.store.stopped() == {}


async def test_only_so_many_rollouts_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest that are over go; those in progress never do."""
    for module in ("publication_form", "fake_rollouts"):
        monkeypatch.setattr(f"serving.control.{module}.MOST_ROLLOUTS", 3)
    await base(bench, "old")
    oldest = await begun(bench, "old")
    await base(bench)
    ended = [await back(bench, await begun(bench, again=True)) for _ in range(5)]
    kept = [one.id for one in await bench.store.rollouts(None, 100)]
    assert oldest.id in kept
    assert len(kept) == 3
    assert kept[0] == ended[-1].id
    assert await bench.store.rollout(ended[0].id) is None


async def test_those_in_progress_are_bounded_and_none_of_them_is_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is refused with a sentence; whoever is over makes room."""
    for module in ("publication_form", "fake_rollouts"):
        monkeypatch.setattr(f"serving.control.{module}.MOST_ROLLOUTS", 2)
    await base(bench)
    await back(bench, await begun(bench))
    for model in ("one", "two", "three"):
        await base(bench, model)
    there = [await begun(bench, "one"), await begun(bench, "two")]
    with pytest.raises(NotNow, match="2 rollouts are in progress"):
        await begun(bench, "three")
    look = await bench.store.look()
    assert ({one.id for one in look.records}, dict(look.damaged)) == ({one.id for one in there}, {})
    await back(bench, there[0])
    assert await bench.store.rollout((await begun(bench, "three")).id) is not None


async def test_hooks_are_queued_with_the_entry_that_they_are_to_hear(bench: Bench) -> None:
    """One job for each hook that wants it; put off it is not due, ended it is gone."""
    await base(bench)
    hooks = (Hook("https://a.example.com/", SECRET), Hook("https://b.example.com/", SECRET, ("rolled_back",)))  # type: ignore[arg-type]
    record = await begun(bench, hooks=hooks)
    [due] = await bench.store.jobs(await bench.store.due_jobs())
    assert due.id.endswith(f"/{record.id}/0")
    assert '"started"' in due.entry
    assert due.tries == 0
    await back(bench, record)
    assert [one.rpartition("/")[2] for one in await bench.store.due_jobs()] == ["0", "0", "1"]
    await bench.store.put_off_job(due.id, 60, 0)
    assert due.id not in await bench.store.due_jobs()
    await bench.store.put_off_job(due.id, -1, 0)
    assert due.id in await bench.store.due_jobs()
    [again] = await bench.store.jobs([due.id])
    assert again.tries == 2
    for one in await bench.store.due_jobs():
        await bench.store.end_job(one, 0)
    assert list(await bench.store.due_jobs()) == []


async def test_a_long_backlog_of_one_hook_keeps_no_other_out(bench: Bench) -> None:
    """What is read at once is bounded, and every hook has as much of it as the others."""
    hooks = tuple(Hook(f"https://{name}.example.com/", SECRET) for name in "abcdefgh")
    await base(bench)
    record = await begun(bench, hooks=hooks)
    for number in range(MOST_DUE // 7 + 5):
        jobs = tuple(Job(0, record.id, nth) for nth in range(8 if number < 3 else 7))
        await bench.store.note(Beside(entries=(LedgerEntry("x", "ada", "", {}),), jobs=jobs))
    await bench.store.note(Beside(entries=(LedgerEntry("x", "ada", "", {}),), jobs=(Job(0, record.id, 7),)))
    due = await bench.store.due_jobs()
    assert len(due) == MOST_DUE
    of_hook = Counter(one.rpartition("/")[2] for one in due)
    assert of_hook["7"] == 5
    assert max(of_hook.values()) - min(of_hook[str(nth)] for nth in range(7)) <= 1


async def test_what_was_counted_is_kept(bench: Bench) -> None:
    """By rollout, the last that was said."""
    await bench.store.keep_counts("ro_000000000000", "a", 0)
    await bench.store.keep_counts("ro_000000000000", "b", 0)
    assert await bench.store.counts("ro_000000000000") == "b"


async def test_a_request_is_claimed_once(bench: Bench) -> None:
    """Of twenty that come with one key one is answered, and the others hear that, or what it was answered."""
    claims = await asyncio.gather(*(bench.store.claim_answer("n", "d") for _ in range(20)))
    assert claims.count(None) == 1
    assert claims.count(Claim("d", None)) == 19
    answer = Answered(201, {"etag": '"1"'}, "{}")
    await bench.store.keep_answer("n", "d", answer)
    assert await bench.store.claim_answer("n", "other") == Claim("d", answer)
    await bench.store.forget_claim("n")
    assert await bench.store.claim_answer("n", "d") is None


async def test_the_ledger_is_read_from_either_end(bench: Bench) -> None:
    """In pages without a gap or an overlap, and shortened from the old end only."""
    for number in range(5):
        await bench.store.note(Beside(entries=(LedgerEntry("x", f"who {number}", "", {}),)))
    first = await bench.store.ledger_after("", 2)
    rest = await bench.store.ledger_after(first[-1].id, 10)
    assert [one.entry.who for one in (*first, *rest)] == [f"who {number}" for number in range(5)]
    newest = await bench.store.ledger(2)
    assert [one.entry.who for one in await bench.store.ledger(10, before=newest[-1].id)] == ["who 2", "who 1", "who 0"]
    await bench.store.trim_ledger(first[-1].id, 0)
    assert await bench.store.ledger_length() == 3
    assert [one.entry.who for one in await bench.store.ledger_after("", 10)] == ["who 2", "who 3", "who 4"]


async def test_who_waits_for_an_entry_hears_of_it(bench: Bench) -> None:
    """As soon as it is written; where nothing is, nothing is heard."""
    assert list(await bench.store.await_entry("", 0.05)) == []
    waiting = asyncio.create_task(bench.store.await_entry("", 5.0))
    await asyncio.sleep(0.05)
    await bench.store.note(Beside(entries=(LedgerEntry("x", "ada", "", {}),)))
    [heard] = await waiting or await bench.store.await_entry("", 5.0)
    assert heard.entry.who == "ada"
    assert list(await bench.store.await_entry(heard.id, 0.05)) == []


async def test_a_record_that_nobody_can_read_hides_no_other(bench: Bench) -> None:
    """It is named with its model."""
    await base(bench)
    await base(bench, "other")
    record = await begun(bench)
    broken = await begun(bench, "other")
    after = broken.after(ask(broken.rollout, Pause(who="ada"), Seen(2.0)).rollout)
    await bench.store.note(Beside(records=(replace(written(broken, after), record="{"),)))
    look = await bench.store.look()
    assert look.records == (record,)
    assert look.damaged == {"other": broken.id}
