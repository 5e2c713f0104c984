"""A worker lets in by what the store says of keys, at once when it changes, and by what it knew when that is away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.asyncio.connection import SSLConnection

from router.codec import READER
from serving.access.keys import KeyRecord
from serving.access.principal import Limits, Principal
from serving.access.roles import Role
from serving.access.verifier import Verifier
from serving.control.valkey import EmbeddedValkey
from serving.gateway.config import WorkerConfig
from serving.gateway.credentials import Credentials
from serving.gateway.limits import SYNC_S
from serving.gateway.policies import Follower
from serving.gateway.request import Bad
from serving.gateway.worker import Worker
from serving.leases import decode_gateway
from serving.store_keys import Keys
from tests.serving.access.issuer import RULES, Issuer, jwks
from tests.serving.gateway.callers import Holder, caller
from tests.serving.gateway.rig import eventually
from tests.serving.gateway.test_admission import Peer, _head

NOWHERE_URL = "redis://127.0.0.1:9/0"


class Store:
    """What the control room writes of who is let in."""

    def __init__(self, url: str) -> None:
        self.raw = redis.Redis.from_url(url)
        self.keys = Keys(f"test-{os.urandom(6).hex()}")
        self.url = url
        self.revision = 0

    def put(self, *callers: Holder, signing: str | None = None, tell: bool = True) -> int:
        """Changes some records, and says so; the revision."""
        self.revision += 1
        pipe = self.raw.pipeline()
        for one in callers:
            pipe.hset(self.keys.access_keys, one.record.id, one.record.encode())
        if signing is not None:
            pipe.set(self.keys.access_jwks, signing)
        pipe.set(self.keys.access_revision, self.revision)
        if tell:
            pipe.publish(self.keys.access_changes, self.revision)
        pipe.execute()
        return self.revision

    def revoke(self, one: Holder, *, tell: bool = True) -> int:
        """Takes a key back."""
        one.record = replace(one.record, revoked_s=1.0)
        return self.put(one, tell=tell)

    def lease(self, worker: str = "w") -> Any:  # noqa: ANN401 (a lease, or nothing)
        """What a worker says of itself."""
        said = self.raw.get(self.keys.gateway(worker))
        return None if said is None else decode_gateway(bytes(said))  # type: ignore[arg-type]

    def wipe(self) -> None:
        """Forgets everything."""
        for key in self.raw.keys(f"{{{self.keys.namespace}}}:*"):
            self.raw.delete(key)


@pytest.fixture
def store(valkey: EmbeddedValkey) -> Iterator[Store]:
    """An installation that knows nobody yet."""
    one = Store(valkey.url)
    yield one
    one.raw.close()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server that this test may kill."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def following(store: Store, name: str = "w", **given: Any) -> AsyncIterator[Worker]:  # noqa: ANN401
    """A worker that asks everybody for a key and follows this store; by polls that come often, unless told."""
    rules = json.dumps(RULES.as_dict())
    settings = {"redis_url": store.url, "lease_s": 5.0, "poll_s": 0.1, "token_rules": rules, **given}
    config = WorkerConfig(worker=name, namespace=store.keys.namespace, access_required=True, **settings)
    worker = Worker(config, asyncio.get_running_loop())
    follower = Follower(worker, "127.0.0.1", 8000)
    try:
        await follower.start()
        ticking = asyncio.create_task(_ticks(worker))
        yield worker
        ticking.cancel()
    finally:
        async with asyncio.timeout(5):
            await follower.stop()


async def _ticks(worker: Worker) -> None:
    """The clock of a worker that does not listen."""
    while True:
        worker._tick()
        await asyncio.sleep(60)


def opens(worker: Worker, header: str) -> bool:
    """Whether this header lets somebody in now."""
    return isinstance(worker.admission.admit(_head([header]), worker.wall_s, Peer()), Principal)


# Following.


async def test_what_is_known_at_the_start(store: Store) -> None:
    """A worker that joins lets in by what the store has, and its lease has said so, and what it can read."""
    good, ended = caller(), caller(expires_s=1.0)
    revision = store.put(good, ended)
    async with following(store) as worker:
        assert opens(worker, good.header)
        assert not opens(worker, ended.header)
        assert not opens(worker, caller().header)
        assert (store.lease().access, store.lease().reader) == (revision, READER)


async def test_an_empty_store(store: Store) -> None:
    """Where there are no keys at all nobody is let in, and that is known, not unknown."""
    async with following(store) as worker:
        found = worker.admission.admit(_head([caller().header]), worker.wall_s, Peer())
        assert isinstance(found, Bad)
        assert found.kind.value == "unauthenticated"
        assert store.lease().access == 0


async def test_a_key_is_taken_back_everywhere(store: Store) -> None:
    """A key that is taken back opens nothing on three workers within a second, long before their next poll."""
    one = caller()
    store.put(one)
    async with AsyncExitStack() as stack:
        entered = [following(store, f"w{n}", poll_s=60.0, lease_s=60.0) for n in range(3)]
        workers = [await stack.enter_async_context(each) for each in entered]
        await eventually(lambda: store.raw.pubsub_numsub(store.keys.access_changes)[0][1] == 3)
        assert all(opens(worker, one.header) for worker in workers)
        revision = store.revoke(one)
        await eventually(lambda: not any(opens(worker, one.header) for worker in workers), within_s=1.0)
        await eventually(lambda: {store.lease(f"w{n}").access for n in range(3)} == {revision})


async def test_what_is_not_heard_is_found(store: Store) -> None:
    """A change that nobody announced is found by the next poll."""
    one, other = caller(), caller()
    store.put(one)
    async with following(store) as worker:
        store.revoke(one, tell=False)
        store.put(other, tell=False)
        await eventually(lambda: opens(worker, other.header) and not opens(worker, one.header))


async def test_signing_keys(store: Store) -> None:
    """Tokens are read by the issuer's keys that the store has; a missing one is asked for, once in two seconds."""
    old, new = Issuer(), Issuer(kid="k2", number=1)
    store.put(signing=jwks(old.jwk()))
    async with following(store) as worker:
        times = {"exp": int(worker.wall_s) + 60, "iat": int(worker.wall_s)}
        first, second = (f"Authorization: Bearer {one.token(**times)}" for one in (old, new))
        assert opens(worker, first)
        assert store.raw.get(store.keys.access_wanted) is None
        assert not opens(worker, second)
        await eventually(lambda: store.raw.get(store.keys.access_wanted) == b"1")
        assert 0 < store.raw.pttl(store.keys.access_wanted) <= 2_000
        store.raw.delete(store.keys.access_wanted)
        for number in range(20):
            other = Issuer(kid=f"none-{number}", number=1)
            assert not opens(worker, f"Authorization: Bearer {other.token(**times)}")
        await asyncio.sleep(0.1)
        assert store.raw.get(store.keys.access_wanted) is None
        store.put(signing=jwks(new.jwk()))
        await eventually(lambda: opens(worker, second) and not opens(worker, first))


