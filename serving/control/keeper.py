"""Keeps the pools as they are to be: looks at what there is, asks `reconciler` what to do about it, and does it.

Everything is read anew each time, from the store and from Serve, so a keeper that was killed in the middle of anything
is simply followed by another one. Pools are drained beside all else, for that takes as long as requests take. A pool
that cannot be started is tried again, with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from router.epoch import NO_HEAD
from serving.control import pool_views
from serving.control.attempts import Attempt, Attempts
from serving.control.ports import Pools, PoolStore
from serving.control.publishing import State
from serving.control.reconciler import DELETING, DEPLOY_FAILED, Actions, Seen, reconcile
from serving.control.refusals import sentence_of
from serving.control.scaling import Sample, kept, loads, replicas
from serving.control.service import ControlService, routed_in
from serving.control.tasks import end
from serving.control.views import PoolView
from serving.control.wishes import ModelVersion, Touched, Wish, desired, measured
from serving.endpoint import Crash, Endpoint, Load
from serving.leases import GatewayLease
from serving.pools import PoolKey, PoolSpec, PoolState

_log = logging.getLogger(__name__)

_TOUCH_S = 5.0
_FIGURES_TAKE: Final = 0.1
"""Of the time, reading what gateways say for people may take so much."""
LONGEST_WITHOUT_FIGURES_S: Final = 5.0
"""And is done at least so often all the same."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What the store holds, as far as pools are concerned, read at one moment."""

    state: State
    routed: frozenset[ModelVersion]
    wishes: Sequence[Wish]
    touched: Touched
    gateways: Sequence[GatewayLease]
    gateways_at_s: float
    endpoints: Sequence[tuple[Endpoint, Load]]
    states: Mapping[PoolKey, PoolState] = field(default_factory=dict)

    @property
    def ready(self) -> dict[ModelVersion, int]:
        """How many endpoints each version has."""
        counts: dict[ModelVersion, int] = {}
        for endpoint, _ in self.endpoints:
            key = endpoint.model, endpoint.version
            counts[key] = counts.get(key, 0) + 1
        return counts


