"""Long work is told, ended, cancelled and taken back; and a control room that was killed begins it again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from registry.errors import Corrupted
from serving.control.errors import Busy, StoreUnavailable, Unacceptable, UnknownOperation
from serving.control.operations import BROKEN, Operation, Operations, OperationState, OperationStore, Performer, Tell
from serving.control.store import connect
from serving.control.tasks import end
from serving.control.valkey import EmbeddedValkey
from serving.errors import StartFailed
from tests.contracts.conftest import Bench
from tests.serving.control.waiting import until


@dataclass
class Work:
    """A performer that does three steps, and says where it is."""

    steps: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    runs: int = 0
    undone: int = 0

    async def perform(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Stops in the middle until the gate opens."""
        self.runs += 1
        await tell("looking")
        self.reached.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        await tell("doing")
        self.steps.append(operation.id)
        return {"did": operation.arguments.get("what")}

    async def undo(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Counts."""
        await tell("taking it back")
        self.undone += 1
        return {}


@pytest.fixture
def work() -> Work:
    """What is to be done."""
    return Work()


def operations(store: OperationStore, work: Work) -> Operations:
    """With one kind that can be taken back, and one that cannot."""
    return Operations(store, {"deploy": Performer(work.perform, undo=work.undo), "verify": work.perform})


@asynccontextmanager
async def looped(what: Operations) -> AsyncIterator[asyncio.Task[None]]:
    """Its loop, for as long as the block lasts."""
    loop = asyncio.create_task(what.run())
    try:
        yield loop
    finally:
        await end([loop])


async def test_an_operation_is_told_from_its_beginning_to_its_end(bench: Bench, work: Work) -> None:
    """Words say what it does, steps what it has done, and the result what came of it."""
    ours = operations(bench.store, work)
    begun = await ours.begin("deploy", "digits", 2, {"what": "this"}, who="ada", why="try")
    assert (begun.state, begun.who, begun.why) == (OperationState.WAITING, "ada", "try")
    async with looped(ours):
        await work.reached.wait()
        running = await ours.get(begun.id)
        assert (running.state, running.words, running.steps) == (OperationState.RUNNING, "looking", ())
        work.gate.set()
        ended = await ours.settled(begun.id, 5)
    assert (ended.state, ended.words, ended.steps) == (OperationState.DONE, "", ("looking", "doing"))
    assert ended.result == {"did": "this"}
    assert ended.ended_ms is not None
    assert [one.id for one in await ours.list(model="digits")] == [begun.id]


async def test_a_refusal_is_its_problem_and_what_was_done_is_taken_back(bench: Bench, work: Work) -> None:
    """With the name of the refusal, the sentence and the hint."""
    work.error = StartFailed("Triton said no.", "Look at the log.")
    work.gate.set()
    ours = operations(bench.store, work)
    async with looped(ours):
        ended = await ours.settled((await ours.begin("deploy", "digits", 2, {}, who="ada")).id, 5)
    assert (ended.state, work.undone) == (OperationState.FAILED, 1)
    assert ended.problem is not None
    assert (ended.problem.refusal, ended.problem.sentence, ended.problem.hint) == (
        "did-not-start", "Triton said no.", "Look at the log.",
    )  # fmt: skip
    assert ended.steps[-1] == "taking it back"


async def test_an_error_of_the_registry_is_told_as_what_it_is(bench: Bench, work: Work) -> None:
    """It has words of its own."""
    work.error = Corrupted("x", "a", "b")
    work.gate.set()
    ours = operations(bench.store, work)
    async with looped(ours):
        ended = await ours.settled((await ours.begin("verify", "digits", 2, {}, who="ada")).id, 5)
    assert ended.problem is not None
    assert ended.problem.refusal == "corrupted"


async def test_a_fault_of_ours_ends_it_without_its_innards(
    bench: Bench, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback, the record has not."""
    work.error = ZeroDivisionError("secret")
    work.gate.set()
    ours = operations(bench.store, work)
    async with looped(ours):
        ended = await ours.settled((await ours.begin("verify", "digits", 2, {}, who="ada")).id, 5)
    assert ended.problem is not None
    assert ended.problem.refusal == BROKEN
    assert "secret" not in ended.problem.sentence
    assert "secret" in caplog.text


async def test_a_store_that_goes_away_ends_nothing(bench: Bench, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operation is tried again until it comes to an end of its own."""
    monkeypatch.setattr("serving.control.operations._AGAIN_S", 0.05)
    monkeypatch.setattr("serving.control.operations._TICK_S", 0.05)
    work.error = StoreUnavailable("away")
    work.gate.set()
    ours = operations(bench.store, work)
    async with looped(ours):
        begun = await ours.begin("verify", "digits", 2, {}, who="ada")
        await until(lambda: work.runs >= 3)
        work.error = None
        assert (await ours.settled(begun.id, 5)).state is OperationState.DONE


async def test_cancelling_ends_what_runs_and_takes_it_back(bench: Bench, work: Work) -> None:
    """The record says who wanted it; cancelling again is harmless."""
    ours = operations(bench.store, work)
    async with looped(ours):
        begun = await ours.begin("deploy", "digits", 2, {}, who="ada")
        await work.reached.wait()
        asked = await ours.cancel(begun.id, who="bob")
        assert (asked.cancelled_by, asked.ended) == ("bob", False)
        ended = await ours.settled(begun.id, 5)
        assert (await ours.cancel(begun.id, who="eve")).cancelled_by == "bob"
    assert (ended.state, ended.problem, work.undone) == (OperationState.CANCELLED, None, 1)
    assert (await bench.store.add_operation(Operation("next", "deploy", "digits"))).revision == 1


async def test_what_waits_can_be_cancelled_too(bench: Bench, work: Work) -> None:
    """It is never begun."""
    ours = operations(bench.store, work)
    begun = await ours.begin("deploy", "digits", 2, {}, who="ada")
    await ours.cancel(begun.id, who="bob")
    async with looped(ours):
        assert (await ours.settled(begun.id, 5)).state is OperationState.CANCELLED
    assert work.runs == 0


async def test_a_control_room_that_was_killed_begins_it_again(bench: Bench, work: Work) -> None:
    """The next one finds it unfinished, says so, and brings it to its end."""
    first = operations(bench.store, work)
    begun = await first.begin("deploy", "digits", 2, {}, who="ada")
    async with looped(first) as loop:
        await work.reached.wait()
        await end([loop])
    assert not (await first.get(begun.id)).ended
    work.gate.set()
    second = operations(bench.store, work)
    await bench.store.yield_operation(begun.id, first._runner)
    async with looped(second):
        ended = await second.settled(begun.id, 5)
    assert (ended.state, work.runs, work.undone) == (OperationState.DONE, 2, 0)
    assert "restarted" in ended.steps[0]


async def test_taking_back_is_taken_up_again_as_well(bench: Bench, work: Work) -> None:
    """Where a control room was killed in the middle of that, the next one does not begin the work anew."""
    work.error = StartFailed("no")
    work.gate.set()
    undoing = asyncio.Event()

    async def hangs(_operation: Operation, _tell: Tell) -> Mapping[str, Any]:
        undoing.set()
        await asyncio.Event().wait()
        return {}

    first = Operations(bench.store, {"deploy": Performer(work.perform, undo=hangs)})
    begun = await first.begin("deploy", "digits", 2, {}, who="ada")
    async with looped(first):
        await undoing.wait()
    await bench.store.yield_operation(begun.id, first._runner)
    second = operations(bench.store, work)
    async with looped(second):
        ended = await second.settled(begun.id, 5)
    assert (ended.state, work.runs, work.undone) == (OperationState.FAILED, 1, 1)


async def test_two_control_rooms_do_it_once(bench: Bench, work: Work) -> None:
    """While one takes the other's place both are there for a moment."""
    work.gate.set()
    ours, theirs = operations(bench.store, work), operations(bench.store, work)
    begun = [await ours.begin("verify", f"m{n}", 1, {}, who="ada") for n in range(10)]
    async with looped(ours), looped(theirs):
        for one in begun:
            assert (await ours.settled(one.id, 10)).state is OperationState.DONE
    assert sorted(work.steps) == sorted(one.id for one in begun)


async def test_what_is_refused_beforehand_is_never_written(bench: Bench) -> None:
    """The caller hears of it at once."""

    async def no(_operation: Operation) -> None:
        raise Unacceptable("It is not verified.")

    ours = Operations(bench.store, {"deploy": Performer(Work().perform, check=no)})
    with pytest.raises(Unacceptable, match="not verified"):
        await ours.begin("deploy", "digits", 2, {}, who="ada")
    with pytest.raises(Unacceptable, match="no operation 'dance'"):
        await ours.begin("dance", "digits", 2, {}, who="ada")
    with pytest.raises(UnknownOperation):
        await ours.get("ghost")
    with pytest.raises(UnknownOperation):
        await ours.cancel("ghost", who="ada")
    assert list(await ours.list()) == []


async def test_what_excludes_each_other_is_refused_with_its_name(bench: Bench, work: Work) -> None:
    """One flip of a model at a time."""
    ours = operations(bench.store, work)
    begun = await ours.begin("deploy", "digits", 2, {}, who="ada")
    with pytest.raises(Busy, match=begun.id):
        await ours.begin("deploy", "digits", 3, {}, who="bob")


async def test_a_kind_of_another_release_is_ended(bench: Bench, work: Work) -> None:
    """It would hold its model for ever."""
    await bench.store.add_operation(Operation("old", "dance", "digits"))
    ours = operations(bench.store, work)
    async with looped(ours):
        ended = await ours.settled("old", 5)
    assert ended.state is OperationState.FAILED


async def test_waiting_ends_with_the_time(bench: Bench, work: Work) -> None:
    """What still runs is given as it is."""
    ours = operations(bench.store, work)
    begun = await ours.begin("deploy", "digits", 2, {}, who="ada")
    assert (await ours.settled(begun.id, 0.05)).state is OperationState.WAITING


async def test_a_claim_lapses_by_itself(valkey: EmbeddedValkey, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGKILL lets nobody say goodbye: the next control room waits for the claim to lapse, and goes on."""
    monkeypatch.setattr("serving.control.operations._TICK_S", 0.05)
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    ours = operations(store, work)
    begun = await ours.begin("deploy", "digits", 2, {}, who="ada")
    await store.claim_operation(begun.id, "whoever was killed", 0.4)
    work.gate.set()
    async with looped(ours):
        assert not (await ours.settled(begun.id, 0.2)).ended
        assert (await ours.settled(begun.id, 5)).state is OperationState.DONE
    await store.close()
