"""A worker runs what the store says as long as that makes sense, and what it ran last when it does not."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from router.codec import decode_snapshot, digest_of, encode_policy, encode_snapshot
from router.epoch import NO_HEAD, Head
from router.policy import Arm, Policy
from serving.control.publishing import LedgerEntry, Publication
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint
from serving.gateway.config import WorkerConfig
from serving.gateway.policies import Follower
from serving.gateway.worker import Worker
from serving.leases import GatewayLease, decode_applied, decode_gateway, decode_recovery
from serving.store_keys import Keys
from tests.serving.gateway.rig import eventually

LEASE_S = 1.0
ONE, TWO = Policy(1, salt="s"), Policy(1, (Arm(2, 500_000),), salt="s")
NOWHERE_URL = "redis://127.0.0.1:9/0"


def endpoint(port: int, version: int = 1, model: str = "m") -> Endpoint:
    """A replica that nobody listens at: only whether it is routed to counts here."""
    return Endpoint("127.0.0.1", port, 0, model, version)


@dataclass
class Follows:
    """A worker that follows a store."""

    worker: Worker
    follower: Follower

    @property
    def head(self) -> Head:
        """What is in force."""
        return self.worker.routing.head

    def routed(self, model: str = "m") -> set[int]:
        """The ports of the replicas that the model's requests may reach."""
        found = self.worker.routing.models.get(model)
        return set() if found is None else {one.port for v in found.versions.values() for one in v.upstreams}


@dataclass
class Room:
    """A store, as those see it who change it."""

    server: EmbeddedValkey
    store: Store
    raw: redis.Redis
    namespace: str

    async def lease(self) -> GatewayLease:
        """What the one gateway says of itself."""
        [lease] = await self.store.gateways()
        return lease

    async def held(self) -> str | None:
        """Why the gateway does not take the head, None where it does."""
        return (await self.lease()).held

    async def publish(self, policy: Policy, model: str = "m") -> Head:
        """The head once the model has this policy."""
        return (await self.store.change(model, policy, None, who="test")).answer.head

    def wipe(self) -> None:
        """Forgets everything of this installation."""
        for key in self.raw.keys(f"{{{self.namespace}}}:*"):
            self.raw.delete(key)


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server that this test may kill."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def at(server: EmbeddedValkey) -> AsyncIterator[Room]:
    """An installation of its own on this server."""
    namespace = f"test-{secrets.token_hex(6)}"
    store, raw = connect(server.url, namespace), redis.Redis.from_url(server.url)
    yield Room(server, store, raw, namespace)
    raw.close()
    await store.close()


@pytest.fixture
async def room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """An empty store."""
    async with at(valkey) as one:
        yield one


@asynccontextmanager
async def following(url: str, namespace: str = "sluice", **settings: Any) -> AsyncIterator[Follows]:  # noqa: ANN401
    """A worker that follows the store at this address; by polls that come often, unless told otherwise."""
    given = {"lease_s": LEASE_S, "poll_s": 0.1, "connect_timeout_s": 0.5, **settings}
    config = WorkerConfig(worker="w", redis_url=url, namespace=namespace, **given)
    worker = Worker(config, asyncio.get_running_loop())
    follower = Follower(worker, "127.0.0.1", 8000)
    try:
        await follower.start()
        yield Follows(worker, follower)
    finally:
        async with asyncio.timeout(5):
            await follower.stop()
        for upstream in worker.table.upstreams:
            upstream.retire()


async def comes_to(holds: Any, within_s: float = 5.0) -> None:  # noqa: ANN401 (a function that asks the store)
    """Waits until the store says so."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 (there is nothing to be told by)
            await asyncio.sleep(0.02)


async def test_joining(room: Room) -> None:
    """When a worker begins to listen it runs the store's head, and its lease has said so, with its place and a boot."""
    head = await room.publish(ONE)
    await room.store.hold(endpoint(1001), 60)
    async with following(room.server.url, room.namespace) as one:
        assert one.head == head
        assert one.routed() == {1001}
        assert one.worker.standing.ready
        lease = await room.lease()
        assert lease.runs(head)
        assert (lease.id, lease.host, lease.http_port, lease.held) == ("w", "127.0.0.1", 8000, None)
        assert (lease.pid, len(lease.boot)) == (os.getpid(), 16)
    assert await room.store.gateways() == []


