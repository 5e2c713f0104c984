"""Judging on a real Valkey, in real time: a verdict goes back at once, and outlives whoever reached it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from router.phases import Phase
from serving.control.evidence_store import MOST_BLOCKS
from serving.control.rolling.records import Record
from serving.control.rolling.rolling import Rolling
from serving.control.valkey import EmbeddedValkey
from tests.serving.control.rolling.rooms import Post, Room, valkey_room

TIMED = {"candidate": 2, "canary": {"steps": ["50%"], "hold": "500s", "needs": "minima"}}


@pytest.fixture
async def room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """A room in a namespace of its own, by the server's clock."""
    async with valkey_room(valkey) as made:
        yield made


@asynccontextmanager
async def served(room: Room, failed: int) -> AsyncIterator[None]:
    """Traffic for as long as this lasts: ten requests of each arm every tenth of a second, so many of which fail."""

    async def serve() -> None:
        while True:
            if (await room.shares()).get(2):
                room.serves(2, 10 - failed, failed=failed)
                room.serves(1, 10)
            await room.follow()
            await asyncio.sleep(0.1)

    serving = asyncio.create_task(serve())
    try:
        yield
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def until_over(room: Room, record: Record) -> None:
    """Waits until it has ended."""
    async with asyncio.timeout(60):
        while not (await room.now(record)).rollout.over:  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.05)


async def ended(running: asyncio.Task[None]) -> None:
    """Ends it without a word."""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_two_conductors_take_it_back_once(room: Room) -> None:
    """One of them judges; the ledger has one breach, and one word of how long it took."""
    record = await room.start(TIMED)
    both = [Rolling(room.store, room.service.traffic, sends=Post(), lease_s=0.5) for _ in range(2)]
    running = [asyncio.create_task(one.loops.run()) for one in both]
    async with served(room, failed=5):
        await until_over(room, record)
        await asyncio.sleep(0.5)
    for one in running:
        await ended(one)
    said = [one.entry.facts.get("what") for one in await room.entries()]
    assert (said.count("breach"), said.count("acknowledged")) == (1, 1)
    assert (await room.now(record)).rollout.phase is Phase.ROLLED_BACK


async def test_a_successor_has_the_case_and_its_blocks(room: Room) -> None:
    """A conductor is killed in the middle; the next one counts no request twice and goes back by what both heard."""
    record = await room.start(TIMED)
    async with served(room, failed=0):
        first = Rolling(room.store, room.service.traffic, sends=Post(), lease_s=0.3)
        running = asyncio.create_task(first.loops.run())
        await asyncio.sleep(5)
        await ended(running)
    kept = await room.store.case(record.id)
    assert kept is not None
    async with served(room, failed=5):
        second = Rolling(room.store, room.service.traffic, sends=Post(), lease_s=0.3)
        running = asyncio.create_task(second.loops.run())
        await until_over(room, record)
        await ended(running)
    view = await second.rollouts.rollout(record.id)
    counted = view.verdicts[2].guardrails[0]
    lines = await room.store.blocks(record.id, 0, MOST_BLOCKS)
    sent = sum(room.counted[2][0].values())
    assert 0 < counted.candidate.total <= sent
    assert counted.candidate.events <= room.counted[2][0]["server_error"]
    assert len(lines) == len(set(lines)) > 2


async def test_what_is_forgotten_is_forgotten_whole(room: Room) -> None:
    """A case is bounded, and goes with its rollout's other keys."""
    await room.store.lead("tests", 60)
    fence = await room.store.lead("tests", 60)
    await room.store.keep_case("ro_000000000000", "{}", [f"2 {nth}" for nth in range(10)], fence)
    await room.store.keep_case("ro_000000000000", "{}", [f"2 {nth}" for nth in range(MOST_BLOCKS)], fence)
    assert len(await room.store.blocks("ro_000000000000", 0, 10 * MOST_BLOCKS)) == MOST_BLOCKS
    keys = room.store.keys
    assert await room.store._redis.pttl(keys.rollout_case("ro_000000000000")) > 0
    assert await room.store._redis.pttl(keys.rollout_blocks("ro_000000000000")) > 0


async def test_a_case_that_is_no_text_begins_anew(room: Room) -> None:
    """It keeps neither its own rollout nor any other from being walked."""
    record = await room.start(TIMED)
    await room.store._redis.set(room.store.keys.rollout_case(record.id), b"\xff\xfe")
    await room.store.lead("tests", 60)
    room.fence = await room.store.lead("tests", 60) or 0
    await room.tick()
    await room.tick()
    assert (await room.now(record)).rollout.phase is Phase.RUNNING
    assert "evidence" in [one.entry.facts.get("what") for one in await room.entries()]