async def test_records_that_cannot_be_read(store: Store) -> None:
    """A record that nobody can read opens nothing, hides no other, and holds up no policy."""
    one = caller()
    for name, text in (("bad", "{"), ("worse", "[]"), ("worst", '{"role": "root"}'), ("last", "\xff")):
        store.raw.hset(store.keys.access_keys, name, text.encode("latin-1"))
    store.raw.set(store.keys.access_jwks, "nonsense")
    store.put(one)
    async with following(store) as worker:
        assert opens(worker, one.header)
        store.raw.set(store.keys.access_revision, "many")
        await asyncio.sleep(0.3)
        assert opens(worker, one.header)
        assert store.lease().held is None


@pytest.mark.parametrize("damage", ["head", "head's kind", "endpoints", "request ids", "gateways", "lineage"])
async def test_what_else_is_damaged_stops_no_revocation(store: Store, damage: str) -> None:
    """Whatever cannot be read of policies and places, a key that is taken back opens nothing from then on."""
    one, keys = caller(), store.keys
    store.put(one)
    async with following(store) as worker:
        assert opens(worker, one.header)
        if damage == "head":
            store.raw.delete(keys.head)
            store.raw.hset(keys.head, mapping={"epoch": "many", "digest": "x"})
        else:
            of = {
                "head's kind": keys.head, "endpoints": keys.endpoints, "request ids": keys.id_keys,
                "gateways": keys.gateways, "lineage": keys.lineage,
            }  # fmt: skip
            store.raw.delete(of[damage])
            store.raw.set(of[damage], "of another kind")
        store.revoke(one)
        await eventually(lambda: not opens(worker, one.header))
        if damage != "gateways":  # its members are written with the lease
            await eventually(lambda: store.lease().access == store.revision)


