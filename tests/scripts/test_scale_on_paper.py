"""The paper calculation of docs/scale.md is the code's, and what it counts on is counted at a real store."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from scripts.scale_on_paper import DOCUMENT, HOLD_COMMANDS, LOOK_COMMANDS, WORKER_CONNECTIONS, with_table
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint, Load
from serving.gateway.config import WorkerConfig
from serving.gateway.limits import Ask
from serving.gateway.policies import Follower
from serving.gateway.worker import Worker

ENDPOINT = Endpoint("127.0.0.1", 21_000, 21_001, "m", 1)


def test_the_table_is_what_the_code_says() -> None:
    """Whoever changes a constant or an encoder writes it anew: `python -m scripts.scale_on_paper`."""
    text = DOCUMENT.read_text()
    assert with_table(text) == text
    with pytest.raises(ValueError, match="no place for the table"):
        with_table("# Another document")


def commands(raw: redis.Redis) -> int:
    """How many the server has answered; the one that asks is answered afterwards."""
    return int(raw.info("stats")["total_commands_processed"])


@asynccontextmanager
async def follower(valkey: EmbeddedValkey, namespace: str) -> AsyncIterator[Follower]:
    """One of a worker that has looked, and does nothing by itself."""
    config = WorkerConfig(worker="w", redis_url=valkey.url, namespace=namespace)
    one = Follower(Worker(config, asyncio.get_running_loop()), "127.0.0.1", 8000)
    await one._look()
    try:
        yield one
    finally:
        await one.stop()


async def test_a_look_and_a_renewal_are_so_many_commands(valkey: EmbeddedValkey) -> None:
    """With a lease to read, and nothing new in it."""
    namespace = f"test-{secrets.token_hex(6)}"
    store = connect(valkey.url, namespace)
    await store.hold(ENDPOINT, 60.0, Load(0, 1.0))
    with redis.Redis.from_url(valkey.url) as raw:
        raw.ping()
        before = commands(raw)
        await store.hold(ENDPOINT, 60.0, Load(1, 1.0))
        assert commands(raw) - before - 1 == HOLD_COMMANDS
        async with follower(valkey, namespace) as one:
            assert list(one._endpoints.values()) == [ENDPOINT]
            before = commands(raw)
            await one._look()
            assert commands(raw) - before - 1 == LOOK_COMMANDS
    await store.close()


async def test_a_worker_has_so_many_connections(valkey: EmbeddedValkey) -> None:
    """One for looks, one that waits for notifications, one for totals, one for what keys use up."""
    with redis.Redis.from_url(valkey.url) as raw:
        before = len(raw.client_list())
        async with follower(valkey, f"test-{secrets.token_hex(6)}") as one:
            heard = asyncio.Event()
            listening = asyncio.create_task(one._store.listen(heard.set, 1.0))
            await heard.wait()
            asks = [Ask("k", want=1.0, rate_per_s=1.0, bucket=1.0, in_flight=0)]
            await asyncio.gather(one._look(), one._telling.tell(whole=True), one._store.settle(asks))
            assert len(raw.client_list()) - before == WORKER_CONNECTIONS
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
