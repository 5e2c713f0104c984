"""A pool as an application of Ray Serve: one version of one model, each replica a tritonserver of its own.

Serve places, checks, replaces and drains the replicas; no prediction goes through a handle. One application for each
version, so that adding a version touches no other. This is the only file of this folder that knows Ray. What a
replica does is `replica.py`'s.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray import serve

from serving.control.store import connect
from serving.errors import StartFailed
from serving.triton.arguments import PoolArguments, missing_gpu, read
from serving.triton.replica import EndpointLeases, Replica

__all__ = ["EndpointLeases", "TritonReplica", "build_pool", "refuse_missing_gpu"]

DEPLOYMENT = "triton"
_CONTROL_CALLS = 16
"""How many calls through handles a replica takes at once. They carry control only."""

_AFTER_DRAIN_S = 5.0
"""What Serve waits beyond the longest drain, before it kills."""

_EVERY_INTERFACE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound, here


class TritonReplica:
    """One replica, as Ray Serve runs it.

    Serve awaits a constructor that is a coroutine, and calls it on the thread of its user loop, which lives as long
    as the process: the one from which a child may be started (`serving.child`).
    """

    async def __init__(self, arguments: Mapping[str, Any]) -> None:  # type: ignore[misc]
        """Returns once the model answers; the arguments are those of `PoolArguments`."""
        self._replica: Replica | None = None
        pool = read(arguments)
        self._replica = await Replica.start(pool, _leases(pool), _advertised(pool), _die)

    async def check_health(self) -> None:
        """For Serve: raises where the replica should be replaced."""
        if self._replica is not None:
            self._replica.check()

    async def describe(self) -> dict[str, Any]:
        """For status pages: the endpoint, and what Triton has counted."""
        if self._replica is None:
            return {}
        return {"endpoint": self._replica.endpoint.encode(), "statistics": await self._replica.statistics()}

    async def __del__(self) -> None:
        """Serve's goodbye, awaited within the graceful timeout."""
        # Serve says goodbye to a replica whose constructor has not returned, too.
        replica, self._replica = getattr(self, "_replica", None), None
        if replica is not None:
            await replica.stop()


def build_pool(arguments: Mapping[str, Any]) -> serve.Application:
    """The application of one version; the arguments are those of `PoolArguments`, as plain JSON.

    Raises:
        SettingsError: an argument is unknown, missing or not allowed.
    """
    pool = read(arguments)
    options = {"num_cpus": pool.num_cpus} | ({"num_gpus": pool.gpus} if pool.gpus else {})
    as_deployment = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=pool.replicas,
        ray_actor_options=options,
        max_ongoing_requests=_CONTROL_CALLS,
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=pool.drain_delay_s + pool.drain_limit_s + pool.lease_s + _AFTER_DRAIN_S,
    )
    return as_deployment(TritonReplica).bind(pool.plain())


def refuse_missing_gpu(pools: Iterable[PoolArguments]) -> None:
    """Refuses pools that the connected Ray cluster has no GPU for; Serve would wait for one without a word.

    Raises:
        StartFailed: with a sentence for the first of them.
    """
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for pool in pools:
        if sentence := missing_gpu(pool, resources):
            raise StartFailed(sentence)


def _leases(pool: PoolArguments) -> EndpointLeases:
    """Where this pool's replicas hold their leases."""
    return connect(pool.redis_url, pool.redis_namespace)


def _advertised(pool: PoolArguments) -> str:
    """The host under which gateways reach this replica."""
    if pool.host not in _EVERY_INTERFACE:
        return pool.host
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _die() -> None:
    """At once, without the interpreter's goodbyes: Serve sees the actor gone and starts another."""
    os._exit(1)
