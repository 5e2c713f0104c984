"""Pools as applications of Ray Serve: one for each version of a model, each replica a tritonserver of its own.

Serve places, checks, replaces and drains the replicas; no prediction goes through a handle. An application is named
after its pool's digest, so that a pool with other options is another application, and the two can run side by side;
adding one touches no other. Its code version is the digest too: all that can differ between two deployments of one
application is the number of replicas, and so Serve leaves those alone that run.

A trial is an actor beside Serve, which dies with whoever asked for it. This is the only file of this folder that knows
Ray; what a replica does is `replica.py`'s, what a trial does `trial.py`'s, and how Serve's words are read
`serve_status.py`'s.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray import serve
from ray.serve.context import _get_global_client

from serving.control.store import connect
from serving.errors import SluiceError, StartFailed
from serving.kinds import EACH_NODES_OWN, is_of_a_pod
from serving.pools import PoolKey, PoolSpec, PoolState, Tried
from serving.settings import Settings
from serving.triton.arguments import PoolArguments, missing_gpu, read
from serving.triton.layout import ArtifactRefused
from serving.triton.replica import EndpointLeases, Replica
from serving.triton.serve_status import is_pool, name_of, states_in
from serving.triton.trial import tried

__all__ = ["EndpointLeases", "ServePools", "TritonReplica", "build_pool", "is_pool", "refuse_missing_gpu"]

DEPLOYMENT = "triton"

# Below what the kernel gives to outgoing connections: a client that dials a port which is just free could get that
# very port as its own, and so be connected to itself.
_ANY_PORT = range(10_000, 32_000)

_CONTROL_CALLS = 16
"""How many calls through handles a replica takes at once. They carry control only."""

_AFTER_DRAIN_S = 5.0
"""What Serve waits beyond the longest drain, before it kills."""

_REMOVED_WITHIN_S = 120.0
_ROOM_WITHIN_S = 30.0
"""How long a trial waits for the cluster at least; where servers are given longer to get ready, as long as that."""

_LOOK_S = 0.1
_EVERY_INTERFACE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound, here


class TritonReplica:
    """One replica, as Ray Serve runs it.

    Serve awaits a constructor that is a coroutine, and calls it on the thread of its user loop, which lives as long
    as the process: the one from which a child may be started (`serving.child`).
    """

    async def __init__(self, arguments: Mapping[str, Any]) -> None:  # type: ignore[misc]
        """Returns once the model answers; the arguments are those of `PoolArguments`."""
        self._replica: Replica | None = None
        pool = _placed(arguments)
        self._starting = asyncio.create_task(Replica.start(pool, _leases(pool), _advertised(pool), _die))
        self._replica = await self._starting

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
        starting: asyncio.Task[Replica] | None = getattr(self, "_starting", None)
        if starting is None:
            return
        starting.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await (await starting).stop()


class Trial:
    """One trial, as a Ray actor runs it."""

    async def run(self, arguments: Mapping[str, Any]) -> AsyncIterator[tuple[str, Any]]:
        """What is being done, as ("doing", words); at last ("tried", Tried), or ("refused", (class, sentence, hint)).

        Nothing of ours is raised across processes: it would arrive as an error of Ray's.
        """
        yield "doing", "starting"
        words: asyncio.Queue[str | None] = asyncio.Queue()
        trial = asyncio.create_task(tried(_placed(arguments), words.put_nowait))
        trial.add_done_callback(lambda _: words.put_nowait(None))
        while (said := await words.get()) is not None:
            yield "doing", said
        try:
            yield "tried", await trial
        except SluiceError as error:
            yield "refused", (type(error).__name__, error.sentence, error.hint)


def build_pool(arguments: Mapping[str, Any], replicas: int = 1) -> serve.Application:
    """The application of one version.

    Args:
        arguments: those of `PoolArguments`, as plain JSON.
        replicas: how many.

    Raises:
        SettingsError: an argument is unknown, missing or not allowed.
    """
    pool = read(arguments)
    as_deployment = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=replicas,
        ray_actor_options=_resources(pool),
        max_ongoing_requests=_CONTROL_CALLS,
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=pool.drain_delay_s + pool.drain_limit_s + pool.lease_s + _AFTER_DRAIN_S,
    )
    # Serve makes up a code version for each deployment, and replaces every replica that has another one. Its own way
    # to change the number alone is open to the dashboard's REST interface only.
    pinned = as_deployment(TritonReplica).options(version=pool.spec.digest, _internal=True)
    return pinned.bind(pool.plain())


class ServePools:
    """All pools of one installation on the connected cluster: the conductor's hands.

    Args:
        settings: of the installation.
        redis_url: where the replicas hold their leases.
    """

    def __init__(self, settings: Settings, redis_url: str) -> None:
        self._settings = settings
        self._redis_url = redis_url

    async def deploy(self, pools: Sequence[tuple[PoolSpec, int]]) -> None:
        """Starts these pools together, each with so many replicas, or scales those in place that are there.

        Serve brings them up by itself. One that has failed (DEPLOY_FAILED) is not begun again by this: remove it first.

        Raises:
            StartFailed: the cluster has no GPU for one of them.
        """
        await asyncio.to_thread(refuse_missing_gpu, [spec for spec, _ in pools])
        targets = [
            serve.RunTarget(
                target=build_pool(self.arguments(spec).plain(), replicas),
                name=name_of(spec.key_with_digest),
                route_prefix=None,
            )
            for spec, replicas in pools
        ]
        await asyncio.to_thread(
            serve.run_many, targets, wait_for_applications_running=False, wait_for_ingress_deployment_creation=False
        )

    async def states(self) -> Mapping[PoolKey, PoolState]:
        """Every pool that Serve knows."""
        return await asyncio.to_thread(_states)

    async def remove(self, pools: Sequence[PoolKey]) -> None:
        """Drains these pools and returns when they are gone; one that is not there is gone.

        Raises:
            StartFailed: Serve does not get rid of one.
        """
        for key in pools:
            await asyncio.to_thread(serve.delete, name_of(key), _blocking=False)
        deadline = asyncio.get_running_loop().time() + _REMOVED_WITHIN_S
        while left := [key for key in await self.states() if key in pools]:
            if asyncio.get_running_loop().time() > deadline:
                names = ", ".join(f"{key.model} version {key.version}" for key in left)
                raise StartFailed(f"Ray Serve has not removed {names} within {_REMOVED_WITHIN_S:g} s.")
            await asyncio.sleep(_LOOK_S)

    async def try_out(self, spec: PoolSpec, tell: Callable[[str], None]) -> Tried:
        """What a server of this is like, found out beside Serve with the CPUs and GPUs of one of its replicas.

        Args:
            spec: what to try.
            tell: is told what is being done, one line each time.

        Raises:
            ArtifactRefused: the version cannot be served, or is not what was registered.
            StartFailed: it did not come up, or does not answer, or the cluster has no room.
        """
        await asyncio.to_thread(refuse_missing_gpu, [spec])
        pool = self.arguments(spec)
        actor: Any = ray.remote(Trial).options(**_resources(pool), max_restarts=0).remote()
        try:
            room_within_s = max(_ROOM_WITHIN_S, pool.ready_timeout_s)
            return await _outcome(spec, actor.run.remote(pool.plain()), tell, room_within_s)
        except ray.exceptions.RayError as error:
            raise StartFailed(f"The trial of {spec} was broken off: {_first_line(error)}.", "Try it again.") from error
        finally:
            ray.kill(actor)

    def arguments(self, wanted: PoolSpec) -> PoolArguments:
        """What each replica of that pool is told."""
        settings = self._settings
        ports = settings.triton.port_range
        return PoolArguments(
            model=wanted.model,
            version=wanted.version,
            path=wanted.path,
            artifact=wanted.artifact,
            artifacts=_artifacts(settings) if wanted.artifact else "",
            kind=wanted.kind,
            signature=wanted.signature,
            example=wanted.example,
            allow_pickle=settings.registry.allow_pickle,
            options=wanted.options.model_dump(mode="json", exclude_unset=True),
            state_dir=str(settings.state_dir / "triton"),
            redis_url=self._redis_url,
            redis_namespace=settings.redis.namespace,
            lease_s=settings.redis.lease_s,
            host=settings.triton.host,
            first_port=ports.low or _ANY_PORT.start,
            last_port=ports.high or _ANY_PORT.stop - 1,
            ready_timeout_s=settings.triton.ready_timeout_s,
            binary=None if settings.triton.binary is None else str(settings.triton.binary),
            log_dir=str(settings.state_dir / "logs"),
        )


def refuse_missing_gpu(pools: Iterable[PoolSpec]) -> None:
    """Refuses pools that the connected Ray cluster has no GPU for; Serve would wait for one without a word.

    Raises:
        StartFailed: with a sentence for the first of them.
    """
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for pool in pools:
        if sentence := missing_gpu(pool.model, pool.version, pool.options.gpus, resources):
            raise StartFailed(sentence)


def _states() -> Mapping[PoolKey, PoolState]:
    client = _get_global_client(raise_if_no_controller_running=False)
    return {} if client is None else states_in(client.get_serve_details())


async def _outcome(spec: PoolSpec, said: Any, tell: Callable[[str], None], room_within_s: float) -> Tried:  # noqa: ANN401 - Ray's generator
    """What the trial came to. An actor that finds no room does not even begin."""
    try:
        async with asyncio.timeout(room_within_s) as room:
            async for reference in said:
                room.reschedule(None)
                what, value = await reference
                if what == "doing":
                    tell(value)
                elif what == "tried" and isinstance(value, Tried):
                    return value
                elif what == "refused":
                    name, sentence, hint = value
                    raise (ArtifactRefused if name == ArtifactRefused.__name__ else StartFailed)(sentence, hint)
    except TimeoutError as error:
        raise StartFailed(
            f"The cluster had no room for a trial of {spec} within {room_within_s:g} s.",
            "Free some, or give Ray more CPUs or GPUs.",
        ) from error
    raise StartFailed(f"The trial of {spec} ended without a result.", "Try it again.")


def _resources(pool: PoolArguments) -> dict[str, float]:
    """What Ray reserves for one server."""
    return {"num_cpus": pool.num_cpus} | ({"num_gpus": pool.how.gpus} if pool.how.gpus else {})


def _artifacts(settings: Settings) -> str:
    """The address of the artifact store."""
    return settings.registry.artifacts or str(settings.state_dir / "artifacts")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _leases(pool: PoolArguments) -> EndpointLeases:
    """Where this pool's replicas hold their leases."""
    return connect(pool.redis_url, pool.redis_namespace)


def _placed(arguments: Mapping[str, Any]) -> PoolArguments:
    """What a replica is told, on the node that it has come to.

    Raises:
        StartFailed: Triton would have to bind an address that everybody reaches.
    """
    pool = read(arguments)
    if pool.host != EACH_NODES_OWN:
        return pool
    host = node_address()
    if not is_of_a_pod(host):
        raise StartFailed(
            f"Ray knows this node by {host}, which is no private address, and Triton asks nobody for a key.",
            "Start its Ray with --node-ip-address, or name an address as triton.host.",
        )
    return replace(pool, host=host)


def node_address() -> str:
    """By which address Ray knows this node."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _advertised(pool: PoolArguments) -> str:
    """The host under which gateways reach this replica."""
    if pool.host not in _EVERY_INTERFACE:
        return pool.host
    return node_address()


def _die() -> None:
    """At once, without the interpreter's goodbyes: Serve sees the actor gone and starts another."""
    os._exit(1)
