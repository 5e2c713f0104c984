"""What the control API and the conductor do, without HTTP and without Ray: read, decide, publish, wait, explain.

A policy is never edited in place: the next one is computed from the one that runs (`next_policy`), so that units keep
their version wherever the new shares allow it, and is then published against the revision that it was computed from.

How a store swaps a head is `serving.control.store`; when things are looked at is `serving.control.conductor`.
"""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from router.choose import Facts, explain
from router.epoch import NO_HEAD, Head
from router.errors import RequestIdError
from router.policy import WHOLE, OverCapacity, Policy, format_share
from router.request_id import KeyRing
from serving.control.capacity import Excess, excesses
from serving.control.errors import Conflict, StoreUnavailable, Unacceptable, Unknown
from serving.control.ports import Leases, Policies, Records, Routable, Store, all_routable
from serving.control.publishing import Answer, Published, Recorded, State
from serving.control.rates import Rates
from serving.control.succession import next_policy
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
from serving.leases import GatewayLease
from serving.pools import PoolKey
from serving.settings import ModelSettings

__all__ = [
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

LONGEST_WAIT_S = 30.0
_LOOK_S = 0.02
_RETRIES = 20
_OVERRIDE_HEADER = "sluice-version"


class ControlService:
    """The control room's doings on one store.

    Args:
        store: where everything is kept.
        declared: by model and version, who starts its endpoints (`pool` or `static`); see `declared_in`.
        routable: which versions must not get traffic.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: Store,
        declared: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
        *,
        routable: Routable = all_routable,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._declared = declared
        self._clock = clock
        self.routable = routable
        # As the conductor last saw them.
        self.pools: tuple[PoolView, ...] = ()
        self.asleep: frozenset[ModelVersion] = frozenset()
        # Whose servers are being drained, and the lock under which both this and a policy change: what is given
        # traffic is not drained, and what is drained is not given traffic.
        self.going: frozenset[ModelVersion] = frozenset()
        self.routing = asyncio.Lock()
        # Why pools could not be started, by pool and by the revision of the wish that they were to fulfil.
        self.refused: Mapping[tuple[PoolKey, int], str] = {}
        self.silent: tuple[Endpoint, ...] = ()
        self.rates = Rates()

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
        found = await self._current(state, model)
        if found is None:
            await self._refuse_unknown_model(state, model)
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
        published, notes = await self._published(model, wanted, expected, who=who, why=why, force=force)
        acknowledged = await self._acknowledged(published.answer, min(wait_s, LONGEST_WAIT_S))
        return Changed(
            Current(model, published.revision, published.answer.head.epoch, published.policy),
            acknowledged,
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
            return await self._change(model, None, first, 0, who="settings", why="the first policy")
        except Conflict:
            return None

    async def explain(self, model: str, unit: str | None, headers: Mapping[str, str]) -> Explained:
        """Which version a request with this unit and these headers (names in lower case) would reach, and why."""
        policy = (await self.current(model)).policy
        named = unit if unit is not None else headers.get(policy.unit_header)
        override = _override(headers)
        if named is None and (override is None or not policy.allow_override):
            return Explained(None, "random", None, _drawn_at_random(policy))
        explanation = explain(policy, Facts((named or "").encode(), override=override))
        choice = explanation.choice
        return Explained(choice.version, choice.reason.value, choice.bucket, explanation.words)

    async def decoded(self, request_id: str) -> Decoded:
        """What a request id says.

        Raises:
            Unknown: nobody here made it.
        """
        keys = await self._store.id_keys()
        if keys is None:
            raise Unknown("No request id was made here yet: there is no key for them.")
        ring = KeyRing(keys.secrets, keys.current)
        try:
            said = ring.read(request_id)
        except RequestIdError as error:
            raise Unknown(f"{error}.", "Copy the whole sluice-request-id of an answer of this installation.") from error
        key = ring.keys[urlsafe_b64decode(request_id[:4])[1]]
        known = {*self._declared, *(await self._store.state()).snapshot.models}
        return Decoded(next((name for name in sorted(known) if key.model_hash(name) == said.model), None), said)

    async def ledger(self, limit: int) -> Sequence[Recorded]:
        """What was decided, newest first."""
        return await self._store.ledger(limit)

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
            gateways = await self._store.gateways()
            models = await self._models(state, endpoints, await self._store.wishes())
        except StoreUnavailable as error:
            warned = (error.sentence, *map(_silent_words, self.silent))
            return Status(NO_HEAD, (), (), (), self.pools, reachable=False, warnings=warned, silent=self.silent)
        warned = (*warnings, *map(_silent_words, self.silent), *map(_stray_words, self._strays))
        return Status(state.head, tuple(gateways), tuple(endpoints), models, self.pools, True, warned, self.silent)

    @property
    def _strays(self) -> tuple[PoolView, ...]:
        return tuple(pool for pool in self.pools if pool.stray)

    async def _current(self, state: State, model: str) -> Current | None:
        entry = state.snapshot.models.get(model)
        if entry is None:
            return None
        return Current(model, entry.revision, state.head.epoch, await self._store.policy(entry.digest))

    async def _published(
        self, model: str, wanted: Wanted, expected: int | None, *, who: str, why: str, force: bool
    ) -> tuple[Published, tuple[str, ...]]:
        for _ in range(_RETRIES):
            state = await self._store.state()
            current = await self._current(state, model)
            revision = current.revision if current else 0
            before = current.policy if current else None
            if expected is not None and expected != revision:
                raise Conflict(model, expected, revision, before)
            await self._refuse_unserved(state, model, wanted, before, force=force)
            policy = next_policy(before, wanted)
            await self._refuse_unroutable(model, policy)
            policy, notes = (policy, ()) if force else await self._within_capacity(model, before, policy)
            try:
                # Always against the revision that it was computed from, or it would undo what came in between.
                return await self._change(model, before, policy, revision, who=who, why=why), notes
            except Conflict:
                if expected is not None:
                    raise
        raise Unacceptable(
            f"The policy of {model} keeps changing.", "Send the change with the revision that it is for."
        )

    async def _change(
        self, model: str, before: Policy | None, policy: Policy, revision: int, *, who: str, why: str
    ) -> Published:
        """Publishes it, unless it gives traffic to servers that are being drained; insisting gets nobody past that."""
        async with self.routing:
            new = routed_in(policy) - (routed_in(before) if before else set())
            if gone := sorted(version for version in new if (model, version) in self.going):
                raise Unacceptable(
                    f"The servers of {model} version {gone[0]} are being drained, and take no traffic any more.",
                    "Wait until they are gone (GET /status shows it), then deploy it again.",
                )
            return await self._store.change(model, policy, revision, who=who, why=why)

    async def _refuse_unroutable(self, model: str, policy: Policy) -> None:
        """Whoever insists does not get past this: the registry knows better whether it may run."""
        declared = self._declared.get(model, {})
        if said := await self.routable(model, sorted(routed_in(policy) - declared.keys())):
            raise Unacceptable(said[0], "Verify it first, with `sluice models verify`.")

    async def _within_capacity(
        self, model: str, before: Policy | None, after: Policy
    ) -> tuple[Policy, tuple[str, ...]]:
        """The policy, or the one that its versions carry, with a sentence for each share that is smaller for it."""
        if after.over_capacity is OverCapacity.IGNORE:
            return after, ()
        ready = await self._store.endpoint_loads()
        rate = self.rates.of(model)
        over = excesses(model, before, after, rate, ready)
        arms = {arm.version: arm.share_ppm for arm in after.arms}
        clamped = [one for one in over if one.version in arms and after.over_capacity is OverCapacity.CLAMP]
        shares = arms | {one.version: one.carried_ppm for one in clamped}
        clamped_policy = after.with_shares(shares) if clamped else after
        refused = [one for one in over if one not in clamped] or [
            # What an arm does not carry goes to stable, which must carry it.
            one
            for one in excesses(model, before, clamped_policy, rate, ready)
            if one.version == after.stable
        ]
        if refused:
            raise Unacceptable(
                str(refused[0]),
                "Give it more replicas or a smaller share, or insist with ?force=true.",
            )
        return clamped_policy, tuple(_clamped_words(one) for one in clamped)

    async def _refuse_unserved(
        self, state: State, model: str, wanted: Wanted, current: Policy | None, *, force: bool
    ) -> None:
        await self._refuse_unknown_model(state, model)
        ready = {one.version for one in await self._store.endpoints() if one.model == model}
        wished = {wish.spec.version for wish in await self._store.wishes() if wish.spec.model == model}
        known = {*self._declared.get(model, ()), *ready, *wished, *(current.versions if current else ())}
        if strays := sorted({wanted.stable, *wanted.shares} - known):
            raise Unknown(f"The model {model} has no version {strays[0]}.", f"It has {_listed(known)}.")
        if force:
            return
        stable_share = WHOLE - sum(wanted.shares.values())
        asked = {**wanted.shares, wanted.stable: stable_share}
        if unserved := sorted(version for version, share in asked.items() if share > 0 and version not in ready):
            raise Unacceptable(
                f"Version {unserved[0]} of {model} has no endpoint that is ready, and would get traffic.",
                "It is asleep: deploy it, which wakes it, or insist with ?force=true."
                if (model, unserved[0]) in self.asleep
                else "Wait until it is ready, or insist with ?force=true.",
            )

    async def _refuse_unknown_model(self, state: State, model: str) -> None:
        if model in self._declared or model in state.snapshot.models:
            return
        served = {one.model for one in await self._store.endpoints()}
        served |= {wish.spec.model for wish in await self._store.wishes()}
        if model not in served:
            known = {*self._declared, *state.snapshot.models, *served}
            raise Unknown(f"There is no model {model!r}.", f"There is {_listed(known)}." if known else "There is none.")

    async def _acknowledged(self, answer: Answer, wait_s: float) -> Acknowledged:
        until = self._clock() + wait_s
        seen = Acknowledged(len(answer.members), 0, (), tuple(sorted(answer.members)))
        while True:
            with suppress(StoreUnavailable):  # the change is written, and stays so where nobody can be asked about it
                seen = acknowledged(answer, await self._store.gateways())
            if not seen.waiting or self._clock() >= until:
                return seen
            await asyncio.sleep(_LOOK_S)

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
        current = await self._current(state, name)
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


def routed_in(policy: Policy) -> set[int]:
    """The versions that it gives traffic to: stable, those with a share, a rule, or a shadow's sample."""
    shares = {version for version, share in policy.shares().items() if share}
    rules = {rule.version for rule in policy.rules}
    return {policy.stable, *shares, *rules, *(shadow.version for shadow in policy.shadows if shadow.sample_ppm)}


def declared_in(models: Iterable[ModelSettings]) -> Mapping[str, Mapping[int, str]]:
    """By model and version, who starts its endpoints: `pool` where we do, else `static`."""
    return {model.name: {one.version: "pool" if one.path else "static" for one in model.versions} for model in models}


def acknowledged(answer: Answer, alive: Iterable[GatewayLease]) -> Acknowledged:
    """Which members of the epoch run it or a later one, given the leases that are alive now."""
    leases = {lease.id: lease for lease in alive}
    run = {name for name in answer.members & leases.keys() if acknowledges(leases[name], answer.head)}
    expired = answer.members - leases.keys()
    waiting = answer.members - run - expired
    return Acknowledged(len(answer.members), len(run), tuple(sorted(expired)), tuple(sorted(waiting)))


def acknowledges(lease: GatewayLease, head: Head) -> bool:
    """Whether the gateway runs that head, or a later one."""
    return lease.epoch > head.epoch or lease.runs(head)


def _override(headers: Mapping[str, str]) -> int | None:
    said = headers.get(_OVERRIDE_HEADER)
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) < len(str(2**31))):
        raise Unacceptable(f"{_OVERRIDE_HEADER}: {said[:64]!r} is no version.", "Give it a whole number.")
    return int(said)


def _drawn_at_random(policy: Policy) -> str:
    shares = ", ".join(
        f"version {version} with {format_share(share)}" for version, share in policy.shares().items() if share
    )
    return f"Without a unit ({policy.unit_header}) each request is drawn at random: {shares}."


def _listed(known: Iterable[object]) -> str:
    return ", ".join(map(str, sorted(known, key=str)))


def _clamped_words(excess: Excess) -> str:
    return f"{excess} It gets {format_share(excess.carried_ppm)}, what it carries."


def _silent_words(endpoint: Endpoint) -> str:
    where = f"{endpoint.host}:{endpoint.http_port}"
    return f"The static endpoint of {endpoint.model} version {endpoint.version} at {where} does not answer."


def _stray_words(pool: PoolView) -> str:
    return (
        f"A pool of {pool.model} version {pool.version} runs though nobody wants it; it stays because a policy routes "
        "to it. Deploy the version, or give its traffic to another one."
    )
