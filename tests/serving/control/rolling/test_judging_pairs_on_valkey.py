"""From what a worker hands to its keeper to the rollback, on a real Valkey and in real time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from router.phases import Phase
from serving.captured import Kind, ModelTerms, Terms, framed
from serving.control.rolling.rolling import Rolling
from serving.control.valkey import EmbeddedValkey
from serving.keeping.config import KeeperConfig
from serving.keeping.keeper import Keeper
from serving.keeping.reception import Reception
from serving.keeping.store import Store
from tests.serving.control.rolling.rooms import MODEL, Post, Room, valkey_room
from tests.serving.keeping.pairs import labels

COPIES = {"candidate": 2, "shadow": {"for": "600s"}}


@pytest.fixture
async def room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """A room in a namespace of its own, by the server's clock."""
    async with valkey_room(valkey) as made:
        yield made


async def test_what_workers_hand_over_takes_a_version_back(room: Room, valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Every tenth answer is another one: the keeper finds it, the conductor hears it, and the copies end."""
    record = await room.start(COPIES)
    conductor = Rolling(room.store, room.service.traffic, sends=Post(), lease_s=0.5)
    place = tmp_path / "keeper"
    store = Store(KeeperConfig("g1", str(place), valkey.url, room.store.keys.namespace))
    keeper, stop = Keeper("g1 k", Reception(place, 1 << 20), store), asyncio.Event()
    tasks = [asyncio.create_task(keeper.run(stop)), asyncio.create_task(conductor.loops.run())]
    try:
        await _until_over(room, record.id, place)
    finally:
        stop.set()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()
    rollout = (await room.now(record)).rollout
    assert rollout.phase is Phase.ROLLED_BACK
    assert "'disagreements' speaks against the candidate" in rollout.cause


async def _until_over(room: Room, rollout_id: str, place: Path) -> None:
    """A worker hands over twenty pairs every tenth of a second, until the rollout is over."""
    async with asyncio.timeout(60):
        worker = await _connected(place)
        worker.write(framed(Kind.TERMS, Terms({MODEL: ModelTerms(1, None)}).encode()))
        for look in count():
            record = await room.store.rollout(rollout_id)
            if record.rollout.over:
                break
            await room.follow()
            for shadow in (await room.service.current(MODEL)).policy.shadows:
                for nonce in range(20 * look, 20 * look + 20):
                    one = labels("cat", "cat" if nonce % 10 else "dog", nonce=nonce, salt=shadow.salt)
                    worker.write(framed(Kind.CAPTURED, replace(one, model=MODEL, epoch=record.epochs[-1]).encode()))
            await worker.drain()
            await asyncio.sleep(0.1)
        worker.close()


async def _connected(place: Path) -> asyncio.StreamWriter:
    while True:
        with suppress(OSError):
            return (await asyncio.open_unix_connection(place))[1]
        await asyncio.sleep(0.02)
