"""What the long work on pools looks at: what runs, who is sent to it, and whether it has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from serving.control.errors import InUse, Unknown
from serving.control.ports import Pools, PoolStore
from serving.control.service import ControlService, routed_in
from serving.control.usage import uses_in
from serving.control.wishes import ModelVersion, desired
from serving.errors import StartFailed
from serving.pools import PoolKey, PoolSpec

_LOOK_S = 0.25
_GONE_WITHIN_S = 180.0


class Standing:
    """How versions stand, in one installation; and all that tells it.

    Attributes:
        service: knows policies, and which versions are being drained.
        store: where wishes and leases are kept.
        pools: where pools run.
        declared: the pools that the settings declare, by (model, version).
        now_s: seconds that only go forward.
    """

    def __init__(
        self,
        service: ControlService,
        store: PoolStore,
        pools: Pools,
        declared: Mapping[ModelVersion, PoolSpec],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.store = store
        self.pools = pools
        self.declared = declared
        self.now_s = clock

    async def pause(self) -> None:
        """Between two looks."""
        await asyncio.sleep(_LOOK_S)

    async def is_served(self, key: ModelVersion) -> bool:
        """Whether it has replicas that stay, and enough of them where we start them."""
        if key in self.service.going:
            return False
        spec = desired(self.declared.values(), await self.store.wishes()).get(key)
        ready = await self.leased(key)
        return ready >= (spec.options.replicas if spec else 1)

    async def is_wanted(self, key: ModelVersion) -> bool:
        """Whether the settings declare it, or somebody wishes it."""
        return key in desired(self.declared.values(), await self.store.wishes())

    async def runs(self, key: ModelVersion) -> bool:
        """Whether it is ours to end: wished, or with a pool that is there."""
        there = any(pool[:2] == key for pool in await self.pools.states())
        return there or await self.store.wish(*key) is not None

    async def leased(self, key: ModelVersion) -> int:
        """How many endpoints it has."""
        return sum((one.model, one.version) == key for one in await self.store.endpoints())

    async def refuse_routed(self, key: ModelVersion) -> None:
        """Refuses to go on with a version that has traffic, or that a rollout needs.

        Raises:
            InUse: a policy gives it some, or it is stable, or a rollout may come to it or go back to it.
        """
        if key in self.service.traffic.kept:
            raise InUse(
                f"{key[0]} version {key[1]} is in use: a rollout of {key[0]} that is in progress needs it.",
                "Promote that rollout or roll it back first.",
            )
        try:
            policy = (await self.service.current(key[0])).policy
        except Unknown:
            return
        if key[1] in routed_in(policy):
            users = uses_in(policy, *key) or ("A rule of its policy names it.",)
            raise InUse(
                f"{key[0]} version {key[1]} is in use: {' '.join(users)}", "Give its traffic to another version first."
            )

    async def until_gone(
        self, those: Callable[[PoolKey], bool], look: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Waits until none of those pools is there.

        Args:
            those: which.
            look: called between two looks; what it raises ends the waiting.

        Raises:
            StartFailed: they do not go.
        """
        until = self.now_s() + _GONE_WITHIN_S
        while left := [pool for pool in await self.pools.states() if those(pool)]:
            if look is not None:
                await look()
            if self.now_s() >= until:
                raise StartFailed(
                    f"The pool of {left[0].model} version {left[0].version} is still there after {_GONE_WITHIN_S:g} s.",
                    "Requests may still be under way; it is taken away as soon as they have ended.",
                )
            await self.pause()
