"""The loops on a real Valkey, in real time: killed again and again, they walk every stage once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from router.phases import Phase
from serving.control.rolling.rolling import Rolling
from serving.control.valkey import EmbeddedValkey
from tests.serving.control.rolling.rooms import Post, Room, epochs_in, stages_in, valkey_room

SHORT = {"candidate": 2, "canary": {"steps": ["1%", "25%", "50%"], "needs": "minima", "hold": "1s", "watch": "1s"}}
FLIP = {"candidate": 2, "blue_green": {"bake": "1s", "approval": False, "keep_warm": "1s"}}


@pytest.fixture
async def room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """A room in a namespace of its own, by the server's clock."""
    async with valkey_room(valkey) as made:
        yield made


@asynccontextmanager
async def followed(room: Room) -> AsyncIterator[None]:
    """A gateway follows as long as this lasts."""

    async def follow() -> None:
        while True:
            await room.follow()
            await asyncio.sleep(0.02)

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


@pytest.mark.parametrize(
    ("document", "stages"),
    [
        (SHORT, ["enter stage '1 %'", "enter stage '25 %'", "enter stage '50 %'", "enter stage 'watch'", "finish"]),
        (FLIP, ["enter stage 'preview'", "enter stage 'keep warm'", "finish"]),
    ],
    ids=["canary", "blue-green"],
)
async def test_control_rooms_that_follow_one_another_walk_it_once(
    room: Room, document: Mapping[str, Any], stages: list[str]
) -> None:
    """Each lives for less than a stage, and ends without a word in the middle of whatever it does."""
    record = await room.start(document)
    async with followed(room), asyncio.timeout(60):
        while not (await room.now(record)).rollout.over:
            rolling = Rolling(room.store, room.service.traffic, sends=Post(), lease_s=0.2)
            running = asyncio.create_task(rolling.loops.run())
            await asyncio.sleep(0.7)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert (await room.now(record)).rollout.phase is Phase.PROMOTED
    entries = await room.entries()
    assert stages_in(entries) == stages
    assert epochs_in(entries) == list(range(1, (await room.store.head()).epoch + 1))


async def test_of_two_control_rooms_one_walks(room: Room) -> None:
    """Side by side all the way, they repeat nothing."""
    record = await room.start(SHORT)
    both = [Rolling(room.store, room.service.traffic, sends=Post(), lease_s=0.5) for _ in range(2)]
    running = [asyncio.create_task(one.loops.run()) for one in both]
    async with followed(room), asyncio.timeout(60):
        while not (await room.now(record)).rollout.over:  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.05)
    for one in running:
        one.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    revisions = [one.entry.facts["rollout"]["revision"] for one in await room.entries() if one.entry.kind == "rollout"]
    assert revisions == list(range(1, len(revisions) + 1))
