"""What only the store in Redis must do: keep to its keys, tell everybody, forget in time, and survive its server."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from router.policy import Arm, Policy
from serving.control import publication_form
from serving.control.errors import StoreDamaged, StoreUnavailable
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint
from serving.errors import SluiceError
from serving.figures import Figures
from serving.leases import Applied, GatewayLease, with_figures

POLICY = Policy(stable=1, salt="s")
HALF = Policy(stable=1, arms=(Arm(2, 500_000),), salt="s")
ENDPOINT = Endpoint(host="127.0.0.1", http_port=9001, grpc_port=0, model="digits", version=1)


@pytest.fixture
async def store(valkey: EmbeddedValkey) -> AsyncIterator[Store]:
    """A store in a namespace of its own."""
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    yield store
    await store.close()


@pytest.fixture
async def raw(valkey: EmbeddedValkey) -> AsyncIterator[redis.asyncio.Redis]:
    """The server, without the store."""
    client = redis.asyncio.Redis.from_url(valkey.url)
    yield client
    await client.aclose()


async def test_all_keys_share_a_slot(store: Store, raw: redis.asyncio.Redis) -> None:
    """On a cluster of servers one script may touch them all: each begins with the namespace in braces."""
    await store.change("digits", POLICY, 0, who="ada")
    await store.hold(ENDPOINT, 60)
    await store.ensure_keys()
    ours = [key async for key in raw.scan_iter(match=f"*{store.keys.namespace}*")]
    assert len(ours) >= 8
    assert all(key.startswith(f"{{{store.keys.namespace}}}:".encode()) for key in ours)


async def test_a_change_is_told_at_once(store: Store, raw: redis.asyncio.Redis) -> None:
    """Subscribers hear the epoch and the digest, and of endpoints that come and are taken away, not of renewals."""
    async with raw.pubsub() as channel:
        await channel.subscribe(store.keys.epochs, store.keys.endpoint_changes)
        for _ in range(2):
            assert (await channel.get_message(timeout=1) or {})["type"] == "subscribe"
        head = (await store.change("digits", POLICY, 0, who="ada")).answer.head
        await store.hold(ENDPOINT, 60)
        await store.hold(ENDPOINT, 60)
        await store.drop(ENDPOINT)
        heard = []
        while message := await channel.get_message(timeout=0.3):
            heard.append(message["data"].decode())
    assert heard == [f"{head.epoch} {head.digest}", *[store.keys.endpoint(ENDPOINT)] * 2]


async def test_what_was_replaced_is_forgotten_after_a_day(store: Store, raw: redis.asyncio.Redis) -> None:
    """The old snapshot and policy get an expiry, those that run have none, not even one that came back."""
    first = (await store.change("digits", POLICY, 0, who="ada")).answer.head
    policy = (await store.state()).snapshot.models["digits"].digest
    await store.change("digits", HALF, 1, who="ada")
    for key in (store.keys.snapshot(first.digest), store.keys.policy(policy)):
        assert 86_000 < await raw.ttl(key) <= 86_400
    last = (await store.change("digits", POLICY, 2, who="ada")).answer.head
    for key in (store.keys.snapshot(last.digest), store.keys.policy(policy)):
        assert await raw.ttl(key) == -1


async def test_a_policy_that_another_model_runs_is_kept(store: Store, raw: redis.asyncio.Redis) -> None:
    """Two models with equal policies share a blob, and one of them leaving it does not take it from the other."""
    await store.change("digits", POLICY, 0, who="ada")
    await store.change("fraud", POLICY, 0, who="ada")
    await store.change("digits", HALF, 1, who="ada")
    digest = (await store.state()).snapshot.models["fraud"].digest
    assert await raw.ttl(store.keys.policy(digest)) == -1


async def test_the_lineage_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last epochs are remembered."""
    monkeypatch.setattr(publication_form, "KEPT_EPOCHS", 3)
    for _ in range(6):
        await store.change("digits", POLICY, None, who="ada")
    assert sorted(await store.lineage(range(10))) == [4, 5, 6]


async def test_a_lapsed_lease_leaves_the_index(store: Store, raw: redis.asyncio.Redis) -> None:
    """Gateways and endpoints that come and go leave nothing behind."""
    await store.hold(ENDPOINT, 0.02)
    await asyncio.sleep(0.05)
    assert list(await store.endpoints()) == []
    assert await raw.scard(store.keys.endpoints) == 0


async def test_a_lease_that_nobody_can_read_hides_no_other(store: Store, raw: redis.asyncio.Redis) -> None:
    """Garbage under one gateway's key costs that gateway only."""
    for name, value in (("bad", b"\xff{"), ("worse", b"[]")):
        await raw.set(store.keys.gateway(name), value)
        await raw.sadd(store.keys.gateways, name)
    assert list(await store.gateways()) == []


