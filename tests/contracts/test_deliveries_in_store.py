"""What the courier and operators rely on in any store of deliveries: dead letters, attempts, and one more try."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from serving.control import deliveries_store, fake_deliveries, publication_form
from serving.control.errors import Deposed
from serving.control.publication import Beside, Job, LedgerEntry
from serving.control.publication_form import encode_entry
from serving.control.rolling.kept import Again, Attempt, Became, Due, Over
from tests.contracts.conftest import Bench

ENTRY = LedgerEntry("drift", "somebody", "because", {"event": "test", "words": "ä\u2028"})
REPLAYED = LedgerEntry("drift", "ada", "again", {"event": "replay"})
FAILED = Attempt("https://hooks.example.com/…", "drift.test", "503", 0.25)


async def queued(bench: Bench, count: int = 1) -> Sequence[str]:
    """So many deliveries, the oldest first."""
    for _ in range(count):
        await bench.store.note(Beside(entries=(ENTRY,), jobs=(Job(0, "drift", 7),)))
    return sorted(await bench.store.due_jobs(), key=lambda job: [int(one) for one in job.partition("/")[0].split("-")])


async def due(bench: Bench, job: str) -> Due:
    """As the courier reads it."""
    (found,) = await bench.store.jobs([job])
    return found


async def test_an_empty_store_has_no_deliveries(bench: Bench) -> None:
    """Nothing waits, nothing was given up."""
    store = bench.store
    assert [list(one) for one in (await store.waiting(9), await store.dead_letters(9), await store.tried(9))] == [
        []
    ] * 3
    assert await store.dropped_jobs() == (0, 0)
    assert await store.over_jobs() == Over()
    assert (await store.dead_letter("1-0/drift/7"), await store.waiting_job("1-0/drift/7")) == (None, None)
    assert await store.message_came("x") is None


async def test_what_is_given_up_becomes_a_dead_letter(bench: Bench) -> None:
    """With its entry, its tries and the last reason; it is not due, and no attempt is forgotten."""
    store = bench.store
    (job,) = await queued(bench)
    await store.put_off_job(job, 60, 0, FAILED)
    (waiting,) = await store.waiting(9)
    assert (waiting.job, waiting.tries, waiting.entry) == (job, 1, encode_entry(ENTRY))
    assert waiting == await store.waiting_job(job)
    await store.bury_job(await due(bench, job), 0, FAILED)
    (dead,) = await store.dead_letters(9)
    assert (dead.job, dead.tries, dead.last, dead.entry) == (job, 2, FAILED, encode_entry(ENTRY))
    assert dead == await store.dead_letter(job)
    assert [list(one) for one in (await store.due_jobs(), await store.waiting(9))] == [[], []]
    assert [(one.job, one.attempt, one.became) for one in await store.tried(9)] == [
        (job, FAILED, Became.DEAD), (job, FAILED, Became.WAITS),
    ]  # fmt: skip


async def test_burying_twice_is_burying_once(bench: Bench) -> None:
    """A command that is sent again after a broken connection finds nothing to bury."""
    (job,) = await queued(bench)
    found = await due(bench, job)
    for _ in range(2):
        await bench.store.bury_job(found, 0, FAILED)
    (dead,) = await bench.store.dead_letters(9)
    assert dead.entry == encode_entry(ENTRY)
    assert len(await bench.store.tried(9)) == 1


async def test_who_no_longer_leads_buries_nothing(bench: Bench) -> None:
    """The delivery stays due for the one that does."""
    (job,) = await queued(bench)
    fence = await bench.store.lead("one", 60)
    assert fence is not None
    with pytest.raises(Deposed):
        await bench.store.bury_job(await due(bench, job), fence - 1, FAILED)
    assert list(await bench.store.due_jobs()) == [job]


async def test_a_dead_letter_waits_again_from_its_first_attempt_on(bench: Bench) -> None:
    """Under its own id, with the ledger's word on who asked."""
    store = bench.store
    (job,) = await queued(bench)
    await store.bury_job(await due(bench, job), 0, FAILED)
    assert await store.again({job: ""}, REPLAYED) == {job: Again.REPLAYED}
    assert (await due(bench, job)) == Due(job, encode_entry(ENTRY), 0)
    assert (list(await store.due_jobs()), list(await store.dead_letters(9))) == ([job], [])
    assert (await store.ledger(1))[0].entry == REPLAYED
    await store.end_job(job, 0, Attempt("h", "drift.test", ""))
    assert (await store.tried(1))[0].became is Became.DELIVERED


