"""How a model's policy is changed: what is wanted is looked at, computed from what runs, and published against that.

What may get traffic is decided here for operators and for rollouts alike: whether versions carry it, whether the
registry lets them, and whether their servers are just being drained.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from router.plan import grows
from router.policy import WHOLE, OverCapacity, Policy, Shadow, format_share
from serving.control.capacity import Excess, excesses, unknown
from serving.control.errors import Conflict, Unacceptable, Unknown
from serving.control.ports import Routable, Store, all_routable
from serving.control.publishing import Published, State
from serving.control.rates import Lately, Rates
from serving.control.succession import next_policy
from serving.control.views import Current, Wanted
from serving.control.wishes import ModelVersion
from serving.endpoint import Endpoint, Load

_RETRIES: Final = 20


class Traffic:
    """The policies of one installation, and what may get traffic by them.

    Args:
        store: where everything is kept.
        declared: by model and version, who starts its endpoints.
        routable: which versions must not get traffic.
    """

    def __init__(
        self,
        store: Store,
        declared: Mapping[str, Mapping[int, str]] = MappingProxyType({}),
        routable: Routable = all_routable,
    ) -> None:
        self._store = store
        self._declared = declared
        self.routable = routable
        self.asleep: frozenset[ModelVersion] = frozenset()
        # Whose servers are being drained, and the lock under which both this and a policy change: what is given
        # traffic is not drained, and what is drained is not given traffic.
        self.going: frozenset[ModelVersion] = frozenset()
        self.routing = asyncio.Lock()
        self.rates = Rates()
        # Requests a second that each replica carries, where an operator has said so.
        self.measured: Mapping[ModelVersion, float] = {}
        # For rollouts in progress: what has to be up, though nothing may route to it yet or any more, and what must
        # not have fewer replicas meanwhile.
        self.kept: frozenset[ModelVersion] = frozenset()
        self.floored: frozenset[ModelVersion] = frozenset()

    async def current_in(self, state: State, model: str) -> Current | None:
        """What the model runs in that state of the store, None where it has no policy yet."""
        entry = state.snapshot.models.get(model)
        if entry is None:
            return None
        return Current(model, entry.revision, state.head.epoch, await self._store.policy(entry.digest))

    async def change(
        self, model: str, wanted: Wanted, expected: int | None, *, who: str, why: str, force: bool
    ) -> tuple[Published, tuple[str, ...]]:
        """Publishes what is wanted, with a sentence for each thing in which it is not what was asked for.

        Raises:
            Unknown: no such model, or no such version.
            Unacceptable: the shares cannot be, or go to a version that nobody serves.
            Conflict: somebody else was faster.
        """
        for _ in range(_RETRIES):
            state = await self._store.state()
            current = await self.current_in(state, model)
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
                return await self.publish(model, before, policy, revision, who=who, why=why), notes
            except Conflict:
                if expected is not None:
                    raise
        raise Unacceptable(
            f"The policy of {model} keeps changing.", "Send the change with the revision that it is for."
        )

    async def publish(
        self, model: str, before: Policy | None, policy: Policy, revision: int, *, who: str, why: str
    ) -> Published:
        """Publishes it, unless it gives traffic to servers that are being drained; insisting gets nobody past that."""
        more = before is not None and opens(before, policy)
        back = before is not None and not more and opens(policy, before)
        async with self.giving(model, before, policy):
            return await self._store.change(model, policy, revision, who=who, why=why, grows=more, insists=back)

    @asynccontextmanager
    async def giving(self, model: str, before: Policy | None, after: Policy) -> AsyncIterator[None]:
        """Within it, no version that `after` newly gives traffic to begins to be drained.

        Raises:
            Unacceptable: one is being drained.
        """
        async with self.routing:
            if gone := self._drained(model, before, after):
                raise Unacceptable(
                    f"The servers of {model} version {gone[0]} are being drained, and take no traffic any more.",
                    "Wait until they are gone (GET /status shows it), then deploy it again.",
                )
            yield

    def keep(self, versions: Iterable[ModelVersion], floored: Iterable[ModelVersion]) -> None:
        """These have to be up, and of these none may lose a replica, for as long as nothing else is said."""
        self.kept, self.floored = frozenset(versions), frozenset(floored)

    async def obstacles(self, model: str, before: Policy, after: Policy, *, force: bool = False) -> tuple[str, ...]:
        """What keeps a rollout from taking its model from one policy to the other, in sentences.

        Args:
            model: whose.
            before: what it runs.
            after: what it is to run.
            force: whether a version may get more than it carries.
        """
        declared = self._declared.get(model, {})
        said = list(await self.routable(model, sorted(routed_in(after) - routed_in(before) - declared.keys())))
        said += [f"version {version} is being drained" for version in self._drained(model, before, after)]
        if after.over_capacity is not OverCapacity.IGNORE and not force:
            ready = await self._ready()
            said += map(str, excesses(model, before, after, self.rates.of(model), ready))
        return tuple(said)

    def lately(self, model: str) -> Mapping[int, Lately]:
        """How its versions answered within the last few seconds."""
        return self.rates.lately(model)

    async def carried(
        self, model: str, before: Policy, after: Policy, *, surely: bool = False
    ) -> Mapping[int, int] | None:
        """The arms that would get more than they carry, by what they carry, where the policy says to give them that.

        Args:
            model: whose policies these are.
            before: what it runs.
            after: what it would run.
            surely: whether to answer None where that is not known of an arm that would get more. Else such an arm is
                none of those that carry too little.
        """
        if after.over_capacity is not OverCapacity.CLAMP:
            return {}
        arms = {arm.version for arm in after.arms}
        rate, ready = self.rates.of(model), await self._ready()
        if surely and arms & unknown(model, before, after, rate, ready):
            return None
        over = excesses(model, before, after, rate, ready)
        return {one.version: one.carried_ppm for one in over if one.version in arms}

    async def _ready(self) -> list[tuple[Endpoint, Load]]:
        """The endpoints that are ready, with what they carry: as an operator has said it, else as they have told."""
        return [
            (one, replace(load, throughput=self.measured.get((one.model, one.version), load.throughput)))
            for one, load in await self._store.endpoint_loads()
        ]

    def _drained(self, model: str, before: Policy | None, after: Policy) -> list[int]:
        new = routed_in(after) - (routed_in(before) if before else set())
        return sorted(version for version in new if (model, version) in self.going)

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
        ready = await self._ready()
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
        await self.refuse_unknown_versions(state, model, wanted.versions, current)
        if force:
            return
        ready = {one.version for one in await self._store.endpoints() if one.model == model}
        stable_share = WHOLE - sum(wanted.shares.values())
        asked = {**wanted.shares, wanted.stable: stable_share}
        asked_for = {version for version, share in asked.items() if share > 0}
        asked_for |= {rule.version for rule in wanted.rules or ()}
        if unserved := sorted(asked_for - ready):
            raise Unacceptable(
                f"Version {unserved[0]} of {model} has no endpoint that is ready, and would get traffic.",
                "It is asleep: deploy it, which wakes it, or insist with ?force=true."
                if (model, unserved[0]) in self.asleep
                else "Wait until it is ready, or insist with ?force=true.",
            )

    async def refuse_unknown_versions(
        self, state: State, model: str, versions: Collection[int], current: Policy | None = None
    ) -> None:
        """Says which versions there are, where one of these is none of them.

        Raises:
            Unknown: it is none, or there is no such model.
        """
        await self.refuse_unknown_model(state, model)
        ready = {one.version for one in await self._store.endpoints() if one.model == model}
        wished = {wish.spec.version for wish in await self._store.wishes() if wish.spec.model == model}
        known = {*self._declared.get(model, ()), *ready, *wished, *(current.versions if current else ())}
        if strays := sorted(set(versions) - known):
            raise Unknown(f"The model {model} has no version {strays[0]}.", f"It has {_listed(known)}.")

    async def refuse_unknown_model(self, state: State, model: str) -> None:
        """Says which models there are, where this is none of them.

        Raises:
            Unknown: it is none.
        """
        if model in self._declared or model in state.snapshot.models:
            return
        served = {one.model for one in await self._store.endpoints()}
        served |= {wish.spec.model for wish in await self._store.wishes()}
        if model not in served:
            known = {*self._declared, *state.snapshot.models, *served}
            raise Unknown(f"There is no model {model!r}.", f"There is {_listed(known)}." if known else "There is none.")


def opens(before: Policy, after: Policy, stable: int | None = None) -> bool:
    """Whether anybody but stable may get more requests, or copies of them, or is newly to be had for the asking.

    Args:
        before: what runs.
        after: what is to run.
        stable: which version that is; None for what is stable in what runs.
    """
    stable = before.stable if stable is None else stable
    copies = [shadow for shadow in after.shadows if shadow.version != stable and shadow.sample_ppm]
    copied = any(not any(_covers(had, shadow) for had in before.shadows) for shadow in copies)
    asked_for = after.allow_override and not before.allow_override
    return copied or asked_for or bool(grows(before, after, stable))


def _covers(had: Shadow, gets: Shadow) -> bool:
    """Whether what was copied before is all that is copied now."""
    return gets.sample_ppm <= had.sample_ppm and replace(gets, sample_ppm=had.sample_ppm) == had


def routed_in(policy: Policy) -> set[int]:
    """The versions that it gives traffic to: stable, those with a share, a rule, or a shadow's sample."""
    shares = {version for version, share in policy.shares().items() if share}
    rules = {rule.version for rule in policy.rules}
    return {policy.stable, *shares, *rules, *(shadow.version for shadow in policy.shadows if shadow.sample_ppm)}


def _listed(known: Iterable[object]) -> str:
    return ", ".join(map(str, sorted(known, key=str)))


def _clamped_words(excess: Excess) -> str:
    return f"{excess} It gets {format_share(excess.carried_ppm)}, what it carries."
