"""What the control API and the conductor do, without HTTP and without Ray: read, decide, publish, wait, explain.

A policy is never edited in place: the next one is computed from the one that runs (`next_policy`), so that units keep
their version wherever the new shares allow it, and is then published against the revision that it was computed from.

How a store swaps a head is `serving.control.store`; when things are looked at is `serving.control.conductor`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

from router.choose import Facts, explain
from router.epoch import NO_HEAD, Head
from router.errors import PolicyError, RequestIdError
from router.policy import WHOLE, Arm, Policy, format_share
from router.request_id import KeyRing, RequestId
from serving.control.errors import Conflict, StoreUnavailable, Unacceptable, Unknown
from serving.control.publishing import Answer, Published, Recorded, State
from serving.endpoint import Endpoint
from serving.leases import GatewayLease, IdKeys
from serving.settings import ModelSettings

LONGEST_WAIT_S = 30.0
_LOOK_S = 0.02
_RETRIES = 20
_OVERRIDE_HEADER = "sluice-version"


class Policies(Protocol):
    """Where policies are kept and become the next epoch."""

    async def state(self) -> State:
        """The head and its snapshot."""

    async def policy(self, digest: str) -> Policy:
        """The policy of that digest."""

    async def change(
        self, model: str, policy: Policy, expected_revision: int | None, *, who: str, why: str = ""
    ) -> Published:
        """The model's next policy, once it is published."""


class Leases(Protocol):
    """Who is alive."""

    async def gateways(self) -> Sequence[GatewayLease]:
        """The gateways."""

    async def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints."""

    async def hold(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Takes or renews an endpoint's lease."""

    async def drop(self, endpoint: Endpoint) -> None:
        """Gives an endpoint's lease back."""


class Records(Protocol):
    """What else a store keeps, and how it is."""

    async def ledger(self, limit: int) -> Sequence[Recorded]:
        """The newest entries, newest first."""

    async def id_keys(self) -> IdKeys | None:
        """The keys of request ids."""

    async def ensure_keys(self) -> IdKeys:
        """The same; the first one is made if there is none."""

    async def check(self) -> tuple[str, ...]:
        """One sentence for each thing about the server that could cost data."""


class Store(Policies, Leases, Records, Protocol):
    """All that the control room needs of a store."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A policy as an operator asks for it: what is left out stays as it is.

    Attributes:
        stable: the version that takes what the arms leave.
        shares: parts per million by version, stable not among them.
        unit_header: the header that names the unit; None keeps it.
        allow_override: whether clients may choose; None keeps it.
        repeatable: whether requests may be sent twice; None keeps it.
    """

    stable: int
    shares: Mapping[int, int] = field(default_factory=dict)
    unit_header: str | None = None
    allow_override: bool | None = None
    repeatable: bool | None = None


@dataclass(frozen=True, slots=True)
class Current:
    """What one model runs: its policy, how often it was changed, and the epoch that this was read at."""

    model: str
    revision: int
    epoch: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Which members of an epoch run it.

    Attributes:
        of: how many there are.
        by: how many run it, or a later one.
        expired: ids of those whose lease lapsed before they said so.
        waiting: ids of those that had not said so yet.
    """

    of: int
    by: int
    expired: tuple[str, ...]
    waiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that took place, and who runs it by now."""

    current: Current
    acknowledged: Acknowledged
    durable: bool
    took_s: float


