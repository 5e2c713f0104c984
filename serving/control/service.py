"""What the control API and the conductor do, without HTTP and without Ray: read, decide, publish, wait, explain.

A policy is never edited in place: the next one is computed from the one that runs (`next_policy`), so that units keep
their version wherever the new shares allow it, and is then published against the revision that it was computed from
(`serving.control.traffic`).

How a store swaps a head is `serving.control.store`; when things are looked at is `serving.control.conductor`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from router.epoch import NO_HEAD
from serving.control.acknowledging import LONGEST_WAIT_S, acknowledged, acknowledges, until_acknowledged
from serving.control.errors import Conflict, StoreUnavailable, Unknown
from serving.control.explaining import decoded, explained
from serving.control.ports import Leases, Policies, Records, Routable, Store, all_routable
from serving.control.publishing import Published, State
from serving.control.rates import Rates
from serving.control.rolling.ledger import Ledger
from serving.control.rolling.spreads import NO_SPREAD, Spread
from serving.control.succession import next_policy
from serving.control.traffic import Traffic, routed_in
from serving.control.views import (
    Acknowledged,
    Changed,
    Current,
    Decoded,
    Explained,
    ModelView,
    PoolView,
    Status,
    VersionView,
    Wanted,
)
from serving.control.wishes import ModelVersion, Wish
from serving.endpoint import Endpoint
from serving.pools import PoolKey
from serving.settings import ModelSettings

__all__ = [
    "LONGEST_WAIT_S",
    "Acknowledged",
    "Changed",
    "ControlService",
    "Current",
    "Decoded",
    "Explained",
    "Leases",
    "ModelView",
    "Policies",
    "PoolView",
    "Records",
    "Routable",
    "Status",
    "Store",
    "VersionView",
    "Wanted",
    "acknowledged",
    "acknowledges",
    "declared_in",
    "next_policy",
    "routed_in",
]


class ControlService:
    """The control room's doings on one store.

    Args:
        store: where everything is kept.
        declared: by model and version, who starts its endpoints (`pool` or `static`); see `declared_in`.
        routable: which versions must not get traffic.
        ledger_folder: where the ledger's archive is; None for none.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: Store,
        declared: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
        *,
        routable: Routable = all_routable,
        ledger_folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._declared = declared
        self._clock = clock
        self.traffic = Traffic(store, declared, routable)
        self.history = Ledger(store, ledger_folder)
        # As the conductor last saw them.
        self.pools: tuple[PoolView, ...] = ()
        # Why pools could not be started, by pool and by the revision of the wish that they were to fulfil.
        self.refused: Mapping[tuple[PoolKey, int], str] = {}
        self.silent: tuple[Endpoint, ...] = ()
        # How long policies that were set by hand took to reach every gateway, where somebody waited for that.
        self.propagated: Spread = NO_SPREAD
        # What an operator should know of how this is set up (`serving.openings`).
        self.notices: tuple[str, ...] = ()

    # What the keeper and the registry tell of traffic.

    @property
    def routable(self) -> Routable:
        """Which versions must not get traffic."""
        return self.traffic.routable

    @routable.setter
    def routable(self, routable: Routable) -> None:
        self.traffic.routable = routable

    @property
    def asleep(self) -> frozenset[ModelVersion]:
        """Versions whose servers were taken away because nothing routed to them."""
        return self.traffic.asleep

    @asleep.setter
    def asleep(self, versions: frozenset[ModelVersion]) -> None:
        self.traffic.asleep = versions

    @property
    def going(self) -> frozenset[ModelVersion]:
        """Versions whose servers are being drained."""
        return self.traffic.going

    @going.setter
    def going(self, versions: frozenset[ModelVersion]) -> None:
        self.traffic.going = versions

    @property
    def routing(self) -> asyncio.Lock:
        """Under it alone both `going` and policies change."""
        return self.traffic.routing

    @property
    def rates(self) -> Rates:
        """How many requests each model gets."""
        return self.traffic.rates

    @rates.setter
    def rates(self, rates: Rates) -> None:
        self.traffic.rates = rates

    async def wishes(self) -> Sequence[Wish]:
        """What operators want to run beside what the settings declare."""
        return await self._store.wishes()

    def source_of(self, model: str, version: int) -> str | None:
        """Who starts the endpoints of a version that the settings declare: `pool` or `static`; None of another one."""
        return self._declared.get(model, {}).get(version)

    async def current(self, model: str) -> Current:
        """What the model runs.

        Raises:
            Unknown: there is no such model, or it has no policy yet.
        """
        state = await self._store.state()
        found = await self.traffic.current_in(state, model)
        if found is None:
            await self.traffic.refuse_unknown_model(state, model)
            raise Unknown(f"The model {model} has no policy yet.", 'Send its first one with If-Match: "0".')
        return found

    async def set_policy(
        self,
        model: str,
        wanted: Wanted,
        expected: int | None,
        *,
        who: str,
        why: str = "",
        wait_s: float = 2.0,
        force: bool = False,
    ) -> Changed:
        """Publishes what is wanted, and waits until the gateways run it.

        Args:
            model: whose policy.
            wanted: what is asked for.
            expected: the revision that the caller knows, 0 for "no policy yet", None for "whatever it is".
            who: for the ledger.
            why: for the ledger.
            wait_s: how long to wait for the gateways; the change stands in any case.
            force: whether a share may go to a version without a ready endpoint, or be more than a version carries.

        Raises:
            Unknown: no such model, or no such version.
            Unacceptable: the shares cannot be, or go to a version that nobody serves.
            Conflict: somebody else was faster.
        """
        began = self._clock()
        published, notes = await self.traffic.change(model, wanted, expected, who=who, why=why, force=force)
        seen = await until_acknowledged(self._store, published.answer, wait_s, self._clock)
        if not seen.waiting:
            self.propagated = self.propagated.plus(self._clock() - began)
        return Changed(
            Current(model, published.revision, published.answer.head.epoch, published.policy),
            seen,
            published.answer.durable,
            self._clock() - began,
            notes,
            published.answer.members,
        )

    async def ensure_policy(
        self, model: str, shares: Mapping[int, int], stable: int, unit_header: str
    ) -> Published | None:
        """Gives a model its first policy; None where it has one already.

        Args:
            model: whose.
            shares: parts per million by version; what stable has among them follows from the others.
            stable: the version that takes what the others leave.
            unit_header: the header that names the unit.
        """
        arms = {version: share for version, share in shares.items() if version != stable}
        first = next_policy(None, Wanted(stable, arms, unit_header))
        if (await self._store.state()).snapshot.revision_of(model):
            return None
        try:
            return await self.traffic.publish(model, None, first, 0, who="settings", why="the first policy")
        except Conflict:
            return None

    async def explain(
        self,
        model: str,
        unit: str | None,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        grpc: bool = False,
    ) -> Explained:
        """Which version a request would reach, and why; of its body it takes JSON (`serving.control.explaining`)."""
        return explained((await self.current(model)).policy, unit, headers, body=body, grpc=grpc)

    async def decoded(self, request_id: str) -> Decoded:
        """What a request id says.

        Raises:
            Unknown: nobody here made it.
        """
        models = {*self._declared, *(await self._store.state()).snapshot.models}
        return decoded(request_id, await self._store.id_keys(), models)

    async def models(self) -> tuple[ModelView, ...]:
        """Every model that is declared, has a policy or has an endpoint."""
        state, endpoints = await self._store.state(), await self._store.endpoints()
        return await self._models(state, endpoints, await self._store.wishes())

    async def status(self) -> Status:
        """Everything at a glance, even where the store does not answer."""
        try:
            warnings = await self._store.check()
            state = await self._store.state()
            endpoints = await self._store.endpoints()
            gateways = await self._store.gateways_with_figures()
            models = await self._models(state, endpoints, await self._store.wishes())
        except StoreUnavailable as error:
            warned = (error.sentence, *map(_silent_words, self.silent), *self.notices)
            return Status(NO_HEAD, (), (), (), self.pools, reachable=False, warnings=warned, silent=self.silent)
        warned = (*warnings, *map(_silent_words, self.silent), *map(_stray_words, self._strays), *self.notices)
        return Status(state.head, tuple(gateways), tuple(endpoints), models, self.pools, True, warned, self.silent)

    @property
    def _strays(self) -> tuple[PoolView, ...]:
        return tuple(pool for pool in self.pools if pool.stray)

    async def _models(
        self, state: State, endpoints: Sequence[Endpoint], wishes: Sequence[Wish]
    ) -> tuple[ModelView, ...]:
        wished: dict[str, dict[int, str]] = {}
        for wish in wishes:
            wished.setdefault(wish.spec.model, {})[wish.spec.version] = "pool"
        names = {*self._declared, *wished, *state.snapshot.models, *(one.model for one in endpoints)}
        return tuple([await self._view(name, state, endpoints, wished.get(name, {})) for name in sorted(names)])

    async def _view(
        self, name: str, state: State, endpoints: Sequence[Endpoint], wished: Mapping[int, str]
    ) -> ModelView:
        current = await self.traffic.current_in(state, name)
        sources = {**self._declared.get(name, {}), **wished}
        ready = [one.version for one in endpoints if one.model == name]
        versions = {*sources, *ready, *(current.policy.versions if current else ())}
        return ModelView(
            name,
            current.revision if current else 0,
            current.policy if current else None,
            tuple(
                VersionView(one, ready.count(one), sources.get(one, "pool"), (name, one) in self.asleep)
                for one in sorted(versions)
            ),
        )


def declared_in(models: Iterable[ModelSettings]) -> Mapping[str, Mapping[int, str]]:
    """By model and version, who starts its endpoints: `pool` where we do, else `static`."""
    return {model.name: {one.version: "pool" if one.path else "static" for one in model.versions} for model in models}


def _silent_words(endpoint: Endpoint) -> str:
    where = f"{endpoint.host}:{endpoint.http_port}"
    return f"The static endpoint of {endpoint.model} version {endpoint.version} at {where} does not answer."


def _stray_words(pool: PoolView) -> str:
    return (
        f"A pool of {pool.model} version {pool.version} runs though nobody wants it; it stays because a policy routes "
        "to it. Deploy the version, or give its traffic to another one."
    )