async def test_what_it_goes_by_stands_beside_its_lease(room: Room) -> None:
    """It comes, changes, lapses and goes with the lease: who waits for a change reads nothing else."""
    keys = room.store.keys
    await room.publish(ONE)
    async with following(room.server.url, room.namespace):
        for policy in (TWO, ONE):
            head = await room.publish(policy)
            await comes_to(lambda head=head: _acknowledged(room, head))
            with room.raw.pipeline(transaction=True) as pipe:
                for key in (keys.gateway("w"), keys.gateway_applied("w")):
                    pipe.get(key)
                    pipe.pexpiretime(key)
                lease, lapses, beside, beside_lapses = pipe.execute()
            assert decode_applied(beside) == decode_gateway(lease).applied == (head.epoch, head.digest, 0)
            assert lapses == beside_lapses
    assert room.raw.exists(keys.gateway("w"), keys.gateway_applied("w")) == 0


async def test_joining_an_empty_store(room: Room) -> None:
    """A worker that finds nothing is not ready, holds a lease all the same, and takes the first head that comes."""
    async with following(room.server.url, room.namespace) as one:
        assert (one.head, one.worker.standing.ready) == (NO_HEAD, False)
        assert (await room.lease()).epoch == 0
        head = await room.publish(ONE)
        await eventually(lambda: one.head == head)
        assert one.worker.standing.ready


async def test_a_change_is_heard_of(room: Room) -> None:
    """A new epoch and a new endpoint are in force within a second and acknowledged, long before the next poll."""
    await room.publish(ONE)
    async with following(room.server.url, room.namespace, poll_s=60.0, lease_s=60.0) as one:
        subscribers = lambda: room.raw.pubsub_numsub(room.store.keys.epochs)[0][1]  # noqa: E731
        await eventually(subscribers)
        head = await room.publish(TWO)
        await eventually(lambda: one.head == head, within_s=1.0)
        assert one.worker.routing.models["m"].policy == TWO
        await comes_to(lambda: _acknowledged(room, head))
        await room.store.hold(endpoint(1002, 2), 60)
        await eventually(lambda: one.routed() == {1002}, within_s=1.0)


async def _acknowledged(room: Room, head: Head) -> bool:
    return (await room.lease()).runs(head)


async def test_what_is_not_heard_is_found(room: Room) -> None:
    """A change that nobody announced is found by the next poll."""
    await room.publish(ONE)
    async with following(room.server.url, room.namespace) as one:
        key = room.store.keys.endpoint(endpoint(1001))
        room.raw.set(key, endpoint(1001).encode(), px=60_000)
        room.raw.sadd(room.store.keys.endpoints, key)
        await eventually(lambda: one.routed() == {1001})


async def test_a_replica_that_falls_silent_is_left(room: Room) -> None:
    """In steady contact, a lease that lapses takes its endpoint out of the routing, and the others stay."""
    await room.publish(ONE)
    await room.store.hold(endpoint(1001), 60)
    async with following(room.server.url, room.namespace) as one:
        await room.store.hold(endpoint(1002), 2 * LEASE_S)
        await eventually(lambda: one.routed() == {1001, 1002})
        await eventually(lambda: one.routed() == {1001})
        await room.store.drop(endpoint(1001))
        await eventually(lambda: one.routed() == set())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10, 50])
async def test_stopping_at_once(room: Room, turns: int) -> None:
    """A worker that is told to end while it still connects ends all the same, and gives its lease back."""
    async with following(room.server.url, room.namespace):
        for _ in range(turns):
            await asyncio.sleep(0)
    assert await room.store.gateways() == []


