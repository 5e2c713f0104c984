"""Sluice as an application of Ray Serve: the gateway of each node, and the control room.

Serve places, checks and replaces the replicas; no prediction passes through it. `build` works with `serve run` and
`serve deploy`; `deploy` and `remove` are what `sluice up` calls. Inside Ray, `serve.get_app_handle("sluice").infer(…)`
asks the listener like any other client. What a replica does is written in `gateway/` and `control/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import uvicorn
from ray import serve
from ray.serve.handle import DeploymentHandle

from registry.artifacts import ArtifactStore
from registry.roots import Roots
from registry.service import Registry
from registry.store import connect as connect_registry
from serving.control.api import Workshop, create_app
from serving.control.conductor import Conductor, declared_pools
from serving.control.deploying import Deployments
from serving.control.operations import Operations
from serving.control.probe import TritonProbe
from serving.control.registering import performers
from serving.control.service import ControlService, declared_in
from serving.control.store import Store, connect
from serving.control.threads import on_artifacts
from serving.control.usage import Routable, Usage
from serving.errors import SettingsError, SluiceError, StartFailed
from serving.gateway.config import WorkerConfig
from serving.gateway.supervisor import Supervisor
from serving.settings import Settings, load_settings
from serving.sockets import ask_for, open_listener
from serving.triton.pool import ServePools, is_pool, refuse_missing_gpu

APP = "sluice"
_CPUS = 0.1
_CALLS_AT_ONCE = 100
_GRACE_S = 5.0
_STARTS = 4
"""How many times as long as one server may take all replicas of a version may take to get ready."""


@dataclass(frozen=True)
class Installation:
    """What the replicas are told.

    Attributes:
        settings: all of them; each reads its part.
        redis_url: the store's address, with its password.
        handover: path of the Unix socket that gives the listening sockets; empty where a replica opens its own.
        boot: names this start; a replica that takes another's place has the same.
    """

    settings: Settings
    redis_url: str
    handover: str = ""
    boot: str = field(default_factory=lambda: secrets.token_hex(8))


def build(arguments: Mapping[str, str]) -> serve.Application:
    """The application, for `serve run serving.graph:build config=sluice.yaml`.

    Args:
        arguments: `config`, the settings file; without it `sluice.yaml`, if there is one.

    Raises:
        SettingsError: the settings have mistakes, or name no Redis.
    """
    if unknown := sorted(arguments.keys() - {"config"}):
        raise SettingsError(f"The application takes no argument {unknown[0]!r}.", "It takes config=<settings file>.")
    settings = load_settings(Path(arguments["config"]) if "config" in arguments else None)
    if settings.redis.url is None:
        raise SettingsError(
            "Under `serve run` the store must be somebody's: redis.url is missing.",
            "The embedded Valkey comes with `sluice up` only; name a Redis, as in redis://:password@host:6379/0.",
        )
    return application(Installation(settings, settings.redis.url.get_secret_value()))


def application(installation: Installation) -> serve.Application:
    """The gateway and the control room, bound.

    Raises:
        StartFailed: a pool is to run on a GPU, and the connected cluster has none.
    """
    refuse_missing_gpu(declared_pools(installation.settings.models))
    drain = installation.settings.gateway
    grace_s = drain.drain_delay_s + drain.drain_limit_s + _GRACE_S
    options: dict[str, Any] = {
        "num_replicas": 1,
        "ray_actor_options": {"num_cpus": _CPUS},
        "max_ongoing_requests": _CALLS_AT_ONCE,
        "health_check_period_s": 1.0,
        "health_check_timeout_s": 10.0,
        "graceful_shutdown_wait_loop_s": 0.1,
    }
    # Serve sees none of the gateway's traffic, so it has nothing to scale by.
    gateway = serve.deployment(name="gateway", max_replicas_per_node=1, graceful_shutdown_timeout_s=grace_s, **options)(
        Gateway
    )
    control = serve.deployment(name="control", graceful_shutdown_timeout_s=_GRACE_S, **options)(Control)
    return gateway.bind(installation, control.bind(installation))


def deploy(installation: Installation) -> None:
    """Puts the application on the connected cluster and returns; it gets ready by itself."""
    serve.start(proxy_location="Disabled")
    target = serve.RunTarget(target=application(installation), name=APP, route_prefix=None)
    serve.run_many([target], wait_for_applications_running=False, wait_for_ingress_deployment_creation=False)


def remove() -> None:
    """Takes the application and its pools away and waits until they are gone."""
    names = [name for name in serve.status().applications if name == APP or is_pool(name)]
    for name in sorted(names, key=lambda name: name != APP):  # the control room first, or it starts the pools again
        serve.delete(name, _blocking=name == APP)
    for name in names:
        serve.delete(name)


class Gateway:
    """One node's gateway: a listening socket and the worker processes on it."""

    async def __init__(self, installation: Installation, control: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        """Returns once the workers listen.

        Args:
            installation: what to serve and where.
            control: of the same application; kept, so that one handle reaches both.
        """
        self._supervisor: Supervisor | None = None
        self._control = control
        settings = installation.settings
        self._listener = _listener(installation, "http", settings.listen.host, settings.listen.http_port)
        host, port = self._listener.getsockname()[:2]
        self._client = httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=settings.gateway.upstream_timeout_s)
        supervisor = Supervisor(self._listener, _worker_config(installation), settings.gateway.workers)
        await supervisor.start()
        self._supervisor = supervisor

    async def infer(
        self,
        model: str,
        request: Mapping[str, Any],
        version: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """A prediction for callers inside Ray, through the listener and so through the split.

        Args:
            model: the model's name.
            request: an inference request of the Open Inference Protocol, as JSON values.
            version: bypasses the split.
            headers: such as `sluice-unit`.

        Raises:
            SluiceError: the answer was an error; the sentence is the answer's.
        """
        at = f"/v2/models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{version}")
        answer = await self._client.post(f"{at}/infer", json=dict(request), headers=dict(headers or {}))
        if answer.is_error:
            raise SluiceError(_error_in(answer))
        return dict(answer.json())

    async def workers(self) -> Sequence[Mapping[str, object]]:
        """What each worker last said of itself."""
        return [] if self._supervisor is None else self._supervisor.statuses()

    async def check_health(self) -> None:
        """For Serve: raises where the replica should be replaced."""
        if self._supervisor is not None and not self._supervisor.healthy:
            raise StartFailed("No gateway worker answers.")

    async def __del__(self) -> None:
        """Serve's goodbye: drains the workers within the graceful timeout."""
        supervisor, self._supervisor = getattr(self, "_supervisor", None), None
        if supervisor is not None:
            await supervisor.stop()
            await self._client.aclose()
            self._listener.close()


