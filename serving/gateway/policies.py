"""Follows the store: which policies are in force, and where versions answer.

The one file of the gateway that speaks to Redis. A notification makes it look at once; a jittered poll is what
correctness rests on. What changed is fetched and validated policy by policy, with room for requests in between, then
swapped in as one reference. While the store is away the last good snapshot stays in force, endpoints included: their
leases cannot be told from lapsed ones until a whole lease period of contact has passed. A head that does not descend
from what runs is held and reported, never taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from router.codec import decode_policy, decode_snapshot, digest_of
from router.epoch import NO_HEAD, Head, Snapshot, Step, step
from router.errors import RouterError
from router.policy import Policy
from router.request_id import Key
from serving.endpoint import Endpoint
from serving.endpoint import decode as decode_endpoint
from serving.gateway.kept import keep, recall
from serving.leases import GatewayLease, Keys, Recovery, head_from, id_keys_from, remembered

if TYPE_CHECKING:
    from serving.gateway.worker import Worker

_log = logging.getLogger(__name__)
_TIMEOUT_S = 2.0
_CANCELS_AGAIN_S = 0.1
_FETCH_AT_ONCE = 100
_JITTER = 0.2


class Running:
    """What this worker runs: a head, the snapshot it names, and the policies that names, blobs kept."""

    def __init__(self) -> None:
        self.head: Head = NO_HEAD
        self.snapshot = b""
        self.policies: dict[str, Policy] = {}
        """By model."""
        self.blobs: dict[str, bytes] = {}
        """By digest."""

    def recovery(self) -> Recovery:
        """All of it, for the disk and for a store that has forgotten."""
        return Recovery(self.head, self.snapshot, self.blobs)


class Follower:
    """Keeps one worker's routing up to date.

    Args:
        worker: whose routing it swaps.
        host: where the worker listens, for the lease.
        port: likewise.
    """

    def __init__(self, worker: Worker, host: str, port: int) -> None:
        config = worker.config
        self._worker = worker
        self._config = config
        self._place = (host, port)
        self._keys = Keys(config.namespace)
        self._redis = redis.Redis.from_url(
            config.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, health_check_interval=15,
            retry=Retry(NoBackoff(), 1),  # a broken connection is tried anew at once; the next poll is the patience
        )  # fmt: skip
        self._running = Running()
        self._endpoints: dict[str, Endpoint] = {}
        self._held: str | None = None
        self._minting: tuple[int, bytes] | None = None
        self._boot = os.urandom(8).hex()
        self._in_contact_since: float | None = None
        self._look_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Joins as the protocol says: lease, head, acknowledgement, head again, and only then may it listen.

        Without contact it starts from the snapshot on disk.
        """
        await self._look()
        await self._look()
        if self._running.head == NO_HEAD:
            await self._recall()
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        """Gives the lease back."""
        while going := [task for task in self._tasks if not task.done()]:  # redis-py loses a cancel while it connects
            for task in going:
                task.cancel()
            await asyncio.wait(going, timeout=_CANCELS_AGAIN_S)
        with contextlib.suppress(RedisError, OSError):
            await self._await(self._redis.delete(self._keys.gateway(self._config.worker)))
        await self._redis.aclose()

    # The two ways to notice a change.

    async def _poll(self) -> None:
        while True:
            spread = 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 (spreads load, guards nothing)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.poll_s * spread):
                    await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._look()
            except Exception:  # noqa: BLE001 (requests go on by what runs; the next look may be better)
                _log.exception("a look at the store failed")

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self._keys.epochs, self._keys.endpoint_changes)
                    self._look_now.set()  # what was said before this is not heard again
                    while True:
                        if await channel.get_message(timeout=self._config.poll_s):
                            self._look_now.set()
            except (RedisError, OSError):
                await asyncio.sleep(self._config.poll_s)

    # One look.

    async def _look(self) -> None:
        """Reads, swaps, and says so in the lease; an unreachable store changes nothing."""
        try:
            await self._look_once()
        except (RedisError, OSError) as error:
            if self._in_contact_since is not None:
                _log.warning(
                    "the store cannot be reached (%s): going on with epoch %d", error, self._running.head.epoch
                )
            self._in_contact_since = None
        except (RouterError, ValueError) as error:
            self._hold(f"what the store has cannot be used: {error}")
            with contextlib.suppress(RedisError, OSError):
                await self._renew_lease()

    async def _look_once(self) -> None:
        shown, digest_there, members, keys = await self._read()
        if self._in_contact_since is None:
            self._in_contact_since = self._worker.loop.time()
            _log.info("in contact with the store")
        self._take_key(keys)
        if self._merge(await self._fetch_endpoints(members)):
            self._swap()
        decision = step(self._running.head, shown, remembered(digest_there, self._running.head.digest))
        if decision is Step.TAKE:
            await self._take(shown)
            self._swap()
        elif decision is Step.HOLD:
            self._hold(f"the store shows epoch {shown.epoch}, which does not follow from {self._running.head.epoch}")
        else:
            self._held = None
        await self._renew_lease()

    async def _read(self) -> tuple[Head, bytes | None, set[bytes], Mapping[bytes, bytes]]:
        keys = self._keys
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.head)
            pipe.hget(keys.lineage, str(self._running.head.epoch))
            pipe.smembers(keys.endpoints)
            pipe.hgetall(keys.id_keys)
            head, digest, members, id_keys = await pipe.execute()
        return head_from(head) or NO_HEAD, digest, members, id_keys

    async def _take(self, head: Head) -> None:
        """Fetches what is new in this head's snapshot, validates it, and makes it what runs."""
        blob = await self._await(self._redis.get(self._keys.snapshot(head.digest)))
        if blob is None or digest_of(blob) != head.digest:
            raise ValueError(f"the snapshot of epoch {head.epoch} is missing or damaged")
        snapshot = decode_snapshot(blob)
        wanted = {entry.digest for entry in snapshot.models.values()}
        blobs = {digest: old for digest, old in self._running.blobs.items() if digest in wanted}
        blobs.update(await self._fetch_policies(sorted(wanted - blobs.keys())))
        await self._install(head, blob, snapshot, blobs)
        _log.info("running epoch %d", head.epoch)

    async def _install(self, head: Head, blob: bytes, snapshot: Snapshot, blobs: dict[str, bytes]) -> None:
        known = {digest: self._running.policies[model] for model, digest in self._running_digests().items()}
        running = Running()
        running.head, running.snapshot, running.blobs = head, blob, blobs
        for model, entry in snapshot.models.items():
            policy = known.get(entry.digest)
            if policy is None:
                policy = known[entry.digest] = decode_policy(blobs[entry.digest])
                await asyncio.sleep(0)  # requests first
            running.policies[model] = policy
        self._running = running
        self._held = None

    def _running_digests(self) -> dict[str, str]:
        if not self._running.snapshot:
            return {}
        return {model: entry.digest for model, entry in decode_snapshot(self._running.snapshot).models.items()}

    async def _fetch_policies(self, digests: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(digests), _FETCH_AT_ONCE):
            some = digests[start : start + _FETCH_AT_ONCE]
            blobs = await self._await(self._redis.mget([self._keys.policy(digest) for digest in some]))
            for digest, blob in zip(some, blobs, strict=True):
                if blob is None or digest_of(blob) != digest:
                    raise ValueError(f"policy {digest[:12]} is missing or damaged")
                found[digest] = blob
        return found

    # Endpoints.

    async def _fetch_endpoints(self, members: Iterable[bytes]) -> dict[str, Endpoint]:
        keys = sorted(members)
        values = await self._await(self._redis.mget(keys)) if keys else []
        found = [_endpoint_in(value) for value in values if value is not None]
        return {endpoint.key: endpoint for endpoint in found if endpoint is not None}

    def _merge(self, seen: dict[str, Endpoint]) -> bool:
        """Takes what the leases say; whether that changed anything. Right after an outage none is taken away."""
        since = self._in_contact_since
        if since is None or self._worker.loop.time() - since < self._config.lease_s:
            seen = {**self._endpoints, **seen}
        changed = seen != self._endpoints
        self._endpoints = seen
        return changed

    # What it tells others.

    def _swap(self) -> None:
        running, endpoints = self._running, self._endpoints.values()
        if running.head != NO_HEAD:
            self._worker.swap(self._worker.table.build(running.head, running.policies, endpoints))
            keep(self._config.snapshot_file, running.recovery(), endpoints)

    def _hold(self, sentence: str) -> None:
        if self._held != sentence:
            _log.error("held: %s", sentence)
        self._held = sentence

    async def _renew_lease(self) -> None:
        keys, config = self._keys, self._config
        ttl_ms = int(config.lease_s * 1000)
        lease = self._lease()
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(keys.gateway(lease.id), lease.encode(), px=ttl_ms)
            pipe.sadd(keys.gateways, lease.id)
            if self._held is not None and self._running.head != NO_HEAD:
                recovery = self._running.recovery()
                pipe.set(keys.recovery(recovery.head.digest), recovery.encode(), px=ttl_ms * 10)
            await pipe.execute()

    def _lease(self) -> GatewayLease:
        worker, head = self._worker, self._worker.routing.head  # what is in force, not what was fetched
        host, port = self._place
        return GatewayLease(
            id=self._config.worker, boot=self._boot, pid=os.getpid(), host=host, http_port=port, epoch=head.epoch,
            digest=head.digest, held=self._held, workers=1, connections=len(worker.clients),
            in_flight=len(worker.in_flight), requests=worker.table.totals(),
            in_flight_by=worker.table.in_flight(),
        )  # fmt: skip

    def _take_key(self, said: Mapping[bytes, bytes]) -> None:
        try:
            keys = id_keys_from(said)
            if keys is None or keys.current not in keys.secrets:
                return
            minting = (keys.current, keys.secrets[keys.current])
            if minting != self._minting:
                self._worker.key = Key(*minting)
                self._minting = minting
        except ValueError as error:  # the key that mints now is a good one, and policies must go on
            _log.warning("the store's keys for request ids cannot be used: %s", error)

    async def _recall(self) -> None:
        """Starts from the snapshot that was kept, where there is one."""
        kept = recall(self._config.snapshot_file)
        if kept is None:
            return
        try:
            await self._install_kept(kept.recovery)
        except (ValueError, KeyError) as error:
            _log.warning("the kept snapshot cannot be used: %s", error)
            return
        self._endpoints = {**{endpoint.key: endpoint for endpoint in kept.endpoints}, **self._endpoints}
        self._swap()
        _log.warning("started from the kept snapshot of epoch %d", kept.recovery.head.epoch)

    async def _install_kept(self, kept: Recovery) -> None:
        blobs = dict(kept.policies)
        if digest_of(kept.snapshot) != kept.head.digest or any(digest_of(blob) != name for name, blob in blobs.items()):
            raise ValueError("its bytes do not match their digests")
        await self._install(kept.head, kept.snapshot, decode_snapshot(kept.snapshot), blobs)

    @staticmethod
    async def _await(answer: Awaitable[Any] | Any) -> Any:  # noqa: ANN401 (redis-py types each command as both)
        return await cast("Awaitable[Any]", answer)


def _endpoint_in(value: bytes) -> Endpoint | None:
    """The endpoint in a lease. One that nobody can read must not hide all the others, nor hold up a policy."""
    try:
        return decode_endpoint(value)
    except (ValueError, RecursionError) as error:
        _log.warning("an endpoint's lease cannot be used: %s", error)
        return None