# Without the store.


async def test_a_store_that_has_forgotten(store: Store) -> None:
    """What is known stays in force when the store forgets it, until somebody changes something."""
    one, taken, other = caller(), caller(), caller()
    store.put(one, taken)
    store.revoke(taken)
    async with following(store) as worker:
        store.wipe()
        await asyncio.sleep(0.3)
        assert opens(worker, one.header)
        assert not opens(worker, taken.header)
        store.put(other)  # beyond all revisions before
        await eventually(lambda: opens(worker, other.header) and not opens(worker, one.header))


async def test_an_older_store(store: Store) -> None:
    """A store that is set back to before a key was taken back does not bring it to life again."""
    one = caller()
    store.put(one)
    before = store.raw.hget(store.keys.access_keys, one.record.id)
    store.revoke(one)
    async with following(store) as worker:
        assert not opens(worker, one.header)
        store.raw.hset(store.keys.access_keys, one.record.id, bytes(before))  # type: ignore[arg-type]
        store.raw.set(store.keys.access_revision, 1)
        store.raw.publish(store.keys.access_changes, "1")
        await asyncio.sleep(0.3)
        assert not opens(worker, one.header)


async def test_starting_while_the_store_is_away(store: Store, tmp_path: Path) -> None:
    """What is known is kept on disk, for its owner alone and without a secret, and is enough for a start."""
    file, one, taken = tmp_path / "state" / "keys.json", caller(), caller()
    store.put(one, taken)
    store.revoke(taken)
    async with following(store, keys_file=str(file)):
        pass
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert one.shown.secret not in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]
    async with following(store, keys_file=str(file), redis_url=NOWHERE_URL) as worker:
        assert opens(worker, one.header)
        assert not opens(worker, taken.header)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"revision": 1, "keys": ["x"], "jwks": null}', '{"keys": 5}', "\ud800"]
)
async def test_nothing_to_start_with(store: Store, tmp_path: Path, text: str | None) -> None:
    """Without a store and without anything usable on disk nobody gets in, and it is said that this may pass."""
    file = tmp_path / "keys.json"
    if text is not None:
        file.write_text(text, errors="surrogatepass")
    async with following(store, keys_file=str(file), redis_url=NOWHERE_URL) as worker:
        found = worker.admission.admit(_head([caller().header]), worker.wall_s, Peer())
        assert isinstance(found, Bad)
        assert found.kind.value == "no-replica"
        found = worker.admission.admit(_head([]), worker.wall_s, Peer())
        assert isinstance(found, Bad)
        assert found.kind.value == "unauthenticated"


def test_newer_only() -> None:
    """Only what is newer than what is known is asked for; the first time anything is."""
    given: list[Verifier] = []
    one = Credentials("", "", lambda verifier, _: given.append(verifier))
    assert one.wants(None)
    one.take(None, [], None)
    assert not one.wants(None)
    assert one.wants(b"5")
    one.take(b"5", [], None)
    assert [one.wants(shown) for shown in (b"4", b"5", b"6", None, b"", b"x")] == [False, False, True] + [False] * 3
    assert (one.revision, len(given)) == (5, 2)


def test_an_older_one_is_never_taken(tmp_path: Path) -> None:
    """A store that was set back between the question and the answer changes nothing, here or on disk."""
    file, given = tmp_path / "keys.json", []
    one, taken = caller(), replace((live := caller()).record, revoked_s=1.0)
    credentials = Credentials("", str(file), lambda verifier, _: given.append(verifier))
    credentials.take(b"5", [one.record.encode().encode(), taken.encode().encode()], None)
    kept = file.read_text()
    for revision in (b"4", None, b"many"):
        credentials.take(revision, [live.record.encode().encode()], None)
        assert (credentials.revision, len(given), file.read_text()) == (5, 1, kept)
    credentials.take(b"5", [], None)
    assert len(given) == 2


