"""What gateways read of who is let in, in a real Valkey: the names, the channel, and what a loss of data does."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import redis.asyncio

from serving.access.keys import decode
from serving.access.roles import Role
from serving.control.keys import KeyService, WantedKey
from serving.control.publishing import LedgerEntry
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey

SHOP = WantedKey("shop", Role.PREDICT)


@dataclass
class Here:
    """A store, and its server without it."""

    store: Store
    raw: redis.asyncio.Redis

    async def revision(self) -> int:
        """As a gateway reads it."""
        return int(await self.raw.get(self.store.keys.access_revision) or 0)


@pytest.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Here]:
    """A namespace of its own."""
    store, raw = connect(valkey.url, f"test-{secrets.token_hex(6)}"), redis.asyncio.Redis.from_url(valkey.url)
    yield Here(store, raw)
    await raw.aclose()
    await store.close()


async def test_a_gateway_finds_the_record_and_hears_of_it(here: Here) -> None:
    """Under the names that both sides share; what it hears is the revision that it then reads."""
    async with here.raw.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(here.store.keys.access_changes)
        assert await channel.get_message(timeout=1) is None
        made = await KeyService(here.store).create(SHOP, who="ada", wait_s=0)
        heard = await channel.get_message(timeout=5)
    assert heard is not None
    assert int(heard["data"]) == await here.revision() > 0
    [text] = await here.raw.hvals(here.store.keys.access_keys)
    assert decode(text) == made.record
    assert made.shown.secret.encode() not in text


async def test_no_secret_is_anywhere_on_the_server(here: Here) -> None:
    """Neither in the records, nor in the ledger, nor in what scripts remember of their answers."""
    made = await KeyService(here.store).create(SHOP, who="ada", wait_s=0)
    await KeyService(here.store).revoke(made.record.id, who="ada", wait_s=0)
    names = [name async for name in here.raw.scan_iter(f"{{{here.store.keys.namespace}}}:*")]
    dumps = [await here.raw.dump(name) for name in names]
    assert len(names) >= 3
    assert not any(made.shown.secret.encode() in (dump or b"") for dump in dumps)


async def test_after_a_loss_of_data_the_revision_is_ahead_of_every_gateway(here: Here) -> None:
    """Or they would be believed to know what they have never read."""
    service = KeyService(here.store)
    for n in range(5):
        await service.create(WantedKey(f"key {n}", Role.PREDICT), who="ada", wait_s=0)
    acknowledged = await here.revision()
    await here.raw.delete(here.store.keys.access_revision, here.store.keys.access_keys)
    await service.create(SHOP, who="ada", wait_s=0)
    assert await here.revision() > acknowledged


async def test_signing_keys_and_wishes_for_them_travel_as_gateways_have_them(here: Here) -> None:
    """JSON under one name; a wish is a key that lapses by itself."""
    keys = here.store.keys
    await here.store.keep_jwks('{"keys": []}', LedgerEntry("key", "conductor", "", {}))
    assert await here.raw.get(keys.access_jwks) == b'{"keys": []}'
    await here.raw.set(keys.access_wanted, "kid", nx=True, px=2_000)
    assert await here.store.take_wanted()
    await here.store.want_signing_keys()
    assert 0 < await here.raw.pttl(keys.access_wanted) <= 2_000


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"id": 1}', "[" * 100_000])
async def test_a_record_that_cannot_be_read_lets_nobody_in(
    here: Here, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and keys that can be read are made and revoked as ever."""
    await here.raw.hset(here.store.keys.access_keys, "0" * 12, text)
    service = KeyService(here.store)
    made = await service.create(SHOP, who="ada", wait_s=0)
    assert list(await here.store.key_records()) == [made.record]
    assert (await service.revoke(made.record.id, who="ada", wait_s=0)).record.revoked_s is not None
    assert "lets nobody in" in caplog.text
