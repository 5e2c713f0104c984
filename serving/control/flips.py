"""Promoting: a version gets all of the traffic, and what gets none any more is ended.

A flip is a policy that every gateway has acknowledged before anything is taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.lifecycle import Event
from router.policy import Policy
from serving.control.asked import Asked, version_of
from serving.control.errors import Conflict, InUse, Unknown
from serving.control.operations import Operation, Tell
from serving.control.removals import Removals
from serving.control.service import Wanted, acknowledges, routed_in
from serving.control.standing import Standing
from serving.control.starts import REPLACES, Starts, gives_all_to

_GATEWAYS_WITHIN_S = 30.0
_NO_GATEWAYS_S = 5.0

_MEMBERS = "members"
"""What a promotion knows: the gateways whose leases were alive when its policy was written."""


class Flips:
    """Promotes versions, for one installation.

    Args:
        standing: how versions stand, and where that is written.
        asked: what operations ask for.
        starts: starts what is not there yet.
        removals: ends what has no traffic any more.
    """

    def __init__(self, standing: Standing, asked: Asked, starts: Starts, removals: Removals) -> None:
        self._standing = standing
        self._service = standing.service
        self._store = standing.store
        self._declared = standing.declared
        self._asked = asked
        self._starts = starts
        self._removals = removals

    async def check_promote(self, operation: Operation) -> None:
        """Refuses what can never take all of the traffic."""
        if operation.arguments.get("options") is not None or not await self._standing.is_served(version_of(operation)):
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
        if unsettled or asked or not await self._standing.is_served(key):
            await self._starts.brought_up(operation, tell)
        members = await self._flip(operation, tell)
        await self._starts.settle(key, operation)
        await tell("waiting until every gateway runs it")
        await self._until_acknowledged(*key, members)
        current = await self._service.current(key[0])
        result = {"model": key[0], "version": key[1], "revision": current.revision, "epoch": current.epoch}
        if operation.arguments.get("keep"):
            return {**result, "removed": [], "asleep": []}
        ended = await self._end_idle(key[0], current.policy, operation, tell)
        asleep = [version for version in ended if (key[0], version) in self._declared]
        return {**result, "removed": [version for version in ended if version not in asleep], "asleep": asleep}

    async def _end_idle(self, model: str, policy: Policy, operation: Operation, tell: Tell) -> list[int]:
        """Ends the servers of the versions that the policy names and gives nothing; which they were."""
        ended = []
        for version in sorted(set(policy.versions) - routed_in(policy)):
            one = (model, version)
            if await self._standing.runs(one):
                await tell(f"draining {model} version {version}, which gets no traffic any more")
                await self._removals.end(one, operation)
                ended.append(version)
            elif not await self._standing.is_wanted(one):
                await self._asked.move(one, Event.WITHDRAW, operation)  # where a control room was killed before it
        return ended

    async def _flip(self, operation: Operation, tell: Tell) -> frozenset[str]:
        """All traffic goes to the version; gives the gateways that were there when that was written."""
        model, version = version_of(operation)
        revision, policy = await self._to_replace(operation)
        if policy is not None and gives_all_to(policy, version):
            return frozenset(operation.known.get(_MEMBERS, ()))
        # What this is to replace is written down first: an earlier decision it may overwrite, a later one it may not,
        # and a control room that is killed around here is followed by one that must tell the two apart.
        await tell(f"giving all traffic of {model} to version {version}", **{REPLACES: revision})
        # Named without a share, a version keeps its place for a way back, and is found here after a restart.
        before = set(policy.shares()) - {version} if policy else set()
        had = {one for one in before if (policy and policy.shares()[one]) or await self._standing.runs((model, one))}
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
        earlier = operation.known.get(REPLACES, current.revision)
        if earlier != current.revision and not gives_all_to(current.policy, version):
            raise Conflict(model, earlier, current.revision, current.policy)
        return current.revision, current.policy

    async def _until_acknowledged(self, model: str, version: int, members: frozenset[str]) -> None:
        """Every gateway runs the head, also one whose lease has lapsed since: it may go on serving what it ran."""
        head = (await self._store.state()).head
        began = self._standing.now_s()
        follow: set[str] = set()
        while True:
            alive = await self._store.applied()
            running = {name for name, applied in alive.items() if acknowledges(applied, head)}
            follow |= running
            behind = alive.keys() - running
            waiting = sorted(behind | (members - follow))
            waited_s = self._standing.now_s() - began
            # None at all may be between two leases: a moment's silence is no answer yet.
            if not waiting and (alive or waited_s >= _NO_GATEWAYS_S):
                return
            if waited_s >= _GATEWAYS_WITHIN_S:
                raise InUse(
                    f"All traffic of {model} goes to version {version}, but the gateway {waiting[0]} does not run that "
                    f"after {_GATEWAYS_WITHIN_S:g} s, so nothing was taken away.",
                    "See what holds it (GET /status says it), then promote again.",
                )
            await self._standing.pause()
