"""Pools as applications of Ray Serve: one for each version of a model, each replica a tritonserver of its own.

Serve places, checks, replaces and drains the replicas; no prediction goes through a handle. One application for each
version, so that adding a version touches no other. This is the only file of this folder that knows Ray. What a
replica does is `replica.py`'s.
"""

import asyncio
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray
from ray import serve
from ray.serve.schema import DeploymentStatusOverview

from serving.control.service import PoolState
from serving.control.store import connect
from serving.errors import StartFailed
from serving.pools import PoolSpec
from serving.settings import Settings
from serving.triton.arguments import PoolArguments, missing_gpu, read
from serving.triton.replica import EndpointLeases, Replica

__all__ = ["EndpointLeases", "ServePools", "TritonReplica", "build_pool", "is_pool", "refuse_missing_gpu"]

DEPLOYMENT = "triton"
_PREFIX = "sluice-pool:"
_OUR_ERROR = re.compile(r"^serving\.[\w.]+: (.+)$", re.MULTILINE)

# Below what the kernel gives to outgoing connections: a client that dials a port which is just free could get that
# very port as its own, and so be connected to itself.
_ANY_PORT = range(10_000, 32_000)

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


class ServePools:
    """All pools of one installation on the connected cluster: the conductor's hands.

    Args:
        settings: of the installation.
        redis_url: where the replicas hold their leases.
    """

    def __init__(self, settings: Settings, redis_url: str) -> None:
        self._settings = settings
        self._redis_url = redis_url

    async def deploy(self, versions: Sequence[PoolSpec]) -> None:
        """Starts these pools together; Serve brings them up by itself.

        Raises:
            StartFailed: the cluster has no GPU for one of them.
        """
        refuse_missing_gpu(versions)
        await asyncio.to_thread(_run, [self._arguments(version) for version in versions])

    async def states(self) -> Mapping[tuple[str, int], PoolState]:
        """Every pool that Serve knows."""
        return await asyncio.to_thread(_states)

    async def remove(self, versions: Sequence[tuple[str, int]]) -> None:
        """Takes these pools away."""
        for model, version in versions:
            await asyncio.to_thread(serve.delete, _name(model, version))

    def _arguments(self, wanted: PoolSpec) -> PoolArguments:
        settings, options = self._settings, wanted.options
        ports = settings.triton.port_range
        return PoolArguments(
            model=wanted.model,
            version=wanted.version,
            path=wanted.path,
            state_dir=str(settings.state_dir / "triton"),
            redis_url=self._redis_url,
            redis_namespace=settings.redis.namespace,
            lease_s=settings.redis.lease_s,
            device=options.device,
            replicas=options.replicas,
            num_gpus=options.gpus or 1.0,
            instance_count=options.instance_count,
            max_batch_size=options.max_batch_size,
            host=settings.triton.host,
            first_port=ports.low or _ANY_PORT.start,
            last_port=ports.high or _ANY_PORT.stop - 1,
            ready_timeout_s=settings.triton.ready_timeout_s,
            binary=None if settings.triton.binary is None else str(settings.triton.binary),
            log_dir=str(settings.state_dir / "logs"),
        )


def is_pool(application: str) -> bool:
    """Whether a Serve application of this name is a pool of ours."""
    return application.startswith(_PREFIX)


def refuse_missing_gpu(pools: Iterable[PoolSpec]) -> None:
    """Refuses pools that the connected Ray cluster has no GPU for; Serve would wait for one without a word.

    Raises:
        StartFailed: with a sentence for the first of them.
    """
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for pool in pools:
        if sentence := missing_gpu(pool.model, pool.version, pool.options.gpus, resources):
            raise StartFailed(sentence)


def _run(pools: Sequence[PoolArguments]) -> None:
    targets = [
        serve.RunTarget(target=build_pool(pool.plain()), name=_name(pool.model, pool.version), route_prefix=None)
        for pool in pools
    ]
    serve.run_many(targets, wait_for_applications_running=False, wait_for_ingress_deployment_creation=False)


def _states() -> dict[tuple[str, int], PoolState]:
    states: dict[tuple[str, int], PoolState] = {}
    for name, status in serve.status().applications.items():
        if is_pool(name):
            model, _, version = name.removeprefix(_PREFIX).rpartition(":")
            reason = next(map(_reason_in, status.deployments.values()), "") or status.message
            states[model, int(version)] = PoolState(model, int(version), status.status.value, reason)
    return states


def _reason_in(status: DeploymentStatusOverview) -> str:
    """Our own sentence, where Serve's message holds the traceback of an error of ours; else all of it."""
    found = _OUR_ERROR.findall(status.message)
    return found[-1].strip() if found else status.message


def _name(model: str, version: int) -> str:
    return f"{_PREFIX}{model}:{version}"


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