async def test_many_models(room: Room) -> None:
    """A change of one model leaves the policies of all others as they are, to the object."""
    for number in range(120):
        await room.publish(ONE, f"m{number}")
    async with following(room.server.url, room.namespace) as one:
        before = {name: model.policy for name, model in one.worker.routing.models.items()}
        assert len(before) == 120
        head = await room.publish(TWO, "m7")
        await eventually(lambda: one.head == head)
        after = {name: model.policy for name, model in one.worker.routing.models.items()}
        assert [name for name in before if after[name] is not before[name]] == ["m7"]


async def test_the_store_is_killed(own_valkey: EmbeddedValkey) -> None:
    """While the store is away requests go on by what ran, endpoints included; when it is back it is followed again."""
    async with at(own_valkey) as room:
        head = await room.publish(ONE)
        await room.store.hold(endpoint(1001), 60)
        async with following(own_valkey.url, room.namespace) as one:
            assert own_valkey.pid is not None
            os.kill(own_valkey.pid, signal.SIGKILL)
            await eventually(lambda: one.follower._in_contact_since is None)
            away_since = asyncio.get_running_loop().time()
            await eventually(lambda: asyncio.get_running_loop().time() > away_since + 2 * LEASE_S)
            assert (one.head, one.routed(), one.worker.standing.ready) == (head, {1001}, True)
            await asyncio.to_thread(own_valkey.ensure_running)
            await eventually(lambda: one.follower._in_contact_since is not None)
            assert (await room.lease()).runs(head)
            head = await room.publish(TWO)
            await eventually(lambda: one.head == head)


async def test_leases_lapse_only_in_contact(own_valkey: EmbeddedValkey) -> None:
    """A lease that lapsed while the store was away counts only after a whole lease period of contact."""
    async with at(own_valkey) as room:
        await room.publish(ONE)
        async with following(own_valkey.url, room.namespace) as one:
            await room.store.hold(endpoint(1001), 60)
            await eventually(lambda: one.routed() == {1001})
            await asyncio.to_thread(own_valkey.stop)
            await eventually(lambda: one.follower._in_contact_since is None)
            await asyncio.to_thread(own_valkey.start)
            room.raw.delete(room.store.keys.endpoint(endpoint(1001)))
            await eventually(lambda: one.routed() == set())
            since = one.follower._in_contact_since
            assert since is not None
            assert asyncio.get_running_loop().time() - since >= LEASE_S


async def test_a_store_that_has_forgotten(room: Room) -> None:
    """A wiped store, and what is then published in it, is held and reported, and what runs is handed back whole."""
    head = await room.publish(ONE)
    await room.publish(TWO)
    head = await room.publish(ONE)
    async with following(room.server.url, room.namespace) as one:
        assert one.head == head
        room.wipe()
        await comes_to(lambda: _holds(room, "epoch 0"))
        assert one.head == head
        other = await room.publish(TWO)
        assert other.epoch < head.epoch
        await comes_to(lambda: _holds(room, f"epoch {other.epoch}"))
        for _ in range(4):
            other = await room.publish(TWO)
        assert other.epoch > head.epoch
        await comes_to(lambda: _holds(room, f"epoch {other.epoch}"))
        assert one.head == head
        assert one.worker.routing.models["m"].policy == ONE
        kept = room.raw.get(room.store.keys.recovery(head.digest))
        assert isinstance(kept, bytes)
        recovery = decode_recovery(kept)
        assert (recovery.head, digest_of(recovery.snapshot)) == (head, head.digest)
        assert {digest_of(blob) for blob in recovery.policies.values()} == set(recovery.policies)


async def _holds(room: Room, sentence: str) -> bool:
    leases = await room.store.gateways()
    return any(sentence in (lease.held or "") for lease in leases)


