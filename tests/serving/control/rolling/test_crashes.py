"""A control room that dies anywhere is followed by one that goes on: no stage twice, none left out, nothing untold.

Every call of the store is a place to die: before it (nothing was asked), or after it (the store did it and nobody
heard). A walk is first taken without a death, to count the calls; then once for each of them, with a death there, and
a new loop after it, under a new lead, with nothing remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from router.commands import Approve
from router.rollout import Approval
from serving.control.fake_store import FakeStore
from serving.control.rolling.gates import Gatekeeper
from serving.control.rolling.records import Record
from serving.control.rolling.walker import Walker
from tests.serving.control.rolling.rooms import FLIP, Clock, Room, epochs_in, room_on, stages_in

WHOLE_WAY = {
    "candidate": 2,
    "shadow": {"sample": "10%", "for": "1s"},
    "canary": {"steps": ["1%", "50%"], "needs": "minima", "hold": "1s", "approve": ["50%"], "watch": "1s"},
}
_CALLS = frozenset({"look", "endpoints", "gateways", "state", "policy", "swap", "note", "counts", "keep_counts"})


class Death(BaseException):
    """What no handler of errors catches, as a kill is none."""


class Deadly:
    """A store whose nth call, counted from when it is armed, is the last.

    Args:
        store: that does it.
    """

    def __init__(self, store: FakeStore) -> None:
        self._inner = store
        self.calls = 0
        self.dies_at: int | None = None
        self.does_it_first = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        there = getattr(self._inner, name)
        if name not in _CALLS:
            return there

        async def call(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            self.calls += 1
            dies = self.calls == self.dies_at
            if dies and not self.does_it_first:
                raise Death
            answer = await there(*args, **more)
            if dies:
                raise Death
            return answer

        return call


async def begun(document: Mapping[str, Any]) -> tuple[Room, Deadly, Record]:
    """A room whose loop may die, and a rollout."""
    clock = Clock()
    store = FakeStore(clock)
    room = await room_on(store, store, clock)
    deadly = Deadly(store)
    room.walker = Walker(deadly, room.service.traffic, room.gates, clock=clock)
    return room, deadly, await room.start(document)


async def resumed(room: Room, number: int) -> None:
    """Another control room takes over, and remembers nothing."""
    for memory in room.walker._memories.values():
        if memory.flip is not None:
            memory.flip.cancel()
    room.clock.now_s += 2e6  # the lease of the one that died lapses
    for endpoint, _ in list(room.store._endpoints.values()):
        await room.store.hold(endpoint, 1e6)
    room.fence = await room.store.lead(f"successor {number}", 1e6)
    room.gates = Gatekeeper(room.post, clock=room.clock)
    room.walker = Walker(room.store, room.service.traffic, room.gates, clock=room.clock)
    await room.follow()


async def approved(room: Room, record: Record) -> None:
    """Somebody lets it in, where it asks."""
    rollout = (await room.now(record)).rollout
    if rollout.target is not None:
        await room.ask(
            record, Approve(who="ada", approval=Approval("ada", record.id, rollout.revision, rollout.target))
        )


async def walk(room: Room, record: Record, ticks: int = 40) -> bool:
    """Whether the loop lived to the end."""
    for _ in range(ticks):
        await approved(room, record)
        try:
            await tick(room)
        except Death:
            return False
        if (await room.now(record)).rollout.over:
            return True
    return True


async def tick(room: Room) -> None:
    """One tick; a death within a flip, which has a task of its own, is the loop's death."""
    room.clock.now_s += 1.1
    await room.follow()
    await room.walker.tick(room.fence)
    for memory in list(room.walker._memories.values()):
        while memory.flip is not None and not memory.flip.done():
            await room.follow()
            await asyncio.sleep(0.001)
        if memory.flip is not None and isinstance(memory.flip.exception(), Death):
            raise Death


@pytest.mark.parametrize(
    ("document", "stages"),
    [
        (
            WHOLE_WAY,
            ["enter stage 'shadow'", "enter stage '1 %'", "enter stage '50 %'", "enter stage 'watch'", "finish"],
        ),
        (FLIP, ["enter stage 'preview'", "enter stage 'keep warm'", "finish"]),
    ],
    ids=["shadow and canary", "blue-green"],
)
@pytest.mark.parametrize("does_it_first", [False, True], ids=["before the call", "after the call"])
async def test_it_dies_at_every_call_and_is_followed(
    document: Mapping[str, Any], stages: list[str], *, does_it_first: bool
) -> None:
    """Whatever call it dies at, every stage is entered once and in order, and ledger and epochs tell one story."""
    room, deadly, record = await begun(document)
    assert await walk(room, record)
    assert (await room.now(record)).rollout.over
    calls = deadly.calls
    assert calls > 20
    for number in range(1, calls + 1):
        room, deadly, record = await begun(document)
        deadly.dies_at, deadly.does_it_first = number, does_it_first
        if not await walk(room, record):
            await resumed(room, number)
            assert await walk(room, record)
        entries = await room.entries()
        assert stages_in(entries) == stages, f"died at call {number}"
        head = await room.store.head()
        assert epochs_in(entries) == list(range(1, head.epoch + 1)), f"died at call {number}"
        assert (await room.now(record)).rollout.over
        assert await room.shares() == {2: 1_000_000}
        assert (await room.store.state()).snapshot.staged == {}


async def test_a_deposed_loop_writes_nothing() -> None:
    """It slept through the end of its lead, and another one leads: its steps are refused by the store itself."""
    room, _, record = await begun(WHOLE_WAY)
    old = room.fence
    await resumed(room, 1)
    assert room.fence > old
    before = await room.store.head()
    await room.follow()
    await room.walker.tick(old)
    assert await room.store.head() == before
    assert (await room.now(record)).rollout.revision == 1
    await room.tick(1)
    assert (await room.now(record)).rollout.revision == 2