async def test_an_encrypted_store(tmp_path: Path) -> None:
    """What an encrypted store's certificate is checked with reaches the client, and nothing is sent in the clear."""
    given = {"ssl_ca_certs": str(tmp_path / "ca.pem"), "ssl_certfile": str(tmp_path / "c.pem")}
    config = WorkerConfig(worker="w", redis_url="rediss://127.0.0.1:9/0", redis_tls=json.dumps(given))
    follower = Follower(Worker(config, asyncio.get_running_loop()), "127.0.0.1", 8000)
    for client in (follower._store.looks, follower._store.limits, follower._store.totals):
        pool = client.connection_pool
        assert issubclass(pool.connection_class, SSLConnection)
        assert pool.connection_kwargs.items() >= given.items()
    await follower.stop()


# Limits, by the real script.


def _limited(rate: float | None = None, burst: int | None = None, in_flight: int | None = None) -> Principal:
    return KeyRecord("a" * 12, "k", "0" * 64, Role.PREDICT, limits=Limits(rate, burst, in_flight)).principal


@asynccontextmanager
async def three(store: Store) -> AsyncIterator[list[Worker]]:
    """Three workers, each of which knows of all."""
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(following(store, f"w{number}")) for number in range(3)]
        await eventually(lambda: all(worker.meters.shared.workers == 3 for worker in workers))
        yield workers


async def test_one_rate_for_three_workers(store: Store) -> None:
    """Three workers that are asked for far too much let through what the bound says, and no more."""
    loop, admitted, who = asyncio.get_running_loop(), 0, _limited(200.0, 40)
    async with three(store) as workers:
        some = [worker.meters.of(who) for worker in workers]
        began = loop.time()
        while loop.time() < began + 2.0:
            for meter in some:
                if meter.enter() is None:
                    admitted += 1
                    meter.leave()
            await asyncio.sleep(0.0005)
        took_s = loop.time() - began
    assert admitted <= 200.0 * took_s + some[0].bucket + 3 * some[0].batch
    assert admitted >= some[0].bucket + 3 * some[0].batch, "nothing was handed out after the first moment"


async def test_in_flight_over_three_workers(store: Store) -> None:
    """Places that are taken at one worker are not to be had at another, and come free; a dead worker's as well."""
    who = _limited(in_flight=3)
    async with three(store) as workers:
        one, other, _ = [worker.meters.of(who) for worker in workers]
        for _ in range(3):
            assert one.enter() is None
        await eventually(lambda: not _gets_in(other))
        for _ in range(3):
            one.leave()
        await eventually(lambda: _gets_in(other))


def _gets_in(meter: Any) -> bool:  # noqa: ANN401 (a meter)
    if meter.enter() is not None:
        return False
    meter.leave()
    return True


async def test_what_is_left_in_the_store_expires(store: Store) -> None:
    """What a key has used up is forgotten once its bucket would be full again, and is one hash until then."""
    async with following(store) as worker:
        meter = worker.meters.of(_limited(5.0, 10))
        assert _gets_in(meter)
        await eventually(lambda: not meter.active)
    key = store.keys.limit("a" * 12)
    assert 0 < store.raw.pttl(key) <= 2_000 + 10_000
    assert set(store.raw.hgetall(key)) == {b"tokens", b"at", b"w:w"}
    assert float(store.raw.hget(key, "tokens")) <= 10.0  # type: ignore[arg-type]


async def test_the_store_dies_under_a_limit(own_valkey: EmbeddedValkey) -> None:
    """While the store is away a worker goes on with its share, and asks the store again when that is back."""
    store = Store(own_valkey.url)
    async with following(store) as worker:
        meter = worker.meters.of(_limited(50.0, 10))
        assert _gets_in(meter)
        await eventually(lambda: meter.reserve > 0 or not meter.active)
        assert own_valkey.pid is not None
        os.kill(own_valkey.pid, signal.SIGKILL)
        await eventually(lambda: _gets_in(meter) and meter._alone_at is not None)
        loop, admitted = asyncio.get_running_loop(), 0
        began, in_hand = loop.time(), meter.reserve + meter.batch
        while loop.time() < began + 5 * SYNC_S:
            admitted += _gets_in(meter)
            await asyncio.sleep(0.001)
        assert admitted <= 50.0 * (loop.time() - began + SYNC_S) + in_hand + 1
        await asyncio.to_thread(own_valkey.ensure_running)
        await eventually(lambda: (_gets_in(meter) or True) and meter._alone_at is None, within_s=10.0)
    store.raw.close()
