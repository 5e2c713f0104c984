"""A command that is cancelled, wherever it is just then, on a real Valkey."""

from __future__ import annotations

import asyncio

from redis.asyncio import BlockingConnectionPool, Redis

from registry.redis_connections import make_cancellable
from serving.control.valkey import EmbeddedValkey

STEPS = 40
"""Turns of the loop until a cancellation: more than connecting and two commands take."""


async def test_no_cancellation_is_lost_wherever_it_comes(valkey: EmbeddedValkey) -> None:
    """A loop of commands is cancelled after so many turns of the event loop, and ends each time."""
    pool = BlockingConnectionPool.from_url(valkey.url, socket_timeout=5.0)
    make_cancellable(pool)
    client = Redis.from_pool(pool)

    async def ask_for_ever() -> None:
        while True:
            await client.get("nothing")

    for turns in range(STEPS):
        asking = asyncio.create_task(ask_for_ever())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=1.0)
        assert done, f"the cancellation after {turns} turns was lost"
        assert asking.cancelled()
    await client.aclose()