@pytest.mark.parametrize("beside", [None, b"\xff{", b"[]", b"{}", b'{"access":0,"digest":"d","epoch":-1}'])
async def test_a_gateway_that_leaves_nothing_readable_goes_by_its_lease(
    store: Store, raw: redis.asyncio.Redis, beside: bytes | None
) -> None:
    """As those of an earlier release; one whose lease is gone as well, or cannot be read, is not there."""
    lease = GatewayLease("earlier", "b", 7, "h", 8000, 4, "d4", access=2)
    for name, value in (("earlier", lease.encode()), ("bad", b"\xff{"), ("gone", None)):
        if value is not None:
            await raw.set(store.keys.gateway(name), value)
        if beside is not None:
            await raw.set(store.keys.gateway_applied(name), beside)
        await raw.sadd(store.keys.gateways, name)
    assert await store.applied() == {"earlier": Applied(4, "d4", 2)}
    assert await store.applied(["earlier", "bad", "gone"]) == {"earlier": Applied(4, "d4", 2)}


async def test_figures_that_nobody_can_read_hide_no_lease(store: Store, raw: redis.asyncio.Redis) -> None:
    """They are for people; what is decided goes by the lease."""
    lease = GatewayLease("g", "b", 7, "h", 8000, 0, "", figures={"m/1": Figures(2, 1)})
    await raw.set(store.keys.gateway("g"), lease.encode())
    await raw.sadd(store.keys.gateways, "g")
    for value in (lease.encode_figures(), b"\xff{", b"[]"):
        await raw.set(store.keys.gateway_figures("g"), value)
        [found] = await store.gateways_with_figures()
        assert (found.id, dict(found.figures)) == ("g", dict(lease.figures) if value == lease.encode_figures() else {})


async def test_decoding_many_figures_lets_others_run(
    store: Store, raw: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for anything else is not held up by all gateways together, only by one."""
    turns, at, many = 0, set(), 20

    def decoded(lease: GatewayLease, said: bytes) -> GatewayLease:
        at.add(turns)
        return with_figures(lease, said)

    monkeypatch.setattr("serving.control.leases_store.with_figures", decoded)
    lease = GatewayLease("g", "b", 7, "h", 8000, 0, "", figures={"m/1": Figures(2, 1)})
    for number in range(many):
        one = replace(lease, id=f"g{number}")
        await raw.set(store.keys.gateway(one.id), one.encode())
        await raw.set(store.keys.gateway_figures(one.id), one.encode_figures())
        await raw.sadd(store.keys.gateways, one.id)
    reading = asyncio.create_task(store.gateways_with_figures())
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert [found.figures["m/1"].attempts for found in await reading] == [2] * many
    assert len(at) == many


async def test_a_blob_with_other_bytes_is_damage(store: Store, raw: redis.asyncio.Redis) -> None:
    """What does not match its digest is not taken for it."""
    head = (await store.change("digits", POLICY, 0, who="ada")).answer.head
    await raw.set(store.keys.snapshot(head.digest), b"{}")
    with pytest.raises(StoreDamaged, match="holds other bytes"):
        await store.state()


async def test_a_well_kept_server_gives_no_warning(store: Store) -> None:
    """The embedded server is as it should be."""
    assert await store.check() == ()


async def test_a_server_that_may_forget_is_told_about(store: Store, raw: redis.asyncio.Redis) -> None:
    """Eviction and a missing append-only file are a sentence each, not a refusal."""
    await raw.config_set("maxmemory-policy", "allkeys-lru")
    await raw.config_set("appendonly", "no")
    try:
        warnings = await store.check()
        durable = (await store.change("digits", POLICY, 0, who="ada")).answer.durable
    finally:
        await raw.config_set("maxmemory-policy", "noeviction")
        await raw.config_set("appendonly", "yes")
    assert [("noeviction" in one, "append-only" in one) for one in warnings] == [(True, False), (False, True)]
    assert not durable


async def test_a_killed_server_is_found_again_with_everything(tmp_path: Path) -> None:
    """While it is away every call says so in a sentence; when it is back, the same store goes on where it was."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    store = connect(server.url, "sluice", timeout_s=1.0)
    try:
        head = (await store.change("digits", POLICY, 0, who="ada")).answer.head
        keys = await store.ensure_keys()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.head()
        with pytest.raises(StoreUnavailable):
            await store.change("digits", HALF, 1, who="ada")
        server.ensure_running()
        assert await store.head() == head
        assert await store.id_keys() == keys
        assert (await store.change("digits", HALF, 1, who="ada")).revision == 2
    finally:
        await store.close()
        server.stop()


async def test_no_error_shows_the_password(valkey: EmbeddedValkey) -> None:
    """Whatever is wrong with an address, its password stays out of the text and of what caused it."""
    for url in (
        f"redis://:hunter2-secret@127.0.0.1:{valkey.port}/0",
        "redis://:hunter2-secret@127.0.0.1:1/0",
        "redis://user:hunter2-secret@127.0.0.1:port/0",
        "redis://:hunter2/secret@127.0.0.1:6379/0",
        "http://:hunter2-secret@127.0.0.1",
    ):
        with pytest.raises(SluiceError) as refused:
            await connect(url, "sluice", timeout_s=1.0).head()
        error: BaseException | None = refused.value
        while error is not None:
            assert "hunter2" not in f"{error} {error!r} {error.args}"
            error = error.__cause__
    assert not isinstance(refused.value, StoreUnavailable)
