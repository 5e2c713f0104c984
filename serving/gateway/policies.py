"""Follows the store: which policies are in force, where versions answer, who is let in.

A notification makes it look at once; a jittered poll is what correctness rests on. What changed is fetched and
validated policy by policy, with room for requests in between, then swapped in as one reference. While the store is away
the last good snapshot stays in force, endpoints included: their leases cannot be told from lapsed ones until a whole
lease period of contact has passed. A head that does not descend from what runs is held and reported, never taken.

What is asked of the store, and how that fails, is in `store`; what this worker counted is told beside it (`telling`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING

from router.codec import READER, decode_policy, decode_snapshot, digest_of
from router.epoch import NO_HEAD, Head, Snapshot, Step, step
from router.errors import RouterError
from router.request_id import Key
from serving.endpoint import Endpoint, decode_load
from serving.gateway.counters import stream_counts
from serving.gateway.credentials import Credentials
from serving.gateway.figures import braked_of, ejected_of, endings_of, figures_of
from serving.gateway.kept import Kept, keep, recall
from serving.gateway.running import Running, Seen, endpoint_in, epoch_in, sound
from serving.gateway.store import AwayError, Store, UnusableError
from serving.gateway.telling import Telling
from serving.leases import GatewayLease, Recovery, head_from, id_keys_from, remembered

if TYPE_CHECKING:
    from serving.gateway.worker import Worker

_log = logging.getLogger(__name__)
_WISH_EVERY_S = 2.0
_CANCELS_AGAIN_S = 0.1
_JITTER = 0.2
_POLICIES = "the policies"
_UNNOTICED = 2 / 3
"""Of a lease's life: so much is left of one that was due to be renewed."""


