"""The long work on pools: deploy, promote, remove. Each is run from its beginning as often as it takes.

None of them starts or ends a server. They write what is wanted, which the keeper brings about, and wait until it is so;
whoever dies in between leaves a wish that says who wanted it and what was there before. A flip is a policy that every
gateway has acknowledged before anything is taken away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from registry.lifecycle import Event
from router.policy import WHOLE, Policy
from serving.control.asked import Asked, Library, version_of
from serving.control.errors import Conflict, InUse, Unknown
from serving.control.keeper import Pools, PoolStore
from serving.control.operations import Operation, Performer, Tell
from serving.control.reconciler import DELETING, DEPLOY_FAILED
from serving.control.service import ControlService, Wanted, acknowledges, routed_in
from serving.control.usage import uses_in
from serving.control.wishes import ModelVersion, Wish, desired
from serving.endpoint import crashes_in
from serving.errors import StartFailed
from serving.pools import PoolKey, PoolSpec, PoolState

_LOOK_S = 0.25
_MOST_CRASHES = 3
_GONE_WITHIN_S = 180.0
_GATEWAYS_WITHIN_S = 30.0
_NO_GATEWAYS_S = 5.0

_REPLACES = "replaces"
"""What a promotion knows: the revision of the policy that it replaces."""
_MEMBERS = "members"
"""What a promotion knows: the gateways whose leases were alive when its policy was written."""


class Deployments:
    """Deploys, promotes and removes, for one installation.

    Args:
        service: publishes policies, and says what cannot be started.
        store: where wishes are kept.
        pools: where pools run; looked at, and asked to take away what has failed.
        library: where registered versions are.
        declared: the pools that the settings declare.
        patience_s: how long the replicas of a version may take to get ready.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        service: ControlService,
        store: PoolStore,
        pools: Pools,
        library: Library,
        declared: Sequence[PoolSpec],
        *,
        patience_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._store = store
        self._pools = pools
        self._declared = {spec.key: spec for spec in declared}
        self._asked = Asked(store, library, self._declared, service.source_of)
        self._patience_s = patience_s
        self._clock = clock

    def performers(self) -> Mapping[str, Performer]:
        """By kind of operation."""
        return {
            "deploy": Performer(self.deploy, self.check_deploy, self.take_back),
            "promote": Performer(self.promote, self.check_promote, self.take_back),
            "remove": Performer(self.remove, self.check_remove, self.withdraw),
        }

    # Deploying.

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
        spec = await self._brought_up(operation, tell)
        await self._settle(spec.key, operation)
        return {"model": spec.model, "version": spec.version, "digest": spec.digest, "replicas": spec.options.replicas}

    async def take_back(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """What was wished before is wished again, and the servers of this wish are gone; unless they have traffic."""
        key = version_of(operation)
        wish = await self._store.wish(*key)
        if wish is None or wish.operation != operation.id:
            return {}
        if await self._is_to_stay(wish, operation):
            await self._settle(key, operation)
            return {}
        await tell(f"taking {wish.spec} back")
        await self._unwish(wish, operation)
        after = desired(self._declared.values(), await self._store.wishes()).get(key)
        if after is None or after.digest != wish.spec.digest:
            await self._until_gone(lambda pool: pool == wish.spec.key_with_digest)
        if after is None:
            await self._asked.move(key, Event.WITHDRAW, operation)
        return {}

    async def _brought_up(self, operation: Operation, tell: Tell) -> PoolSpec:
        """Wishes the version and waits until its replicas are ready; the wish stays the operation's."""
        spec = await self._asked.spec(operation)
        await tell(f"starting servers for {spec}")
        wish = await self._wish(spec, operation)
        await self._clear_failed(spec.key_with_digest)
        await self._until_ready(wish, operation, tell)
        return spec

    async def _is_to_stay(self, wish: Wish, operation: Operation) -> bool:
        """Whether a policy sends requests to what was wished, and what was there before is not to answer them again."""
        try:
            policy = (await self._service.current(wish.spec.model)).policy
        except Unknown:
            return False
        if wish.spec.version not in routed_in(policy):
            return False
        has_flipped = _REPLACES in operation.known and _gives_all_to(policy, wish.spec.version)
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

    async def _settle(self, key: ModelVersion, operation: Operation) -> None:
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

    async def _clear_failed(self, pool: PoolKey) -> None:
        """An earlier attempt at the very same pool must not be taken for this one."""
        state = (await self._pools.states()).get(pool)
        if state is not None and state.state == DEPLOY_FAILED and not state.replicas_running:
            await self._pools.remove([pool])

    async def _until_ready(self, wish: Wish, operation: Operation, tell: Tell) -> None:
        spec = wish.spec
        until = self._clock() + self._patience_s
        wanted, told, running = spec.options.replicas, 0, 0
        while True:
            state = (await self._pools.states()).get(spec.key_with_digest)
            goes = spec.key in self._service.going or (state is not None and state.state == DELETING)
            running = state.replicas_running if state and not goes else 0
            if running >= wanted and await self._leased(spec.key) >= wanted:
                return
            await self._refuse_failed(wish, state, operation)
            if self._clock() >= until:
                waits = f": {state.message}" if state and state.message else ""
                raise StartFailed(
                    f"{running} of {wanted} replicas of {spec} were ready after {self._patience_s:g} s{waits}.",
                    "See that the cluster has room for them, and what the pool's log says.",
                )
            if running != told:
                await tell(f"{running} of {wanted} replicas of {spec} are ready")
                told = running
            await asyncio.sleep(_LOOK_S)

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

    # Promoting.

    async def check_promote(self, operation: Operation) -> None:
        """Refuses what can never take all of the traffic."""
        if operation.arguments.get("options") is not None or not await self._is_served(version_of(operation)):
            await self._asked.spec(operation)

    async def promote(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Gives the version all of the traffic, and, unless they are kept, ends the servers that get none any more.

        Raises:
            Conflict: it was begun again, and somebody has decided otherwise since its first run.
        """
        key = version_of(operation)
        await self._to_replace(operation)
        wish = await self._store.wish(*key)
        unsettled = wish is not None and wish.operation == operation.id
        asked = operation.arguments.get("options") is not None
        if unsettled or asked or not await self._is_served(key):
            await self._brought_up(operation, tell)
        members = await self._flip(operation, tell)
        await self._settle(key, operation)
        await tell("waiting until every gateway runs it")
        await self._until_acknowledged(*key, members)
        current = await self._service.current(key[0])
        result = {"model": key[0], "version": key[1], "revision": current.revision, "epoch": current.epoch}
        if operation.arguments.get("keep"):
            return {**result, "removed": [], "asleep": []}
        idle = sorted(set(current.policy.versions) - routed_in(current.policy))
        removed: list[int] = []
        asleep: list[int] = []
        for version in idle:
            one = (key[0], version)
            if await self._runs(one):
                await tell(f"draining {key[0]} version {version}, which gets no traffic any more")
                await self._end(one, operation)
                (asleep if one in self._declared else removed).append(version)
            elif not await self._is_wanted(one):
                await self._asked.move(one, Event.WITHDRAW, operation)  # where a control room was killed before it
        return {**result, "removed": removed, "asleep": asleep}

    async def _flip(self, operation: Operation, tell: Tell) -> frozenset[str]:
        """All traffic goes to the version; gives the gateways that were there when that was written."""
        model, version = version_of(operation)
        revision, policy = await self._to_replace(operation)
        if policy is not None and _gives_all_to(policy, version):
            return frozenset(operation.known.get(_MEMBERS, ()))
        # What this is to replace is written down first: an earlier decision it may overwrite, a later one it may not,
        # and a control room that is killed around here is followed by one that must tell the two apart.
        await tell(f"giving all traffic of {model} to version {version}", **{_REPLACES: revision})
        # Named without a share, a version keeps its place for a way back, and is found here after a restart.
        before = set(policy.shares()) - {version} if policy else set()
        had = {one for one in before if (policy and policy.shares()[one]) or await self._runs((model, one))}
        why = operation.why or f"promoted (operation {operation.id})"
        force = bool(operation.arguments.get("force"))
        wanted = Wanted(version, dict.fromkeys(sorted(had), 0))
        done = await self._service.set_policy(
            model, wanted, revision, who=operation.who, why=why, wait_s=0, force=force
        )
        await tell("the policy is published", **{_MEMBERS: sorted(done.members)})
        return done.members

    async def _to_replace(self, operation: Operation) -> tuple[int, Policy | None]:
        """The policy that the flip is to replace and its revision; 0 and None where there is none.

        Raises:
            Conflict: an earlier run was about to replace another one, and what is there now is not that run's either.
        """
        model, version = version_of(operation)
        try:
            current = await self._service.current(model)
        except Unknown:
            return 0, None
        earlier = operation.known.get(_REPLACES, current.revision)
        if earlier != current.revision and not _gives_all_to(current.policy, version):
            raise Conflict(model, earlier, current.revision, current.policy)
        return current.revision, current.policy

    async def _until_acknowledged(self, model: str, version: int, members: frozenset[str]) -> None:
        """Every gateway runs the head, also one whose lease has lapsed since: it may go on serving what it ran."""
        head = (await self._store.state()).head
        began = self._clock()
        follow: set[str] = set()
        while True:
            alive = await self._store.gateways()
            follow |= {lease.id for lease in alive if acknowledges(lease, head)}
            behind = {lease.id for lease in alive if not acknowledges(lease, head)}
            waiting = sorted(behind | (members - follow))
            waited_s = self._clock() - began
            # None at all may be between two leases: a moment's silence is no answer yet.
            if not waiting and (alive or waited_s >= _NO_GATEWAYS_S):
                return
            if waited_s >= _GATEWAYS_WITHIN_S:
                raise InUse(
                    f"All traffic of {model} goes to version {version}, but the gateway {waiting[0]} does not run that "
                    f"after {_GATEWAYS_WITHIN_S:g} s, so nothing was taken away.",
                    "See what holds it (GET /status says it), then promote again.",
                )
            await asyncio.sleep(_LOOK_S)

    # Removing.

    async def check_remove(self, operation: Operation) -> None:
        """Refuses while it is in use, and where there is nothing to remove.

        Raises:
            InUse: a policy gives it traffic, or it is stable.
            Unknown: it has no servers.
        """
        key = version_of(operation)
        await self._refuse_routed(key)
        if not await self._runs(key):
            raise Unknown(f"{key[0]} version {key[1]} is not deployed.", "GET /status shows what is.")

    async def remove(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Takes the wish away, and waits until the servers are drained and gone.

        Raises:
            InUse: a policy gives it traffic, or it is stable.
        """
        key = version_of(operation)
        await tell(f"draining {key[0]} version {key[1]}")
        await self._end(key, operation)
        return {"model": key[0], "version": key[1], "asleep": key in self._declared}

    async def withdraw(self, operation: Operation, _tell: Tell) -> Mapping[str, Any]:
        """A removal that was broken off: where the wish is gone already, the version serves no more."""
        key = version_of(operation)
        if not await self._is_wanted(key):
            await self._asked.move(key, Event.WITHDRAW, operation)
        return {}

    async def _end(self, key: ModelVersion, operation: Operation) -> None:
        """Nobody wants the version's servers any more, and they are gone. What the settings declare only sleeps."""
        await self._refuse_routed(key)
        taken: Wish | None = None
        while (wish := await self._store.wish(*key)) is not None:
            if await self._store.take_wish(wish, who=operation.who, why=operation.why or str(operation)):
                taken = wish
                break

        async def look() -> None:
            try:
                await self._refuse_routed(key)
            except InUse:
                # Somebody has given it traffic in this moment, and is right: a pool with traffic is not taken away.
                if taken is not None:
                    await self._store.put_wish(Wish(taken.spec), who=operation.who, why="it has got traffic meanwhile")
                raise
            if key in self._declared:
                await self._store.put_to_sleep(*key)

        await self._until_gone(lambda pool: pool[:2] == key, look)
        if key not in self._declared:
            await self._asked.move(key, Event.WITHDRAW, operation)

    async def _refuse_routed(self, key: ModelVersion) -> None:
        try:
            policy = (await self._service.current(key[0])).policy
        except Unknown:
            return
        if key[1] in routed_in(policy):
            users = uses_in(policy, *key) or ("A rule of its policy names it.",)
            raise InUse(
                f"{key[0]} version {key[1]} is in use: {' '.join(users)}", "Give its traffic to another version first."
            )

    # What all of them look at.

    async def _until_gone(
        self, those: Callable[[PoolKey], bool], look: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        until = self._clock() + _GONE_WITHIN_S
        while left := [pool for pool in await self._pools.states() if those(pool)]:
            if look is not None:
                await look()
            if self._clock() >= until:
                raise StartFailed(
                    f"The pool of {left[0].model} version {left[0].version} is still there after {_GONE_WITHIN_S:g} s.",
                    "Requests may still be under way; it is taken away as soon as they have ended.",
                )
            await asyncio.sleep(_LOOK_S)

    async def _is_served(self, key: ModelVersion) -> bool:
        """Whether it has replicas that stay, and enough of them where we start them."""
        if key in self._service.going:
            return False
        spec = desired(self._declared.values(), await self._store.wishes()).get(key)
        ready = await self._leased(key)
        return ready >= (spec.options.replicas if spec else 1)

    async def _is_wanted(self, key: ModelVersion) -> bool:
        return key in desired(self._declared.values(), await self._store.wishes())

    async def _runs(self, key: ModelVersion) -> bool:
        """Whether it is ours to end: wished, or with a pool that is there."""
        there = any(pool[:2] == key for pool in await self._pools.states())
        return there or await self._store.wish(*key) is not None

    async def _leased(self, key: ModelVersion) -> int:
        return sum((one.model, one.version) == key for one in await self._store.endpoints())


def _gives_all_to(policy: Policy, version: int) -> bool:
    return policy.stable == version and policy.shares()[version] == WHOLE


def _sentence(words: str) -> str:
    cut = " ".join(words.split())[:1_500].rstrip(" :")
    return cut if cut.endswith((".", "!", "?")) else f"{cut}."
