"""What the stores in Redis do alike, each in the errors of its own room: a fake has no keys that could be wrong."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from registry import errors as registry_errors
from registry.store import connect as connect_registry
from serving.control import errors as control_errors
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


async def test_a_model_of_another_type_is_damage(valkey: EmbeddedValkey, raw: redis.asyncio.Redis) -> None:
    """Nor does the registry."""
    store = connect_registry(valkey.url, f"test-{secrets.token_hex(6)}")
    await raw.set(store.keys.of(DIGITS, "model"), "x")
    try:
        with pytest.raises(registry_errors.StoreDamaged, match="WRONGTYPE"):
            await store.facts(DIGITS)
    finally:
        await store.close()