async def test_what_is_held_is_held_no_more(room: Room) -> None:
    """Once the store shows again what runs, nothing is held any more."""
    head = await room.publish(ONE)
    async with following(room.server.url, room.namespace) as one:
        kept = room.raw.hgetall(room.store.keys.head)
        room.raw.delete(room.store.keys.head)
        await comes_to(lambda: _holds(room, "epoch 0"))
        room.raw.hset(room.store.keys.head, mapping=kept)  # type: ignore[arg-type]
        await comes_to(lambda: _acknowledged(room, head))
        await comes_to(lambda: _holds_nothing(room))
        assert one.head == head


async def _holds_nothing(room: Room) -> bool:
    return await room.held() is None


async def publish_blob(room: Room, blob: bytes, *, as_digest: str | None = None) -> Head:
    """Makes these bytes the policy of model `broken`, as no control room would."""
    state = await room.store.state()
    digest = as_digest or digest_of(blob)
    snapshot = state.snapshot.with_policy("broken", digest, parent=state.head.digest)
    encoded = encode_snapshot(snapshot)
    answer = await room.store.swap(
        Publication(
            expected=state.head.digest,
            head=Head(snapshot.epoch, digest_of(encoded), state.head.digest),
            snapshot=encoded,
            policies={digest: blob},
            entry=LedgerEntry("policy", "test", "", {"model": "broken"}),
            lineage={},
            nonce=secrets.token_hex(4),
        )
    )
    assert answer.done
    return answer.head


@pytest.mark.parametrize(
    "blob",
    [b"", b"{}", b"[" * 100_000, b'{"stable": 0}', encode_policy(ONE)[:-1]],
    ids=["empty", "no policy", "too deep", "no version", "cut"],
)
async def test_a_policy_that_is_none(room: Room, blob: bytes) -> None:
    """A policy that cannot be read is held and reported; other models go on, and the next good epoch is taken."""
    head = await room.publish(ONE)
    async with following(room.server.url, room.namespace) as one:
        await publish_blob(room, blob)
        await comes_to(lambda: _holds_something(room))
        assert one.head == head
        await room.store.hold(endpoint(1001), 60)
        await eventually(lambda: one.routed() == {1001})
        head = await room.publish(TWO, "broken")
        await eventually(lambda: one.head == head)
        await comes_to(lambda: _holds_nothing(room))


async def _holds_something(room: Room) -> bool:
    return await room.held() is not None


async def test_a_policy_that_was_tampered_with(room: Room) -> None:
    """A policy whose bytes do not match its name is never taken."""
    head = await room.publish(ONE)
    async with following(room.server.url, room.namespace) as one:
        await publish_blob(room, encode_policy(TWO), as_digest=digest_of(b"another"))
        await comes_to(lambda: _holds(room, "missing or damaged"))
        assert one.head == head


@pytest.mark.parametrize("damage", ["head", "snapshot", "lineage", "keys"])
async def test_what_else_may_be_damaged(room: Room, damage: str) -> None:
    """Whatever lies in the store in the place of something else, what ran goes on."""
    head = await room.publish(ONE)
    await room.store.hold(endpoint(1001), 60)
    async with following(room.server.url, room.namespace) as one:
        keys = room.store.keys
        after = await room.publish(TWO) if damage == "snapshot" else head
        if damage == "head":
            room.raw.hset(keys.head, "epoch", "many")
        elif damage == "snapshot":
            room.raw.set(keys.snapshot(after.digest), b"nonsense")
        elif damage == "lineage":
            room.raw.delete(keys.lineage)
            room.raw.set(keys.lineage, b"no hash")
        else:
            room.raw.hset(keys.id_keys, mapping={"current": "x", "1": "%"})
        await room.store.hold(endpoint(1002), 60)
        if damage in {"snapshot", "keys"}:
            await eventually(lambda: one.routed() == {1001, 1002})
        else:
            await comes_to(lambda: _holds_something(room))
        assert one.head in {head, after}
        assert 1001 in one.routed()
        assert not one.follower._tasks[0].done()


