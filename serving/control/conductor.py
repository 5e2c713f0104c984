"""The loops of the control room: they keep the store true to the settings and to what the gateways run.

Each duty has a loop of its own, so that a slow one (a pool takes minutes to start) never delays another (a lease
lapses within seconds). A duty that fails is told once and tried again; none ends the loop. Serve is reached through a
port, so that nothing here knows of Ray. What a recovery consists of is `serving.control.recovery`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from router.codec import encode_policy, encode_snapshot
from router.epoch import NO_HEAD, Head
from router.policy import Policy
from serving.control.errors import StoreDamaged, StoreUnavailable
from serving.control.keeper import PoolKeeper
from serving.control.ports import Pools, PoolStore
from serving.control.publishing import NOTHING, Answer, Publication, State
from serving.control.recovery import Plan, plan, publication
from serving.control.rolling.kept import Look
from serving.control.service import ControlService
from serving.control.statics import Probe, StaticKeeper, static_endpoints
from serving.control.tasks import end
from serving.control.telling import Telling
from serving.leases import Recovery
from serving.pools import PoolSpec
from serving.settings import ModelSettings

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_RENEWALS_PER_LEASE = 3

Duty = Callable[[], Awaitable[object]]
"""What a loop does once a tick; what it returns is nobody's business."""


class Recoverable(PoolStore, Protocol):
    """What a recovery needs of the store beside the rest."""

    async def head(self) -> Head:
        """The current head."""

    async def policies(self, digests: Collection[str]) -> Mapping[str, Policy]:
        """Those of these policies that can be read, by digest."""

    async def lineage(self, epochs: Iterable[int]) -> Mapping[int, str]:
        """What is remembered of these epochs."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def recovery(self, digest: str) -> Recovery | None:
        """What a gateway that runs this digest handed back."""

    async def swap(self, publication: Publication) -> Answer:
        """Writes all of it, or nothing."""


class Runs(Protocol):
    """A loop of somebody else's that belongs to the control room (`serving.control.operations`)."""

    async def run(self) -> None:
        """Until it is cancelled."""