class Follower:
    """Keeps one worker's routing up to date.

    Args:
        worker: whose routing it swaps.
        host: where the worker listens, for the lease.
        port: likewise.
        grpc_port: likewise; 0 where it does not serve gRPC.
    """

    def __init__(self, worker: Worker, host: str, port: int, grpc_port: int = 0) -> None:
        config = worker.config
        self._worker = worker
        self._config = config
        self._place = (host, port, grpc_port)
        self._store = Store(config)
        self._credentials = Credentials(
            config.token_rules, config.keys_file, worker.let_in, config.own_key, config.drift_key
        )  # fmt: skip
        self._wishes_from = 0.0
        worker.admission.on_unknown_signing_key = self._wish_for_signing_keys
        self._running = Running()
        self._endpoints: dict[str, Endpoint] = {}
        self._held: str | None = None
        self._damaged: dict[str, str] = {}  # what was said of each part of a look that fails
        self._minting: tuple[int, bytes] | None = None
        self._boot = os.urandom(8).hex()
        self._telling = Telling(worker, f"{config.worker} {self._boot}", self._store.tell)
        self._in_contact_since: float | None = None
        self._read_s = 0.0
        # A store that answered nothing for so long may have let leases lapse, though nobody noticed that it was away.
        self._gap_s = max(config.lease_s * _UNNOTICED, 2 * config.poll_s)
        self._look_now = asyncio.Event()
        self._awaited: list[asyncio.Future[None]] = []
        self._kept: Kept | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Joins as the protocol says: lease, head, acknowledgement, head again, and only then may it listen.

        Without contact it starts from the snapshot on disk, and so it does where that is later than the store's: what
        was kept was published, so the store has forgotten.
        """
        self._credentials.recall()
        self._kept = recall(self._config.snapshot_file, self._config.namespace)
        await self._look()
        await self._look()
        if self._running.head == NO_HEAD:
            await self._recall()
        self._kept = None
        self._worker.pauses.watch(self._catch_up)
        going = (self._poll(), self._listen(), self._worker.meters.run(self._store.settle), self._telling.run())
        self._tasks = [asyncio.create_task(one) for one in going]

    async def stop(self) -> None:
        """Tells the last totals, and gives the lease back."""
        while going := [task for task in self._tasks if not task.done()]:  # redis-py loses a cancel while it connects
            for task in going:
                task.cancel()
            await asyncio.wait(going, timeout=_CANCELS_AGAIN_S)
        await asyncio.gather(self._telling.stop(), self._store.leave())
        await self._store.close()

    # The two ways to notice a change.

    async def _poll(self) -> None:
        while True:
            spread = 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 (spreads load, guards nothing)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.poll_s * spread):
                    await self._look_now.wait()
            self._look_now.clear()
            awaited, self._awaited = self._awaited, []
            try:
                await self._look()
            except Exception:  # noqa: BLE001 (requests go on by what runs; the next look may be better)
                _log.exception("a look at the store failed")
            for one in awaited:
                if not one.done():
                    one.set_result(None)

    async def _catch_up(self) -> None:
        """Ends with a look that has begun after this."""
        looked = self._worker.loop.create_future()
        self._awaited.append(looked)
        self._look_now.set()
        await looked

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(OSError, UnusableError):
                await self._store.listen(self._look_now.set, self._config.poll_s)
            await asyncio.sleep(self._config.poll_s)

    # One look.

    async def _look(self) -> None:
        """Reads, swaps, and says so in the lease; an unreachable store changes nothing."""
        try:
            await self._look_once()
        except (OSError, UnusableError) as error:
            if self._in_contact_since is not None:
                _log.warning(
                    "the store cannot be reached (%s): going on with epoch %d", error, self._running.head.epoch
                )
            self._in_contact_since = None

    async def _look_once(self) -> None:
        seen = await self._store.look(self._running.head.epoch)
        now = self._worker.loop.time()
        if self._in_contact_since is None:
            _log.info("in contact with the store")
        if self._in_contact_since is None or now - self._read_s > self._gap_s:
            self._in_contact_since = now
        self._read_s = now
        parts = {
            "the head": self._look_at_head, "the keys for request ids": self._look_at_id_keys,
            "the gateways": self._look_at_gateways, "who is let in": self._look_at_credentials,
            "the endpoints": self._look_at_endpoints, _POLICIES: self._look_at_policies,
        }  # fmt: skip
        for what, look in parts.items():
            await self._alone(what, look(seen))
        await self._renew_lease()

    async def _alone(self, what: str, look: Awaitable[None]) -> None:
        """One part of a look: what is damaged there must not keep a key from being taken back, or a policy."""
        try:
            await look
        except AwayError:
            raise
        except (RouterError, ValueError) as error:
            sentence = f"what the store has cannot be used: {error}"
            if what == _POLICIES:
                self._hold(sentence)
            elif self._damaged.get(what) != sentence:
                _log.error("%s: %s", what, sentence)
                self._damaged[what] = sentence
        else:
            self._damaged.pop(what, None)

    async def _look_at_head(self, seen: Seen) -> None:
        """A store that has just forgotten has forgotten leases as well: contact with it begins only now."""
        shown, running = head_from(sound(seen.head)) or NO_HEAD, self._running.head
        if self._held is None and step(running, shown, remembered(sound(seen.digest), running.digest)) is Step.HOLD:
            self._in_contact_since = self._worker.loop.time()

    async def _look_at_id_keys(self, seen: Seen) -> None:
        self._take_key(sound(seen.id_keys))

    async def _look_at_gateways(self, seen: Seen) -> None:
        self._worker.meters.shared.workers = max(1, sound(seen.gateways))

    async def _look_at_credentials(self, seen: Seen) -> None:
        if self._credentials.wants(sound(seen.access)):
            await self._take_credentials()

    async def _look_at_endpoints(self, seen: Seen) -> None:
        if self._merge(await self._fetch_endpoints(sound(seen.endpoints))):
            self._swap()

    async def _look_at_policies(self, seen: Seen) -> None:
        head = head_from(sound(seen.head)) or NO_HEAD
        if self._kept is not None and self._kept.outlives(head):
            await self._recall()
        running = self._running.head
        decision = step(running, head, remembered(sound(seen.digest), running.digest))
        if decision is Step.TAKE and running == NO_HEAD and (latest := await self._ahead_of(head)):
            self._hold(f"the store shows epoch {head.epoch}, and another gateway runs {latest}")
        elif decision is Step.TAKE:
            await self._take(head)
            self._swap()
        elif decision is Step.HOLD:
            self._hold(f"the store shows epoch {head.epoch}, which does not follow from {running.epoch}")
        else:
            self._held = None

    async def _ahead_of(self, head: Head) -> int:
        """The epoch that another gateway runs, where the store does not know of it; else 0."""
        latest = max(map(epoch_in, await self._store.gateways()), default=0)
        if latest <= head.epoch:
            return 0
        shown = head_from(await self._store.head()) or NO_HEAD  # it may have moved on
        return latest if latest > shown.epoch else 0

    async def _take(self, head: Head) -> None:
        """Fetches what is new in this head's snapshot, validates it, and makes it what runs."""
        blob = await self._store.snapshot(head.digest)
        if blob is None or digest_of(blob) != head.digest:
            raise ValueError(f"the snapshot of epoch {head.epoch} is missing or damaged")
        snapshot = decode_snapshot(blob)
        wanted = snapshot.digests
        blobs = {digest: old for digest, old in self._running.blobs.items() if digest in wanted}
        blobs.update(await self._fetch_policies(sorted(wanted - blobs.keys())))
        await self._install(head, blob, snapshot, blobs)
        _log.info("running epoch %d", head.epoch)

    async def _install(self, head: Head, blob: bytes, snapshot: Snapshot, blobs: dict[str, bytes]) -> None:
        before = self._running
        known = before.staged | {digest: before.policies[model] for model, digest in before.digests().items()}
        running = Running()
        running.head, running.snapshot, running.blobs = head, blob, blobs
        for digest in snapshot.digests - known.keys():
            known[digest] = decode_policy(blobs[digest])
            await asyncio.sleep(0)  # requests first
        running.policies = {model: known[entry.digest] for model, entry in snapshot.models.items()}
        running.staged = {digest: known[digest] for digest in snapshot.staged.values()}
        self._running = running
        self._held = None

    async def _fetch_policies(self, digests: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        async for digest, blob in self._store.policies(digests):
            if blob is None or digest_of(blob) != digest:
                raise ValueError(f"policy {digest[:12]} is missing or damaged")
            found[digest] = blob
        return found

    # Endpoints.

    async def _fetch_endpoints(self, members: Iterable[bytes]) -> dict[str, Endpoint]:
        leases = await self._store.endpoints(members)
        found = [(endpoint, lease) for lease in leases if (endpoint := endpoint_in(lease)) is not None]
        self._worker.table.note_loads({endpoint.key: decode_load(lease) for endpoint, lease in found})
        return {endpoint.key: endpoint for endpoint, _ in found}

    def _merge(self, seen: dict[str, Endpoint]) -> bool:
        """Takes what the leases say; whether that changed anything. Right after an outage none is taken away."""
        since = self._in_contact_since
        if since is None or self._worker.loop.time() - since < self._config.lease_s:
            seen = {**self._endpoints, **seen}
        changed = seen != self._endpoints
        self._endpoints = seen
        return changed

    # Who is let in, and how much they use up.

    async def _take_credentials(self) -> None:
        self._credentials.take(*await self._store.credentials())

    def _wish_for_signing_keys(self) -> None:
        """Lets the control room know that a token's signing key is missing; a flood of such tokens says so once."""
        now = self._worker.loop.time()
        if now >= self._wishes_from:
            self._wishes_from = now + _WISH_EVERY_S
            self._worker.run(self._store.wish_for_signing_keys(_WISH_EVERY_S))

    # What it tells others.

    def _swap(self) -> None:
        running, endpoints = self._running, self._endpoints.values()
        if running.head != NO_HEAD:
            self._worker.swap(self._worker.table.build(running.head, running.policies, endpoints))
            keep(self._config.snapshot_file, self._config.namespace, running.recovery(), endpoints)

    def _hold(self, sentence: str) -> None:
        if self._held != sentence:
            _log.error("held: %s", sentence)
        self._held = sentence

    async def _renew_lease(self) -> None:
        asked_s = self._worker.loop.time()
        forgotten = self._held is not None and self._running.head != NO_HEAD
        await self._store.renew(self._lease(), self._running.recovery() if forgotten else None)
        self._worker.pauses.lease_until_s = asked_s + self._config.lease_s

    def _lease(self) -> GatewayLease:
        worker, head = self._worker, self._worker.routing.head  # what is in force, not what was fetched
        host, port, grpc_port = self._place
        return GatewayLease(
            id=self._config.worker, boot=self._boot, pid=os.getpid(), host=host, http_port=port, grpc_port=grpc_port,
            epoch=head.epoch, digest=head.digest, held=self._held, workers=1,
            connections=len(worker.clients) + len(worker.grpc.lines),
            in_flight=len(worker.in_flight), requests=worker.table.totals(),
            in_flight_by=worker.table.in_flight(), copied=worker.table.copied(),
            shed=worker.table.shed(), not_captured={} if worker.capture is None else dict(worker.capture.dropped),
            figures=figures_of(worker.table.series()),
            streams=stream_counts(worker.table.series()),
            endings=endings_of(worker.table.series()),
            ejected=ejected_of(worker.table.upstreams), braked=braked_of(worker.table.states),
            notes_lost=worker.notes_lost(),
            access=self._credentials.revision, reader=READER,
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
        kept, self._kept = self._kept, None
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
