"""What is relied on in any store of keys: one stroke per change, a revision that grows, no change on old facts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from serving.access.keys import KeyRecord
from serving.access.principal import Limits
from serving.access.roles import Role
from serving.control.access_changes import AccessChange, AccessState
from serving.control.errors import NameTaken
from serving.control.key_rules import WantedKey
from serving.control.keys import KeyService, rotate_when_due
from serving.control.publishing import LedgerEntry
from serving.leases import GatewayLease
from tests.contracts.conftest import Bench

RECORD = KeyRecord(
    "0123456789ab", "shop", "d" * 64, Role.PREDICT, frozenset({"b", "a"}), Limits(rate_per_s=2.5), 10.5, "ada", 1e10
)
LEASE = GatewayLease(id="g1", boot="b", pid=7, host="h", http_port=8000, epoch=0, digest="")


def change(expected: int = 0, *put: KeyRecord, dropped: tuple[str, ...] = (), nonce: str = "n") -> AccessChange:
    """One that is about these."""
    return AccessChange(expected, LedgerEntry("key", "ada", "why", {"what": "tried"}), put, dropped, nonce)


async def test_an_empty_store_lets_nobody_in(bench: Bench) -> None:
    """No records, no signing keys, revision 0, nothing wanted."""
    assert await bench.store.access() == AccessState()
    assert (await bench.store.access_revision(), list(await bench.store.key_records())) == (0, [])
    assert await bench.store.jwks() is None
    assert not await bench.store.take_wanted()


async def test_a_record_is_read_back_as_it_was_written(bench: Bench) -> None:
    """With the revision that the answer named, the gateways that were alive, and a ledger entry."""
    bench.gateway.gateway_says(LEASE, 60)
    answer = await bench.store.change_access(change(0, RECORD))
    assert (answer.done, set(answer.members), answer.durable) == (True, {"g1"}, True)
    assert await bench.store.access() == AccessState(answer.revision, {RECORD.id: RECORD})
    assert await bench.store.access_revision() == answer.revision
    assert list(await bench.store.key_records()) == [RECORD]
    [entry] = await bench.store.ledger(10)
    assert (entry.entry.kind, entry.entry.who, dict(entry.entry.facts)) == ("key", "ada", {"what": "tried"})


async def test_the_revision_grows_with_each_change(bench: Bench) -> None:
    """However fast they follow each other; what is dropped is gone, what is put again is replaced."""
    first = await bench.store.change_access(change(0, RECORD, nonce="1"))
    other = replace(RECORD, id="a" * 12, name="other")
    second = await bench.store.change_access(change(first.revision, other, dropped=(RECORD.id,), nonce="2"))
    third = await bench.store.change_access(change(second.revision, replace(other, revoked_s=5.0), nonce="3"))
    assert 0 < first.revision < second.revision < third.revision
    assert (await bench.store.access()).records == {other.id: replace(other, revoked_s=5.0)}


async def test_a_change_on_old_facts_writes_nothing(bench: Bench) -> None:
    """Neither record nor ledger entry; it is told what the revision is."""
    first = await bench.store.change_access(change(0, RECORD, nonce="1"))
    late = await bench.store.change_access(change(0, replace(RECORD, id="a" * 12), nonce="2"))
    assert (late.done, late.revision, late.members) == (False, first.revision, frozenset())
    assert set((await bench.store.access()).records) == {RECORD.id}
    assert len(await bench.store.ledger(10)) == 1


async def test_a_change_that_is_sent_again_is_made_once(bench: Bench) -> None:
    """A client whose connection broke gets the answer of the first time."""
    first = await bench.store.change_access(change(0, RECORD))
    assert await bench.store.change_access(change(0, RECORD)) == first
    assert len(await bench.store.ledger(10)) == 1


async def test_signing_keys_that_change_raise_the_revision(bench: Bench) -> None:
    """With an entry in the ledger; a mere look at them does not, and keys stay what they are."""
    await bench.store.change_access(change(0, RECORD))
    before = await bench.store.access_revision()
    text = json.dumps({"fetched_s": 1.0, "keys": [{"kid": "a"}], "url": "https://issuer"})
    answer = await bench.store.keep_jwks(text, LedgerEntry("key", "conductor", "", {"what": "signing keys"}))
    assert answer is not None
    assert before < answer.revision == await bench.store.access_revision()
    later = text.replace("1.0", "2.0")
    assert await bench.store.keep_jwks(later) is None
    assert (await bench.store.jwks(), await bench.store.access_revision()) == (later, answer.revision)
    assert list(await bench.store.key_records()) == [RECORD]
    assert len(await bench.store.ledger(10)) == 2


async def test_a_wish_for_newer_signing_keys_is_taken_once(bench: Bench) -> None:
    """However many gateways have it."""
    await bench.store.want_signing_keys()
    await bench.store.want_signing_keys()
    assert [await bench.store.take_wanted() for _ in range(2)] == [True, False]


async def test_of_ten_keys_of_one_name_made_at_once_one_is_made(bench: Bench) -> None:
    """In any store: nine are told that it is taken, and the ledger has one entry."""
    service = KeyService(bench.store)
    wanted = WantedKey("twin", Role.OPERATE)
    said = await asyncio.gather(
        *(service.create(wanted, who="ada", wait_s=0) for _ in range(10)), return_exceptions=True
    )  # fmt: skip
    assert sum(isinstance(one, NameTaken) for one in said) == 9
    assert [one.name for one in await bench.store.key_records()] == ["twin"]
    assert len(await bench.store.ledger(20)) == 1


async def test_keys_of_ten_names_made_at_once_are_all_made(bench: Bench) -> None:
    """Whoever comes second decides again on what is there."""
    service = KeyService(bench.store)
    await asyncio.gather(
        *(service.create(WantedKey(f"key {n}", Role.PREDICT), who="ada", wait_s=0) for n in range(10))
    )  # fmt: skip
    assert len(await service.records()) == 10


async def test_a_revocation_is_acknowledged_by_every_gateway(bench: Bench) -> None:
    """Three leases that say that they go by the revision, one after the other."""
    service = KeyService(bench.store)
    made = await service.create(WantedKey("shop", Role.PREDICT), who="ada", wait_s=0)
    before = await bench.store.access_revision()
    names = ("g1", "g2", "g3")
    for name in names:
        bench.gateway.gateway_says(replace(LEASE, id=name, access=before), 60)
    asked = asyncio.create_task(service.revoke(made.record.id, who="ada", wait_s=30))
    async with asyncio.timeout(10):
        while await bench.store.access_revision() == before:  # noqa: ASYNC110 - a store sets no event
            await asyncio.sleep(0.005)
    for name in names:
        assert not asked.done()
        bench.gateway.gateway_says(replace(LEASE, id=name, access=await bench.store.access_revision()), 60)
        await asyncio.sleep(0.05)
    seen = (await asked).acknowledged
    assert (seen.of, seen.by, seen.expired, seen.waiting) == (3, 3, (), ())


async def test_a_gateway_whose_lease_runs_out_is_named(bench: Bench) -> None:
    """It is not waited for, and nobody claims that it knows."""
    service = KeyService(bench.store)
    made = await service.create(WantedKey("shop", Role.PREDICT), who="ada", wait_s=0)
    bench.gateway.gateway_says(LEASE, 0.2)
    seen = (await service.revoke(made.record.id, who="ada", wait_s=30)).acknowledged
    assert (seen.of, seen.by, seen.expired, seen.waiting) == (1, 0, ("g1",), ())


async def test_the_key_of_request_ids_is_replaced_when_it_is_old_enough(bench: Bench) -> None:
    """Not before; each rotation is in the ledger, and what earlier keys have signed can still be read."""
    first = await bench.store.ensure_keys()
    made_s = await bench.store.now_ms() / 1000
    assert not await rotate_when_due(bench.store, made_s + 29 * 86_400, 30)
    assert await bench.store.id_keys() == first
    assert await rotate_when_due(bench.store, made_s + 31 * 86_400, 30)
    after = await bench.store.id_keys()
    assert after is not None
    assert after.current != first.current
    assert after.secrets[first.current] == first.secrets[first.current]
    assert not await rotate_when_due(bench.store, made_s + 86_400, 30)
    [entry] = await bench.store.ledger(10)
    assert (entry.entry.kind, entry.entry.who) == ("key", "conductor")


@pytest.mark.parametrize("days", [1, 30])
async def test_a_key_of_request_ids_that_nobody_dated_is_replaced(bench: Bench, days: float) -> None:
    """An earlier release has made it, and nobody knows how long ago."""
    assert await bench.store.id_keys_made_ms() is None
    assert await rotate_when_due(bench.store, await bench.store.now_ms() / 1000, days)
    assert not await rotate_when_due(bench.store, await bench.store.now_ms() / 1000, days)
