"""What the stores in Redis do alike, each in the errors of its own room: a fake has no keys that could be wrong."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from registry import errors as registry_errors
from registry.store import connect as connect_registry
from serving.control import errors as control_errors
from serving.control.operations import Operation
from serving.control.store import connect as connect_control
from serving.control.valkey import EmbeddedValkey
from tests.registry.made import DIGITS


@pytest.fixture
async def raw(valkey: EmbeddedValkey) -> AsyncIterator[redis.asyncio.Redis]:
    """The server, without any store."""
    client = redis.asyncio.Redis.from_url(valkey.url)
    yield client
    await client.aclose()


async def test_a_head_of_another_type_is_damage(valkey: EmbeddedValkey, raw: redis.asyncio.Redis) -> None:
    """The control room does not wait for a store that answers."""
    store = connect_control(valkey.url, f"test-{secrets.token_hex(6)}")
    await raw.set(store.keys.head, "x")
    try:
        with pytest.raises(control_errors.StoreDamaged, match="WRONGTYPE"):
            await store.head()
    finally:
        await store.close()


async def test_what_an_earlier_release_wrote_is_read(valkey: EmbeddedValkey, raw: redis.asyncio.Redis) -> None:
    """A crash without its pool, and an operation with its arguments in the record, where no save may lose them."""
    store = connect_control(valkey.url, f"test-{secrets.token_hex(6)}")
    try:
        await raw.xadd(store.keys.crashes("m", 1), {"crash": json.dumps({"exit_code": 1, "host": "h", "words": "w"})})
        [crash] = await store.crashes("m", 1)
        assert (crash.words, crash.pool) == ("w", "")
        begun = await store.add_operation(Operation("op1", "register", "m"))
        key = store.keys.operation("op1")
        record = json.loads(await raw.hget(key, "record") or b"")
        asked = {"source": "/a", "contents": {"example": "x"}}
        earlier = {name: one for name, one in record.items() if name not in {"about", "known"}} | {"arguments": asked}
        await raw.hset(key, "record", json.dumps(earlier))
        await raw.delete(store.keys.operation_arguments("op1"))
        found = await store.operation("op1")
        assert found is not None
        assert (found.arguments, found.about) == ({}, {"source": "/a"})
        assert await store.arguments_of("op1") == asked
        assert await store.save_operation(begun.saying("on")) is not None
        assert await store.arguments_of("op1") == asked
    finally:
        await store.close()


async def test_a_model_of_another_type_is_damage(valkey: EmbeddedValkey, raw: redis.asyncio.Redis) -> None:
    """Nor does the registry."""
    store = connect_registry(valkey.url, f"test-{secrets.token_hex(6)}")
    await raw.set(store.keys.of(DIGITS, "model"), "x")
    try:
        with pytest.raises(registry_errors.StoreDamaged, match="WRONGTYPE"):
            await store.facts(DIGITS)
    finally:
        await store.close()