async def test_what_waits_is_tried_at_once(bench: Bench) -> None:
    """Its tries stay counted: it is no new delivery."""
    (job,) = await queued(bench)
    await bench.store.put_off_job(job, 3_600, 0, FAILED)
    assert list(await bench.store.due_jobs()) == []
    assert await bench.store.again({job: ""}, REPLAYED) == {job: Again.HURRIED}
    assert (list(await bench.store.due_jobs()), (await due(bench, job)).tries) == ([job], 1)


async def test_what_was_told_is_told_again_if_somebody_has_its_entry(bench: Bench) -> None:
    """Of what nobody knows nothing is sent, and the ledger says nothing."""
    (job,) = await queued(bench)
    await bench.store.end_job(job, 0)
    before = len(await bench.store.ledger(99))
    assert await bench.store.again({job: ""}, REPLAYED) == {job: Again.UNKNOWN}
    assert len(await bench.store.ledger(99)) == before
    assert await bench.store.again({job: encode_entry(ENTRY)}, REPLAYED) == {job: Again.REPLAYED}
    assert await due(bench, job) == Due(job, encode_entry(ENTRY), 0)


async def test_many_are_asked_for_at_once(bench: Bench) -> None:
    """Each has its answer, and the ledger one entry."""
    jobs = await queued(bench, 3)
    for job in jobs[:2]:
        await bench.store.bury_job(await due(bench, job), 0, FAILED)
    before = len(await bench.store.ledger(99))
    found = await bench.store.again(dict.fromkeys([*jobs, "9-9/drift/7"], ""), REPLAYED)
    assert list(found.values()) == [Again.REPLAYED, Again.REPLAYED, Again.HURRIED, Again.UNKNOWN]
    assert len(await bench.store.ledger(99)) == before + 1
    assert await bench.store.again({}, REPLAYED) == {}


async def test_lists_have_an_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest dead letter falls off and is counted; the queue takes no more than it may."""
    jobs = await queued(bench, 4)
    for module in (deliveries_store, fake_deliveries):
        monkeypatch.setattr(module, "MOST_DEAD", 2)
        monkeypatch.setattr(module, "MOST_JOBS", 1)
    for job in jobs[:3]:
        await bench.store.bury_job(await due(bench, job), 0, FAILED)
    assert [one.job for one in await bench.store.dead_letters(9)] == [jobs[2], jobs[1]]
    assert await bench.store.dropped_jobs() == (0, 1)
    assert await bench.store.dead_letter(jobs[0]) is None
    assert await bench.store.again({jobs[1]: ""}, REPLAYED) == {jobs[1]: Again.FULL}
    assert [one.job for one in await bench.store.dead_letters(1)] == [jobs[2]]


async def test_every_end_is_counted_once(bench: Bench) -> None:
    """However often it is said; one that is told once more ends once more, and what waits has not ended."""
    store = bench.store
    arrives, given_up, nobody_left, gone, waits = await queued(bench, 5)
    for _ in range(2):
        await store.end_job(arrives, 0, FAILED._replace(failed=""))
        await store.bury_job(Due(given_up, "", 0), 0, FAILED)
        await store.end_job(nobody_left, 0, FAILED)
        await store.end_job(gone, 0)
    await store.put_off_job(waits, 60, 0, FAILED)
    assert await store.over_jobs() == Over(delivered=1, dead=1, ended=1)
    await store.again({given_up: ""}, REPLAYED)
    await store.end_job(given_up, 0, FAILED._replace(failed=""))
    assert await store.over_jobs() == Over(delivered=2, dead=1, ended=1)


async def test_what_finds_no_room_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As dropped: nobody ever tries it."""
    for module in (publication_form, fake_deliveries):
        monkeypatch.setattr(module, "MOST_JOBS", 2)
    assert len(await queued(bench, 3)) == 2
    assert await bench.store.over_jobs() == Over(dropped=1)


async def test_what_came_of_a_message_stays_as_it_was_said_first(bench: Bench) -> None:
    """Of two that come at once, the answer of the first counts."""
    await bench.store.keep_message("k", "done", 60)
    await bench.store.keep_message("k", "nothing to do", 60)
    assert await bench.store.message_came("k") == "done"