class PoolKeeper:
    """Keeps the pools of one installation. `keep` and `look` are called again and again.

    Args:
        service: is told what there is, for the status.
        store: where wishes, leases and times are kept.
        pools: where pools run.
        declared: the pools that the settings declare.
        boot: names this start of the whole installation, whose first control room wakes what the settings declare;
            empty for none.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        service: ControlService,
        store: PoolStore,
        pools: Pools,
        declared: Sequence[PoolSpec],
        *,
        boot: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._store = store
        self._pools = pools
        self._declared = tuple(declared)
        self._boot = boot
        self._clock = clock
        self._samples: dict[ModelVersion, tuple[Sample, ...]] = {}
        self._attempts = Attempts()
        self._wished: Mapping[ModelVersion, Wish] = {}
        self._removing: dict[PoolKey, asyncio.Task[None]] = {}
        self._routed_by: dict[str, frozenset[int]] = {}
        self._touched_at: float | None = None
        self._actions = Actions()
        self._desired: Mapping[ModelVersion, PoolSpec] = {}
        self._figures_from_s = -math.inf

    async def keep(self, *, sure: bool = True) -> None:
        """Brings what there is nearer to what is wanted; harmless where nothing has to be done.

        Args:
            sure: whether the store is known not to have forgotten anything; else nothing is taken away.

        Raises:
            SluiceError: a pool cannot be started; the others were.
        """
        await self._begin()
        read = await self._read()
        await self._touch(read)
        self._measure(read)
        self._desired = desired(self._declared, read.wishes)
        self._service.traffic.measured = measured(self._desired)
        self._wished = {wish.key: wish for wish in read.wishes}
        self._forget(read)
        self._tell_going(read.states)
        actions = reconcile(self._seen(read, sure=sure and _knows(read)))
        self._tell_asleep(actions)
        self._actions = actions
        self._service.asleep = actions.asleep
        if actions.remove:
            async with self._service.routing:
                # A policy that came meanwhile may route to what is about to go: then the next look decides.
                if (await self._store.state()).head == read.state.head:
                    self._remove(actions.remove)
                    self._tell_going(read.states)
        await self._deploy(actions.deploy)
        await self._hear_figures(read.gateways)

    async def look(self) -> None:
        """What there is, for the status."""
        states = await self._pools.states()
        known = sorted({key[:2] for key in states} | set(self._desired))
        crashes = await self._store.crashes_of(known) if known else {}
        now_ms = await self._store.now_ms() if known else 0
        views = [
            pool_views.there(state, crashes.get(key[:2], ()), now_ms, stray=key in self._actions.strays)
            for key, state in states.items()
        ]
        there = {view.digest: view for view in views}
        for key, spec in self._desired.items():
            if spec.digest not in there:
                views += self._absent(key, spec, crashes.get(key, ()), now_ms)
        self._service.pools = tuple(sorted(views, key=lambda view: (view.model, view.version, view.digest)))

    async def close(self) -> None:
        """Leaves what is being drained to Serve."""
        await end(list(self._removing.values()))

    # What is known.

    async def _begin(self) -> None:
        """Whoever starts the installation wants what its settings declare, whatever was asleep before."""
        if self._boot and await self._store.first_of(self._boot):
            await self._store.touch(spec.key for spec in self._declared)
        self._boot = ""

    async def _read(self) -> _Read:
        states = await self._pools.states()
        state = await self._store.state()
        routed = {(model, version) for model in state.snapshot.models for version in await self._routed(state, model)}
        at_s = self._clock()
        gateways = await self._store.gateways()
        return _Read(
            state,
            frozenset(routed) | self._service.traffic.kept,
            await self._store.wishes(),
            await self._store.touched(),
            gateways,
            at_s,
            await self._store.endpoint_loads(),
            {key: replace(one, state=DELETING) if key in self._removing else one for key, one in states.items()},
        )

    async def _hear_figures(self, gateways: Sequence[GatewayLease]) -> None:
        """What gateways say for people, once all else is done: of many gateways and versions it takes long to read."""
        began = self._clock()
        if began < self._figures_from_s:
            return
        figured = await self._store.with_figures(gateways)
        took_s = self._clock() - began
        self._figures_from_s = began + min(took_s / _FIGURES_TAKE, LONGEST_WITHOUT_FIGURES_S)
        self._service.rates = self._service.rates.with_figures(figured, began)

    async def _routed(self, state: State, model: str) -> frozenset[int]:
        """The versions that the model's policy gives traffic to; policies never change, so each is read once."""
        digest = state.snapshot.models[model].digest
        if digest not in self._routed_by:
            self._routed_by[digest] = frozenset(routed_in(await self._store.policy(digest)))
            current = {entry.digest for entry in state.snapshot.models.values()}
            self._routed_by = {one: versions for one, versions in self._routed_by.items() if one in current}
        return self._routed_by[digest]

    def _seen(self, read: _Read, *, sure: bool) -> Seen:
        now = self._clock()
        return Seen(
            self._desired,
            read.states,
            read.ready,
            read.routed,
            frozenset(wish.key for wish in read.wishes if wish.operation),
            read.touched,
            {key: self._replicas(spec, read, now) for key, spec in self._desired.items()},
            frozenset(key for key in read.states if self._may_retry(key, read.states[key], now)),
            sure,
        )

    def _replicas(self, spec: PoolSpec, read: _Read, now: float) -> int:
        """How many it is to have. One that takes another's place begins with as many as that has."""
        here = read.states.get(spec.key_with_digest)
        others = [one.replicas_wanted for key, one in read.states.items() if key[:2] == spec.key]
        current = here.replicas_wanted if here else max(others, default=0)
        if spec.options.max_replicas is None:
            return spec.options.replicas
        said = [one.capacity for one, _ in read.endpoints if (one.model, one.version) == spec.key]
        # What a rollout may have to go back to keeps the replicas that it has: going back must find them there.
        floor = current if spec.key in self._service.traffic.floored else 0
        capacity = min(said) if said else None
        return replicas(spec.options, current, self._samples.get(spec.key, ()), now, floor=floor, capacity=capacity)

    def _measure(self, read: _Read) -> None:
        now = read.gateways_at_s
        self._service.rates = self._service.rates.with_totals(read.gateways, now)
        busy = loads(read.gateways, read.endpoints)
        for key, spec in desired(self._declared, read.wishes).items():
            if spec.options.max_replicas is not None:
                self._samples[key] = kept((*self._samples.get(key, ()), Sample(now, busy.get(key, 0))), now)

    async def _touch(self, read: _Read) -> None:
        """Writes down that what is routed to is needed, and that what was never seen was seen."""
        known = desired(self._declared, read.wishes)
        new = known.keys() - read.touched.at_ms.keys()
        now = self._clock()
        due = self._touched_at is None or now - self._touched_at >= _TOUCH_S
        if new or due:
            await self._store.touch(sorted(new | (read.routed & known.keys())))
            self._touched_at = now
        if gone := sorted(read.touched.at_ms.keys() - known.keys() - read.routed):
            await self._store.forget_touched(gone)

    def _forget(self, read: _Read) -> None:
        """What is kept in memory of versions and pools that nobody wants any more."""
        wanted = {spec.key_with_digest for spec in self._desired.values()}
        self._samples = {key: samples for key, samples in self._samples.items() if key in self._desired}

        def is_over(key: PoolKey, tried: Attempt) -> bool:
            state = read.states.get(key)
            stale = self._is_held(key) and tried.wish != self._revision(key)
            return stale or key not in wanted or (state is not None and state.replicas_running > 0)

        self._attempts.forget(is_over)
        self._service.refused = self._attempts.words()

    def _is_held(self, key: PoolKey) -> bool:
        """Whether an operation is bringing the version about."""
        wish = self._wished.get(key[:2])
        return wish is not None and bool(wish.operation)

    def _revision(self, key: PoolKey) -> int:
        wish = self._wished.get(key[:2])
        return 0 if wish is None else wish.revision

    # What is done.

    async def _deploy(self, wanted: Sequence[tuple[PoolSpec, int]]) -> None:
        now = self._clock()
        due = [one for one in wanted if self._attempts.may_start(one[0].key_with_digest, now)]
        if not due:
            return
        try:
            await self._pools.deploy(due)
        except Exception as error:
            if len(due) == 1:
                self._failed(due[0][0].key_with_digest, sentence_of(error))
                raise
            await self._deploy_each(due)
            return
        for spec, count in due:
            _log.info("the pool of %s (%s) is to have %d replicas", spec, spec.digest, count)

    async def _deploy_each(self, wanted: Sequence[tuple[PoolSpec, int]]) -> None:
        """One that cannot be started must not keep the others from it."""
        failed: Exception | None = None
        for one in wanted:
            try:
                await self._deploy([one])
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are started first
                failed = failed or error
        if failed is not None:
            raise failed

    def _remove(self, gone: Mapping[PoolKey, str]) -> None:
        for key, why in gone.items():
            if key in self._removing:
                continue
            _log.info("the pool of %s version %d (%s) is taken away: %s", *key, why)
            task = asyncio.create_task(self._pools.remove([key]), name=f"removal of {key}")
            self._removing[key] = task
            task.add_done_callback(lambda done, key=key: self._removed(key, done))  # type: ignore[misc]

    def _removed(self, key: PoolKey, done: asyncio.Task[None]) -> None:
        self._removing.pop(key, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error(
                "the pool of %s version %d (%s) could not be taken away, it is tried again", *key, exc_info=error
            )

    def _may_retry(self, key: PoolKey, state: PoolState, now: float) -> bool:
        """Whether a pool that has failed is due to be started anew; one that has just failed waits.

        Where an operation is bringing it about, that alone decides what a failure means.
        """
        if state.state != DEPLOY_FAILED or state.replicas_running or self._is_held(key):
            return False
        is_due = self._attempts.retried(key, state.message, self._revision(key), now)
        self._service.refused = self._attempts.words()
        return is_due

    def _failed(self, key: PoolKey, words: str) -> None:
        self._attempts.failed(key, words, self._revision(key), self._clock())
        self._service.refused = self._attempts.words()

    def _absent(self, key: ModelVersion, spec: PoolSpec, crashes: Sequence[Crash], now_ms: int) -> list[PoolView]:
        """The view of a pool that is wanted and is not there: it sleeps, or could not be started."""
        if key in self._actions.asleep:
            return [pool_views.asleep(spec)]
        tried = self._attempts.of(spec.key_with_digest)
        if tried is None or not tried.words:
            return []
        wait_s = max(0.0, tried.again_at_s - self._clock())
        return [pool_views.refused(spec, tried, crashes, now_ms, wait_s)]

    def _tell_going(self, states: Mapping[PoolKey, PoolState]) -> None:
        """Which versions are left without servers by what is being drained now."""
        going = {key for key, state in states.items() if key in self._removing or state.state == DELETING}
        stay = {key[:2] for key in states.keys() - going}
        self._service.going = frozenset(key[:2] for key in going) - stay

    def _tell_asleep(self, actions: Actions) -> None:
        for key in sorted(actions.asleep - self._actions.asleep):
            _log.info("%s version %d sleeps", *key)
        for key in sorted(self._actions.asleep - actions.asleep):
            _log.info("%s version %d is awake", *key)


def _knows(read: _Read) -> bool:
    """Whether the store holds what the gateways run: if not, it has forgotten, and maybe wishes too."""
    if any(lease.held for lease in read.gateways):
        return False
    return read.state.head != NO_HEAD or not any(lease.epoch for lease in read.gateways)