@dataclass(frozen=True, slots=True)
class Explained:
    """Which version a request would reach and why; no version where that would be drawn at random."""

    version: int | None
    reason: str
    bucket: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request id says; the model is None where none that is known has that hash."""

    model: str | None
    said: RequestId


@dataclass(frozen=True, slots=True)
class PoolState:
    """The Serve application that runs one version: its state in Serve's words, and what Serve says of it."""

    model: str
    version: int
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version of a model: how many endpoints are ready, and who starts them (`pool` or `static`)."""

    version: int
    ready: int
    source: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model at a glance; revision 0 and no policy before the first."""

    name: str
    revision: int
    policy: Policy | None
    versions: tuple[VersionView, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at a glance; empty where the store does not answer, with the reason among the warnings."""

    head: Head
    gateways: tuple[GatewayLease, ...]
    endpoints: tuple[Endpoint, ...]
    models: tuple[ModelView, ...]
    pools: tuple[PoolState, ...]
    reachable: bool
    warnings: tuple[str, ...]


class ControlService:
    """The control room's doings on one store.

    Args:
        store: where everything is kept.
        declared: by model and version, who starts its endpoints (`pool` or `static`); see `declared_in`.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: Store,
        declared: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._declared = declared
        self._clock = clock
        self.pools: tuple[PoolState, ...] = ()
        """As the conductor last saw them."""

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
            force: whether a share may go to a version without a ready endpoint.

        Raises:
            Unknown: no such model, or no such version.
            Unacceptable: the shares cannot be, or go to a version that nobody serves.
            Conflict: somebody else was faster.
        """
        began = self._clock()
        published = await self._published(model, wanted, expected, who=who, why=why, force=force)
        acknowledged = await self._acknowledged(published.answer, min(wait_s, LONGEST_WAIT_S))
        return Changed(
            Current(model, published.revision, published.answer.head.epoch, published.policy),
            acknowledged,
            published.answer.durable,
            self._clock() - began,
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
            return await self._store.change(model, first, 0, who="settings", why="the first policy")
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
        return await self._models(await self._store.state(), await self._store.endpoints())

    async def status(self) -> Status:
        """Everything at a glance, even where the store does not answer."""
        try:
            warnings = await self._store.check()
            state = await self._store.state()
            endpoints = await self._store.endpoints()
            gateways = await self._store.gateways()
            models = await self._models(state, endpoints)
        except StoreUnavailable as error:
            return Status(NO_HEAD, (), (), (), self.pools, reachable=False, warnings=(error.sentence,))
        return Status(state.head, tuple(gateways), tuple(endpoints), models, self.pools, True, warnings)

    async def _current(self, state: State, model: str) -> Current | None:
        entry = state.snapshot.models.get(model)
        if entry is None:
            return None
        return Current(model, entry.revision, state.head.epoch, await self._store.policy(entry.digest))

    async def _published(
        self, model: str, wanted: Wanted, expected: int | None, *, who: str, why: str, force: bool
    ) -> Published:
        for _ in range(_RETRIES):
            state = await self._store.state()
            current = await self._current(state, model)
            revision = current.revision if current else 0
            if expected is not None and expected != revision:
                raise Conflict(model, expected, revision, current.policy if current else None)
            await self._refuse_unserved(state, model, wanted, current.policy if current else None, force=force)
            policy = next_policy(current.policy if current else None, wanted)
            try:
                # Always against the revision that it was computed from, or it would undo what came in between.
                return await self._store.change(model, policy, revision, who=who, why=why)
            except Conflict:
                if expected is not None:
                    raise
        raise Unacceptable(
            f"The policy of {model} keeps changing.", "Send the change with the revision that it is for."
        )

    async def _refuse_unserved(
        self, state: State, model: str, wanted: Wanted, current: Policy | None, *, force: bool
    ) -> None:
        await self._refuse_unknown_model(state, model)
        ready = {one.version for one in await self._store.endpoints() if one.model == model}
        known = {*self._declared.get(model, ()), *ready, *(current.versions if current else ())}
        if strays := sorted({wanted.stable, *wanted.shares} - known):
            raise Unknown(f"The model {model} has no version {strays[0]}.", f"It has {_listed(known)}.")
        if force:
            return
        stable_share = WHOLE - sum(wanted.shares.values())
        asked = {**wanted.shares, wanted.stable: stable_share}
        if unserved := sorted(version for version, share in asked.items() if share > 0 and version not in ready):
            raise Unacceptable(
                f"Version {unserved[0]} of {model} has no endpoint that is ready, and would get traffic.",
                "Wait until it is ready, or insist with ?force=true.",
            )

    async def _refuse_unknown_model(self, state: State, model: str) -> None:
        if model in self._declared or model in state.snapshot.models:
            return
        served = {one.model for one in await self._store.endpoints()}
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

    async def _models(self, state: State, endpoints: Sequence[Endpoint]) -> tuple[ModelView, ...]:
        names = {*self._declared, *state.snapshot.models, *(one.model for one in endpoints)}
        return tuple([await self._view(name, state, endpoints) for name in sorted(names)])

    async def _view(self, name: str, state: State, endpoints: Sequence[Endpoint]) -> ModelView:
        current = await self._current(state, name)
        declared = self._declared.get(name, {})
        ready = [one.version for one in endpoints if one.model == name]
        versions = {*declared, *ready, *(current.policy.versions if current else ())}
        return ModelView(
            name,
            current.revision if current else 0,
            current.policy if current else None,
            tuple(VersionView(one, ready.count(one), declared.get(one, "static")) for one in sorted(versions)),
        )


def declared_in(models: Iterable[ModelSettings]) -> Mapping[str, Mapping[int, str]]:
    """By model and version, who starts its endpoints: `pool` where we do, else `static`."""
    return {model.name: {one.version: "pool" if one.path else "static" for one in model.versions} for model in models}


def next_policy(current: Policy | None, wanted: Wanted) -> Policy:
    """The policy that is wanted, computed from the one that runs, so that units stay where they can.

    The salt is drawn with the first policy and kept: another one would deal out all units anew.

    Raises:
        Unacceptable: there can be no such policy.
    """
    try:
        base = (
            _with_stable(current, wanted.stable) if current else Policy(wanted.stable, salt=secrets.token_urlsafe(12))
        )
        kept = replace(
            base,
            unit_header=base.unit_header if wanted.unit_header is None else wanted.unit_header,
            allow_override=base.allow_override if wanted.allow_override is None else wanted.allow_override,
            repeatable=base.repeatable if wanted.repeatable is None else wanted.repeatable,
        )
        return kept.with_shares(wanted.shares)
    except PolicyError as error:
        raise Unacceptable(f"There can be no such policy: {error}.") from error


def _with_stable(current: Policy, stable: int) -> Policy:
    """The same policy with another stable version.

    The old stable version becomes an arm without a share, which begins where the old one owned most: whatever share
    it is given next is then made of units that it had. Those of the new stable version stay with it, for it owns
    what no arm does.
    """
    if stable == current.stable:
        return current
    others = tuple(arm for arm in current.arms if arm.version != stable)
    return replace(current, stable=stable, arms=(*others, Arm(current.stable, 0, _widest_gap(current))))


def _widest_gap(policy: Policy) -> int:
    """The first bucket of the widest range that stable owns."""
    edges = [(0, 0), *((start, end) for start, end, _ in policy.ranges), (WHOLE, WHOLE)]
    return max(((left[1], right[0] - left[1]) for left, right in pairwise(edges)), key=lambda gap: gap[1])[0]


def acknowledged(answer: Answer, alive: Iterable[GatewayLease]) -> Acknowledged:
    """Which members of the epoch run it or a later one, given the leases that are alive now."""
    leases = {lease.id: lease for lease in alive}
    run = {name for name in answer.members & leases.keys() if _has(leases[name], answer.head)}
    expired = answer.members - leases.keys()
    waiting = answer.members - run - expired
    return Acknowledged(len(answer.members), len(run), tuple(sorted(expired)), tuple(sorted(waiting)))


def _has(lease: GatewayLease, head: Head) -> bool:
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