async def test_an_endpoint_that_is_none(room: Room) -> None:
    """An endpoint's lease that nobody can read hides no other endpoint."""
    await room.publish(ONE)
    for member, value in (("nonsense", b"nonsense"), ("gone", b""), ("no text", b"\xff"), ("deep", b"[" * 100_000)):
        room.raw.sadd(room.store.keys.endpoints, member)
        if value:
            room.raw.set(member, value, px=60_000)
    await room.store.hold(endpoint(1001), 60)
    async with following(room.server.url, room.namespace) as one:
        assert one.routed() == {1001}


async def test_the_stores_key_mints(room: Room) -> None:
    """Request ids are minted with the store's key, and with its successor soon after a rotation."""
    await room.publish(ONE)
    first = await room.store.ensure_keys()
    async with following(room.server.url, room.namespace) as one:
        assert one.worker.key.key_id == first.current
        second = await room.store.rotate_keys()
        assert second.current != first.current
        await eventually(lambda: one.worker.key.key_id == second.current)


async def test_a_start_without_a_store(room: Room, tmp_path: Path) -> None:
    """A worker that reaches no store starts from the snapshot on disk, with its policies and its endpoints."""
    file = tmp_path / "kept" / "snapshot.json"
    await room.store.hold(endpoint(1001), 60)
    head = await room.publish(TWO)
    async with following(room.server.url, room.namespace, snapshot_file=str(file)):
        pass
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]
    async with following(NOWHERE_URL, room.namespace, snapshot_file=str(file)) as one:
        assert (one.head, one.routed(), one.worker.standing.ready) == (head, {1001}, True)
        assert one.worker.routing.models["m"].policy == TWO


