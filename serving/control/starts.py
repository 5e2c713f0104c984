"""Deploying: a version is wished, and its servers come up or everything is as it was before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.lifecycle import Event
from router.policy import WHOLE, Policy
from serving.control.asked import Asked, version_of
from serving.control.errors import Unknown
from serving.control.operations import Operation, Tell
from serving.control.reconciler import DELETING, DEPLOY_FAILED
from serving.control.service import routed_in
from serving.control.standing import Standing
from serving.control.wishes import ModelVersion, Wish, desired
from serving.endpoint import crashes_in
from serving.errors import StartFailed
from serving.pools import PoolKey, PoolSpec, PoolState

_MOST_CRASHES = 3

REPLACES = "replaces"
"""What a promotion knows: the revision of the policy that it replaces."""


class Starts:
    """Starts versions, and takes a start back, for one installation.

    Args:
        standing: how versions stand, and where that is written.
        asked: what operations ask for.
        patience_s: how long the replicas of a version may take to get ready.
    """

    def __init__(self, standing: Standing, asked: Asked, *, patience_s: float) -> None:
        self._standing = standing
        self._service = standing.service
        self._store = standing.store
        self._pools = standing.pools
        self._declared = standing.declared
        self._asked = asked
        self._patience_s = patience_s

    async def check_deploy(self, operation: Operation) -> None:
        """Refuses what can never be deployed.

        Raises:
            NotFound: there is no such version.
            Unacceptable: it is not verified, or the options cannot be, or somebody else runs it.
        """
        await self._asked.spec(operation)

    async def deploy(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Wishes the version, and waits until its replicas are ready.

        Raises:
            StartFailed: they do not get ready; the sentence is Triton's.
        """
        spec = await self.brought_up(operation, tell)
        await self.settle(spec.key, operation)
        return {"model": spec.model, "version": spec.version, "digest": spec.digest, "replicas": spec.options.replicas}

    async def take_back(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """What was wished before is wished again, and the servers of this wish are gone; unless they have traffic."""
        key = version_of(operation)
        wish = await self._store.wish(*key)
        if wish is None or wish.operation != operation.id:
            return {}
        if await self._is_to_stay(wish, operation):
            await self.settle(key, operation)
            return {}
        await tell(f"taking {wish.spec} back")
        await self._unwish(wish, operation)
        after = desired(self._declared.values(), await self._store.wishes()).get(key)
        if after is None or after.digest != wish.spec.digest:
            await self._standing.until_gone(lambda pool: pool == wish.spec.key_with_digest)
        if after is None:
            await self._asked.move(key, Event.WITHDRAW, operation)
        return {}

    async def brought_up(self, operation: Operation, tell: Tell) -> PoolSpec:
        """Wishes the version and waits until its replicas are ready; the wish stays the operation's."""
        spec = await self._asked.spec(operation)
        await tell(f"starting servers for {spec}")
        wish = await self._wish(spec, operation)
        await self._clear_failed(spec.key_with_digest)
        await self._until_ready(wish, operation, tell)
        return spec

    async def settle(self, key: ModelVersion, operation: Operation) -> None:
        """The version serves, and its wish stands by itself from now on; one that says what the settings do is none."""
        await self._asked.move(key, Event.SERVE, operation)
        wish = await self._store.wish(*key)
        if wish is None or wish.operation != operation.id:
            return
        if self._declared.get(key) == wish.spec:
            await self._store.touch([key])
            await self._store.take_wish(wish, who=operation.who, why="the settings declare the same")
        else:
            await self._store.put_wish(wish.settled(), who=operation.who, why="its servers are ready")

    async def _is_to_stay(self, wish: Wish, operation: Operation) -> bool:
        """Whether a policy sends requests to what was wished, and what was there before is not to answer them again."""
        try:
            policy = (await self._service.current(wish.spec.model)).policy
        except Unknown:
            return False
        if wish.spec.version not in routed_in(policy):
            return False
        has_flipped = REPLACES in operation.known and gives_all_to(policy, wish.spec.version)
        return has_flipped or (wish.before is None and wish.key not in self._declared)

    async def _wish(self, spec: PoolSpec, operation: Operation) -> Wish:
        while True:
            there = await self._store.wish(*spec.key)
            if there is not None and there.operation == operation.id:
                return there
            # One that another operation left unsettled never came about: what counts is what was before it.
            before = None if there is None else (there.before if there.operation else there.spec)
            wish = Wish(spec, there.revision if there else 0, operation.id, before)
            written = await self._store.put_wish(wish, who=operation.who, why=operation.why)
            if written is not None:
                return written

    async def _unwish(self, wish: Wish, operation: Operation) -> None:
        why = "it did not come up" if operation.problem else "it was cancelled"
        who = operation.cancelled_by or operation.who
        if wish.before is None:
            await self._store.take_wish(wish, who=who, why=why)
        else:
            await self._store.put_wish(Wish(wish.before, wish.revision), who=who, why=why)

    async def _clear_failed(self, pool: PoolKey) -> None:
        """An earlier attempt at the very same pool must not be taken for this one."""
        state = (await self._pools.states()).get(pool)
        if state is not None and state.state == DEPLOY_FAILED and not state.replicas_running:
            await self._pools.remove([pool])

    async def _until_ready(self, wish: Wish, operation: Operation, tell: Tell) -> None:
        spec = wish.spec
        until = self._standing.now_s() + self._patience_s
        wanted, told, running = spec.options.replicas, 0, 0
        while True:
            state = (await self._pools.states()).get(spec.key_with_digest)
            goes = spec.key in self._service.going or (state is not None and state.state == DELETING)
            running = state.replicas_running if state and not goes else 0
            if running >= wanted and await self._standing.leased(spec.key) >= wanted:
                return
            await self._refuse_failed(wish, state, operation)
            if self._standing.now_s() >= until:
                waits = f": {state.message}" if state and state.message else ""
                raise StartFailed(
                    f"{running} of {wanted} replicas of {spec} were ready after {self._patience_s:g} s{waits}.",
                    "See that the cluster has room for them, and what the pool's log says.",
                )
            if running != told:
                await tell(f"{running} of {wanted} replicas of {spec} are ready")
                told = running
            await self._standing.pause()

    async def _refuse_failed(self, wish: Wish, state: PoolState | None, operation: Operation) -> None:
        spec = wish.spec
        refused = self._service.refused.get((spec.key_with_digest, wish.revision))
        if state is None and refused is not None:
            raise StartFailed(_sentence(f"{spec} cannot be started: {refused}"))
        if state is not None and state.state == DEPLOY_FAILED and not state.replicas_running:
            raise StartFailed(_sentence(f"{spec} did not come up: {state.message}"), "Its log has the rest.")
        known = (await self._store.crashes_of([spec.key]))[spec.key]
        crashes = [one for one in crashes_in(spec.digest, known) if one.at_ms >= operation.began_ms]
        if len(crashes) >= _MOST_CRASHES:
            message = state.message if state and state.message else crashes[0].words.strip()
            raise StartFailed(
                _sentence(f"{spec} crashed {len(crashes)} times while it was to come up: {message}"),
                f"Its last words: {crashes[0].words.strip()[-500:]}",
            )


def gives_all_to(policy: Policy, version: int) -> bool:
    """Whether every request without a rule of its own reaches that version."""
    return policy.stable == version and policy.shares()[version] == WHOLE


def _sentence(words: str) -> str:
    cut = " ".join(words.split())[:1_500].rstrip(" :")
    return cut if cut.endswith((".", "!", "?")) else f"{cut}."
