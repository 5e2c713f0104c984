"""Pools in memory, for tests of whatever stands on the port `Pools`: they start when they are told to, and hold leases.

Serve's side is told with `failing`, `refused` and `hanging`; time does not pass by itself, `work` lets everything that
can come up come up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from registry.signature import TensorSpec
from serving.control.reconciler import DELETING, DEPLOY_FAILED
from serving.endpoint import Endpoint, Load
from serving.errors import StartFailed
from serving.pools import PoolKey, PoolSpec, PoolState, Tried

_LEASE_S = 1e6


class Leases(Protocol):
    """Where replicas say that they serve."""

    async def hold(self, endpoint: Endpoint, ttl_s: float, load: Load | None = None) -> None:
        """Takes or renews an endpoint's lease."""

    async def drop(self, endpoint: Endpoint) -> None:
        """Gives it back."""


class FakePools:
    """All pools of one installation, without Ray.

    Args:
        leases: where their replicas hold leases; None for nowhere.
        at_once: whether what is deployed works at once, without `work`.
    """

    def __init__(self, leases: Leases | None = None, *, at_once: bool = False) -> None:
        self._leases = leases
        self._at_once = at_once
        self.there: dict[PoolKey, PoolState] = {}
        self.specs: dict[PoolKey, PoolSpec] = {}
        self.failing: dict[PoolKey, str] = {}
        """Pools that do not come up, and what they say."""
        self.refused: dict[PoolKey, str] = {}
        """Pools that cannot even be asked for."""
        self.hanging: set[PoolKey] = set()
        """Pools that neither come up nor fail."""
        self.done: list[str] = []
        """What was asked of it, in order."""
        self.open = asyncio.Event()
        """While it is clear, every call waits."""
        self.open.set()
        self.drained = asyncio.Event()
        """While it is clear, what is removed goes on draining."""
        self.drained.set()
        self.throughput: float | None = None
        self._ports: dict[PoolKey, list[Endpoint]] = {}
        self._next_port = 10_000

    async def deploy(self, pools: Sequence[tuple[PoolSpec, int]]) -> None:
        """Starts or scales them."""
        await self.open.wait()
        for spec, _ in pools:
            if spec.key_with_digest in self.refused:
                raise StartFailed(self.refused[spec.key_with_digest])
        for spec, count in pools:
            key = spec.key_with_digest
            self.done.append(f"deploy {key.model}/{key.version} {key.digest} {count}")
            there = self.there.get(key, PoolState(key, "DEPLOYING"))
            self.there[key] = replace(there, state="DEPLOYING", replicas_wanted=count)
            self.specs[key] = spec
        if self._at_once:
            await self.work()

    async def states(self) -> Mapping[PoolKey, PoolState]:
        """Those that are there."""
        await self.open.wait()
        return dict(self.there)

    async def remove(self, pools: Sequence[PoolKey]) -> None:
        """Drains them: the leases go first."""
        await self.open.wait()
        for key in pools:
            if key in self.there:
                self.done.append(f"remove {key.model}/{key.version} {key.digest}")
                self.there[key] = replace(self.there[key], state=DELETING)
                await self._hold(key, 0)
        await self.drained.wait()
        for key in pools:
            self.there.pop(key, None)

    async def try_out(self, spec: PoolSpec, tell: Callable[[str], None]) -> Tried:
        """Says that it worked, unless it is to fail."""
        tell(f"trying {spec}")
        if spec.key_with_digest in self.failing:
            raise StartFailed(self.failing[spec.key_with_digest])
        tensor = TensorSpec("x", "FP32", (1,))
        return Tried((tensor,), (replace(tensor, name="y"),), "", 1.0, 100.0)

    async def work(self) -> None:
        """Whatever can come up has come up."""
        for key, state in list(self.there.items()):
            if state.state == DELETING or key in self.hanging:
                continue
            if key in self.failing:
                self.there[key] = replace(state, state=DEPLOY_FAILED, message=self.failing[key], replicas_running=0)
                continue
            self.there[key] = replace(state, state="RUNNING", message="", replicas_running=state.replicas_wanted)
            await self._hold(key, state.replicas_wanted)

    async def lose(self, key: PoolKey) -> None:
        """All replicas of a pool die."""
        self.there[key] = replace(self.there[key], state="UNHEALTHY", replicas_running=0)
        await self._hold(key, 0)

    async def _hold(self, key: PoolKey, count: int) -> None:
        held = self._ports.setdefault(key, [])
        while len(held) < count:
            self._next_port += 1
            held.append(Endpoint("127.0.0.1", self._next_port, 0, key.model, key.version))
            if self._leases is not None:
                await self._leases.hold(held[-1], _LEASE_S, Load(throughput=self.throughput))
        while len(held) > count:
            endpoint = held.pop()
            if self._leases is not None:
                await self._leases.drop(endpoint)