async def test_a_start_without_anything(tmp_path: Path) -> None:
    """A worker with neither store nor snapshot starts, and says that it is not ready."""
    async with following(NOWHERE_URL, snapshot_file=str(tmp_path / "none.json")) as one:
        assert (one.head, one.worker.standing.ready) == (NO_HEAD, False)


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "nothing", "folder", "digest", "text", "deep"])
async def test_a_kept_snapshot_that_is_damaged(room: Room, tmp_path: Path, damage: str) -> None:
    """A snapshot on disk that is not what was written there is passed over; the store's is taken as ever."""
    file = tmp_path / "snapshot.json"
    head = await room.publish(ONE)
    async with following(room.server.url, room.namespace, snapshot_file=str(file)):
        pass
    whole = file.read_text()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    elif damage == "text":
        file.write_bytes(b"\xff\xfe\xfd")
    else:
        damaged = {
            "empty": "",
            "cut": whole[: len(whole) // 2],
            "other": "[1, 2]",
            "nothing": '{"recovery": null, "endpoints": null}',
            "digest": whole.replace(head.digest, "0" * len(head.digest)),
            "deep": "[" * 100_000,
        }
        file.write_text(damaged[damage])
    async with following(NOWHERE_URL, room.namespace, snapshot_file=str(file)) as one:
        assert (one.head, one.worker.standing.ready) == (NO_HEAD, False)
    async with following(room.server.url, room.namespace, snapshot_file=str(file)) as one:
        assert one.head == head


async def test_a_disk_that_takes_nothing(room: Room, tmp_path: Path) -> None:
    """Where the snapshot cannot be kept, requests are served all the same."""
    head = await room.publish(ONE)
    blocked = tmp_path / "file"
    blocked.write_text("")
    async with following(room.server.url, room.namespace, snapshot_file=str(blocked / "snapshot.json")) as one:
        assert one.head == head


async def test_a_kept_snapshot_is_followed_on_from(own_valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A worker that started from disk takes the store's head once it is there, for it descends from what was kept."""
    file = tmp_path / "snapshot.json"
    async with at(own_valkey) as room:
        kept = await room.publish(ONE)
        async with following(own_valkey.url, room.namespace, snapshot_file=str(file)):
            pass
        head = await room.publish(TWO)
        await asyncio.to_thread(own_valkey.stop)
        async with following(own_valkey.url, room.namespace, snapshot_file=str(file)) as one:
            assert one.head == kept
            await asyncio.to_thread(own_valkey.start)
            await eventually(lambda: one.head == head)


async def test_what_runs_is_what_was_decoded(room: Room) -> None:
    """The recovery that a worker would hand back is, to the byte, what the store published."""
    head = await room.publish(TWO)
    async with following(room.server.url, room.namespace) as one:
        recovery = one.follower._running.recovery()
        assert recovery.head == head
        assert digest_of(recovery.snapshot) == head.digest
        assert {entry.digest for entry in decode_snapshot(recovery.snapshot).models.values()} == set(recovery.policies)


@pytest.mark.parametrize("which", ["access_keys", "access_revision", "access_jwks"])
async def test_damaged_keys_stop_no_policy(room: Room, which: str) -> None:
    """What cannot be read of who is let in changes nothing of that, and policies go on."""
    keys = Keys(room.namespace)
    room.raw.rpush(getattr(keys, which), "of another kind")
    if which != "access_revision":
        room.raw.set(keys.access_revision, 99)
    async with following(room.server.url, room.namespace) as one:
        head = await room.publish(ONE)
        await eventually(lambda: one.head == head)
        lease = await room.lease()
        assert (lease.epoch, lease.access) == (head.epoch, 0)


async def test_a_store_that_forgot_leases_as_well(room: Room) -> None:
    """It was put back so fast that nobody missed it: its endpoints have a whole lease period to show themselves."""
    await room.store.hold(endpoint(1001), 60)
    await room.publish(TWO)
    async with following(room.server.url, room.namespace) as one:
        await eventually(lambda: one.routed() == {1001})
        room.wipe()
        await comes_to(lambda: _holds(room, "epoch 0"))
        assert one.routed() == {1001}
        await eventually(lambda: one.routed() == set())


async def test_what_was_kept_is_later_than_the_stores(room: Room, tmp_path: Path) -> None:
    """A worker that begins at a store that forgot goes on with what it kept, and says that it holds."""
    file = tmp_path / "snapshot.json"
    await room.publish(TWO)
    old = room.raw.hgetall(room.store.keys.head)
    head = await room.publish(ONE)
    async with following(room.server.url, room.namespace, snapshot_file=str(file)):
        pass
    room.raw.hset(room.store.keys.head, mapping=old)  # type: ignore[arg-type]
    async with following(room.server.url, room.namespace, snapshot_file=str(file)) as one:
        assert one.head == head
        assert one.worker.routing.models["m"].policy == ONE
        assert await _holds(room, "does not follow")


async def test_what_was_kept_is_older_than_the_stores(room: Room, tmp_path: Path) -> None:
    """However long ago that was, even if the store remembers nothing of it: the store's is taken."""
    file = tmp_path / "snapshot.json"
    await room.publish(ONE)
    async with following(room.server.url, room.namespace, snapshot_file=str(file)):
        pass
    head = await room.publish(TWO)
    room.raw.delete(room.store.keys.lineage)
    async with following(room.server.url, room.namespace, snapshot_file=str(file)) as one:
        assert one.head == head


async def test_another_gateway_runs_a_later_epoch(room: Room) -> None:
    """A worker that has nothing of its own takes nothing from a store that forgot what another one runs."""
    await room.publish(TWO)
    lease = GatewayLease("other", "b", 1, "h", 1, epoch=7, digest="d")
    room.raw.set(room.store.keys.gateway("other"), lease.encode(), px=60_000)
    room.raw.sadd(room.store.keys.gateways, "other")
    async with following(room.server.url, room.namespace) as one:
        assert (one.head, one.worker.standing.ready) == (NO_HEAD, False)
        room.raw.delete(room.store.keys.gateway("other"))
        await eventually(lambda: one.head != NO_HEAD)