class Control:
    """The control room: the API on a listener of its own, and the conductor beside it."""

    async def __init__(self, installation: Installation) -> None:  # type: ignore[misc]
        """Returns once the API listens."""
        self._tasks: list[asyncio.Task[Any]] = []
        settings = installation.settings
        self._store: Store = connect(installation.redis_url, settings.redis.namespace)
        self._probe = TritonProbe()
        self._registry_store = connect_registry(installation.redis_url, settings.redis.namespace)
        service = ControlService(self._store, declared_in(settings.models))
        users = Usage(service)
        registry = Registry(self._registry_store, users)
        service.routable = Routable(registry)
        pools = ServePools(settings, installation.redis_url)
        artifacts = ArtifactStore(
            settings.registry.artifacts or str(settings.state_dir / "artifacts"),
            Roots.of(settings.registry.sources),
            allow_pickle=settings.registry.allow_pickle,
        )
        await on_artifacts(artifacts.sweep)
        deployments = Deployments(
            service, self._store, pools, registry, declared_pools(settings.models),
            patience_s=_STARTS * settings.triton.ready_timeout_s,
        )  # fmt: skip
        of_the_registry = performers(registry, artifacts, pools, service, settings)
        operations = Operations(self._store, {**of_the_registry, **deployments.performers()})
        users.operations = operations
        conductor = Conductor(
            service, self._store, pools, settings.models,
            probe=self._probe, operations=operations, boot=installation.boot, lease_s=settings.redis.lease_s,
        )  # fmt: skip
        listener = _listener(installation, "control", settings.control.host, settings.control.port)
        workshop = Workshop(
            registry, operations, artifacts, settings.registry.allow_pickle, declared_pools(settings.models)
        )
        config = uvicorn.Config(
            create_app(service, workshop), log_config=None, lifespan="off", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        gc.collect()
        gc.freeze()  # Ray and the web framework stand for good; the collector need not look at them again
        self._tasks = [
            asyncio.create_task(self._server.serve(sockets=[listener])),
            asyncio.create_task(conductor.run()),
        ]

    async def check_health(self) -> None:
        """For Serve: raises where the replica should be replaced."""
        for task in self._tasks:
            if task.done():
                raise StartFailed(f"A part of the control room has ended: {task.exception()!r}")

    async def __del__(self) -> None:
        """Serve's goodbye."""
        tasks = getattr(self, "_tasks", [])
        if not tasks:
            return
        self._server.should_exit = True
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._probe.close()
        await self._store.close()
        await self._registry_store.close()


def _listener(installation: Installation, name: str, host: str, port: int) -> socket.socket:
    if installation.handover:
        handed = ask_for(installation.handover, name)
        if handed is not None:
            return handed
    return open_listener(host, port, f"The {name} listener", "listen.http_port" if name == "http" else "control.port")


def _worker_config(installation: Installation) -> WorkerConfig:
    settings = installation.settings
    gateway, redis = settings.gateway, settings.redis
    return WorkerConfig(
        worker=f"{socket.gethostname()}-{secrets.token_hex(3)}",
        redis_url=installation.redis_url,
        namespace=redis.namespace,
        lease_s=redis.lease_s,
        poll_s=redis.poll_s,
        snapshot_file=str(settings.state_dir / "gateway" / "snapshot.json"),
        max_connections=gateway.max_connections,
        max_body=gateway.max_body_bytes,
        max_header=gateway.max_header_bytes,
        max_in_flight=gateway.max_in_flight,
        max_in_flight_per_version=gateway.max_in_flight_per_version,
        max_shadows=gateway.max_shadows,
        upstream_timeout_s=gateway.upstream_timeout_s,
        header_timeout_s=gateway.header_timeout_s,
        idle_timeout_s=gateway.idle_timeout_s,
        upstream_idle_timeout_s=gateway.upstream_idle_timeout_s,
        attempt_timeout_s=gateway.attempt_timeout_s,
        repeat_max_request=gateway.repeat_max_request_bytes,
        repeat_max_response=gateway.repeat_max_response_bytes,
        repeat_budget=gateway.repeat_budget,
        ejection_s=gateway.ejection_s,
        brake_s=gateway.brake_s,
        quarantine_s=gateway.quarantine_s,
        drain_delay_s=gateway.drain_delay_s,
        drain_limit_s=gateway.drain_limit_s,
    )


def _error_in(answer: httpx.Response) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(answer.json()["error"])
    return f"The gateway answered {answer.status_code}."