class Conductor:
    """The control room's loops. `run` it; the duties are public so that a test may take one step at a time.

    Args:
        service: publishes first policies, and shows the pools' states.
        store: where everything is kept.
        pools: where pools run (Ray Serve).
        models: what the settings declare.
        probe: whether a static endpoint answers (`serving.control.probe`).
        operations: the loop of long work; None for none.
        duties: what else is done once a tick, with what the log calls it.
        boot: names this start of the whole installation; see `PoolKeeper`.
        lease_s: how long a lease lives.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        service: ControlService,
        store: Recoverable,
        pools: Pools,
        models: Sequence[ModelSettings],
        *,
        probe: Probe,
        operations: Runs | None = None,
        duties: Sequence[tuple[str, Duty]] = (),
        boot: str = "",
        lease_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._store = store
        self._keeper = PoolKeeper(service, store, pools, declared_pools(models), boot=boot, clock=clock)
        self._tick_s = min(_TICK_S, lease_s / _RENEWALS_PER_LEASE)
        self._static = StaticKeeper(store, static_endpoints(models), probe, lease_s=lease_s, look_s=self._tick_s)
        self._operations = operations
        self._duties = tuple(duties)
        self._models = models
        self._lease_s = lease_s
        self._clock = clock
        self._in_contact_since: float | None = None
        self._has_head = False
        self._has_begun = False
        self._settled = False
        self._telling = Telling(_log)

    async def run(self) -> None:
        """All duties, until cancelled."""
        duties: list[tuple[str, Duty]] = [
            ("keeping policies and keys", self.settle),
            ("renewing static endpoints", self.renew_static),
            ("keeping the pools", self.keep_pools),
            ("looking at the pools", self.look_at_pools),
            *self._duties,
        ]
        if self._operations is not None:
            duties.append(("doing long work", self._operations.run))
        loops = [asyncio.create_task(self._forever(name, duty), name=name) for name, duty in duties]
        try:
            await asyncio.gather(*loops)
        finally:
            await end(loops)
            await self._static.close()
            await self._keeper.close()

    async def settle(self) -> None:
        """Keys for request ids, first policies, and a recovery where one is called for."""
        try:
            await self._settle()
        except StoreUnavailable as error:
            if not isinstance(error, StoreDamaged):
                self._in_contact_since = None
                self._settled = False
            raise

    async def renew_static(self) -> None:
        """Leases for the endpoints that somebody else runs, while they answer; those that do not, lapse."""
        try:
            await self._static.renew()
        finally:
            self._service.silent = self._static.silent

    async def keep_pools(self) -> None:
        """Starts, scales, replaces and takes away what is not as it is to be."""
        await self._keeper.keep(sure=self._settled)

    async def look_at_pools(self) -> None:
        """Their states and crashes, for the status."""
        await self._keeper.look()

    async def _settle(self) -> None:
        await self._store.ensure_keys()
        shown = await self._store.head()
        now = self._clock()
        vanished = self._has_head and shown == NO_HEAD
        if self._in_contact_since is None or vanished:
            self._in_contact_since = now
        # Leases that could not be renewed during an outage, or that went with the head, say nothing about their
        # owners until all had time to.
        settled = self._settled = now - self._in_contact_since >= self._lease_s
        self._has_head = shown != NO_HEAD
        self._has_begun = self._has_begun or self._has_head
        called_for = await self._plan(shown)
        if called_for is not None:
            if settled:
                await self._recover(called_for)
            return
        if shown != NO_HEAD or await self._may_begin(settled=settled):
            await self._ensure_policies()

    async def _may_begin(self, *, settled: bool) -> bool:
        """Whether a store without a head is a beginning, and not one that forgot."""
        if self._has_begun and not settled:
            return False
        return not any(lease.epoch for lease in await self._store.gateways())

    async def _ensure_policies(self) -> None:
        for model in self._models:
            made = await self._service.ensure_policy(model.name, model.shares, model.stable_version, model.unit_header)
            if made is not None:
                _log.info("the first policy of %s is epoch %d", model.name, made.answer.head.epoch)

    async def _plan(self, shown: Head) -> Plan | None:
        alive = await self._store.gateways()
        if not any(lease.held for lease in alive):
            return None
        return plan(shown, alive, await self._store.lineage(lease.epoch for lease in alive))

    async def _recover(self, called_for: Plan) -> None:
        shown = await self._shown(called_for.shown)
        kept = await self._store.recovery(called_for.winner[1])
        if kept is None:
            kept = await self._from_store(called_for, shown)
        if kept is None:
            raise StoreDamaged(f"{called_for.why} But no gateway has handed it back yet.")
        others = await self._store.policies(shown.snapshot.digests - kept.policies.keys())
        look = await self._store.look()
        answer = await self._store.swap(publication(called_for, shown, kept, look, others.values()))
        if answer.done:
            _log.warning("%s", called_for.why)

    async def _shown(self, head: Head) -> State:
        """What the store shows, as far as it still has it."""
        try:
            state = await self._store.state()
        except StoreDamaged:
            return State(head, NOTHING.snapshot)
        return state if state.head == head else State(head, NOTHING.snapshot)

    async def _from_store(self, called_for: Plan, shown: State) -> Recovery | None:
        """The winner's blobs where it is what the store shows: gateways that follow it have handed nothing back."""
        if called_for.winner != called_for.shown[:2] or not shown.snapshot.models:
            return None
        # Encoding is canonical, so these are the very bytes that the digests name.
        policies = {
            entry.digest: encode_policy(await self._store.policy(entry.digest))
            for entry in shown.snapshot.models.values()
        }
        return Recovery(called_for.shown, encode_snapshot(shown.snapshot), policies)

    async def _forever(self, name: str, duty: Duty) -> None:
        while True:
            began = self._clock()
            try:
                await duty()
            except Exception as error:  # noqa: BLE001 - a duty that failed is tried again; the loop outlives everything
                self._telling.tell(name, error)
            else:
                self._telling.tell(name, None)
            await asyncio.sleep(max(0.0, self._tick_s - (self._clock() - began)))


def declared_pools(models: Iterable[ModelSettings]) -> list[PoolSpec]:
    """The pools that the settings declare."""
    return [
        PoolSpec(model.name, one.version, one.options, path=str(one.path))
        for model in models
        for one in model.versions
        if one.path
    ]
