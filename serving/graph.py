"""Sluice as an application of Ray Serve: the gateway of each node, and the control room.

Serve places, checks and replaces the replicas; no prediction passes through it. `build` works with `serve run` and
`serve deploy`; `deploy` and `remove` are what `sluice up` calls. Inside Ray, `serve.get_app_handle("sluice").infer(…)`
asks the listener like any other client. What a replica does is written in `gateway/` and `control/`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from registry.artifacts import ArtifactStore
from registry.baselines import Baselines
from registry.roots import Roots
from registry.service import Registry
from registry.store import connect as connect_registry
from registry.tree import Bounds
from serving import logs
from serving.access.keys import decode as decode_key
from serving.access.roles import Role
from serving.control.api import Workshop
from serving.control.api.desk import Desk
from serving.control.captured_windows import CapturedWindows
from serving.control.conductor import Conductor, Duty, declared_pools
from serving.control.credentials import Credentials
from serving.control.deploying import Deployments
from serving.control.drift_hooks import standing_hooks
from serving.control.entrance import Entrance
from serving.control.feedback import Feedback
from serving.control.operations import Operations
from serving.control.probe import TritonProbe
from serving.control.registering import performers
from serving.control.rollback_target import RollbackTarget
from serving.control.rolling.feed import Feed
from serving.control.rolling.folder import ledger_folder
from serving.control.rolling.rolling import Rolling
from serving.control.service import ControlService, declared_in
from serving.control.store import Store, connect
from serving.control.threads import on_artifacts
from serving.control.usage import Routable, Usage
from serving.control.watched import Drift
from serving.control.webhooks import Webhooks
from serving.draining import DrainDoor
from serving.errors import SettingsError, StartFailed
from serving.gateway.config import WorkerConfig
from serving.gateway.keeper import Keeper, socket_file
from serving.gateway.supervisor import Supervisor
from serving.inside import OwnListener
from serving.keeping.config import KeeperConfig
from serving.letting_in import forget_key, settle, token_rules, without_key
from serving.openings import warnings
from serving.own_keys import make
from serving.settings import Settings, load_settings
from serving.settings.seeing import refuse_missing_exporter
from serving.sockets import EVERY_ADDRESS, ask_for, open_listener, url_of
from serving.triton.pool import ServePools, is_pool, node_address, refuse_missing_gpu

APP = "sluice"
_CPUS = 0.1
_CALLS_AT_ONCE = 100
_GRACE_S = 5.0
_STARTS = 4
"""How many times as long as one server may take all replicas of a version may take to get ready."""


@dataclass(frozen=True, repr=False)
class Installation:
    """What the replicas are told.

    Attributes:
        settings: all of them; each reads its part.
        redis_url: the store's address, with its password.
        handover: path of the Unix socket that gives the listening sockets; empty where a replica opens its own.
        own_key: the record, as JSON, of the key with which the process that starts all this asks; empty for none.
        drift_key: likewise of the key with which the drift sidecar asks encoders; empty for none.
        notices: what an operator should know of how this is set up.
        boot: names this start; a replica that takes another's place has the same.
    """

    settings: Settings
    redis_url: str
    handover: str = ""
    own_key: str = ""
    drift_key: str = ""
    notices: tuple[str, ...] = ()
    boot: str = field(default_factory=lambda: secrets.token_hex(8))


def build(arguments: Mapping[str, str]) -> serve.Application:
    """The application, for `serve run serving.graph:build config=sluice.yaml`.

    Args:
        arguments: `config`, the settings file; without it `sluice.yaml`, if there is one.

    Raises:
        SettingsError: the settings have mistakes, or name no Redis.
        StartFailed: everybody is asked for a key, and there is none.
    """
    if unknown := sorted(arguments.keys() - {"config"}):
        raise SettingsError(f"The application takes no argument {unknown[0]!r}.", "It takes config=<settings file>.")
    settings = load_settings(Path(arguments["config"]) if "config" in arguments else None)
    if settings.redis.url is None:
        raise SettingsError(
            "Under `serve run` the store must be somebody's: redis.url is missing.",
            "The embedded Valkey comes with `sluice up` only; name a Redis, as in redis://:password@host:6379/0.",
        )
    redis_url = settings.redis.reached_at(settings.redis.url.get_secret_value())
    notices = (*settle(settings, redis_url), *warnings(settings, os.environ))
    forget_key()
    return application(Installation(without_key(settings), redis_url, notices=notices))


def application(installation: Installation) -> serve.Application:
    """The gateway and the control room, bound.

    Raises:
        StartFailed: a pool is to run on a GPU, and the connected cluster has none; or spans are to be sent, and what
            sends them is not installed.
    """
    refuse_missing_gpu(declared_pools(installation.settings.models))
    refuse_missing_exporter(installation.settings.tracing)
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
        logs.set_up(settings.logs.format, logs.OURS)
        self._listener = _listener(installation, "http", settings.listen.host, settings.listen.http_port)
        own = make("gateway replica", Role.PREDICT, time.time()) if settings.access.required else None
        shown = Credentials(own.shown.text if own else "", certificate=settings.tls.certificate, insecure=True)
        url = url_of(self._listener, tls=settings.tls.on)
        self._inside = OwnListener(url, shown, settings.gateway.upstream_timeout_s)
        config = _worker_config(installation, own.record.encode() if own else "")
        self._grpc: socket.socket | None = None
        if settings.listen.grpc:
            self._grpc = _listener(installation, "grpc", settings.listen.host, settings.listen.grpc_port)
        keeper = Keeper(_keeper_config(installation, config).to_json())
        supervisor = Supervisor(self._listener, config, settings.gateway.workers, grpc=self._grpc, keeper=keeper)
        await supervisor.start()
        self._supervisor = supervisor
        self._drains = await DrainDoor.open(settings.state_dir, self._drain)

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
        return await self._inside.infer(model, request, version, headers or {})

    async def workers(self) -> Sequence[Mapping[str, object]]:
        """What each worker last said of itself."""
        return [] if self._supervisor is None else self._supervisor.statuses()

    async def check_health(self) -> None:
        """For Serve: raises where the replica should be replaced."""
        if self._supervisor is not None and not self._supervisor.healthy:
            raise StartFailed("No gateway worker answers.")

    async def _drain(self) -> None:
        """Ends the workers, and then the sockets: nobody accepts any more. Serve is not to replace what was meant."""
        if self._supervisor is not None:
            await self._supervisor.stop()
            self._listener.close()
            if self._grpc is not None:
                self._grpc.close()

    async def __del__(self) -> None:
        """Serve's goodbye: drains the workers within the graceful timeout."""
        if getattr(self, "_supervisor", None) is not None:
            await self._drain()
            self._supervisor = None
            await self._inside.close()
            if self._drains is not None:
                self._drains.close()


class Control:
    """The control room: the API on a listener of its own, and the conductor beside it."""

    async def __init__(self, installation: Installation) -> None:  # type: ignore[misc]
        """Returns once the API listens."""
        settings = installation.settings
        logs.set_up(settings.logs.format, logs.OURS)
        self._store: Store = connect(installation.redis_url, settings.redis.namespace)
        self._probe = TritonProbe(ca_file=_text(settings.triton.ca_file))
        own = [decode_key(installation.own_key)] if installation.own_key else []
        self._entrance = Entrance(settings, self._store, own)
        self._registry_store = connect_registry(installation.redis_url, settings.redis.namespace)
        archive = ledger_folder(settings.state_dir, settings.redis.namespace)
        service = ControlService(self._store, declared_in(settings.models), ledger_folder=archive)
        service.notices = installation.notices
        users = Usage(service)
        registry = Registry(self._registry_store, users)
        service.routable = Routable(registry)
        pools = ServePools(settings, installation.redis_url)
        artifacts = ArtifactStore(
            settings.registry.artifacts or str(settings.state_dir / "artifacts"),
            Roots.of(settings.registry.sources),
            allow_pickle=settings.registry.allow_pickle,
            bounds=Bounds(settings.registry.max_artifact_bytes, settings.registry.max_artifact_files),
        )
        await on_artifacts(artifacts.sweep)
        deployments = Deployments(
            service, self._store, pools, registry, declared_pools(settings.models),
            patience_s=_STARTS * settings.triton.ready_timeout_s,
        )  # fmt: skip
        of_the_registry = performers(registry, artifacts, pools, service, settings)
        operations = Operations(self._store, {**of_the_registry, **deployments.performers()})
        users.operations = operations
        listener = _listener(installation, "control", settings.control.host, settings.control.port)
        ourselves = "" if settings.tls.on else url_of(listener, tls=False)
        hooks = standing_hooks(settings.drift, ourselves)
        rolling = Rolling(
            self._store, service.traffic, folder=archive, namespace=settings.redis.namespace,
            trusted=settings.control.trusted_addresses, lease_s=settings.redis.lease_s,
            hooks=hooks, pauses_s=settings.drift.webhook_pauses, drift=settings.drift,
        )  # fmt: skip
        windows = CapturedWindows(self._store)
        keeping: tuple[str, Duty] = ("putting the rows of episodes aside", windows.keep)
        conductor = Conductor(
            service, self._store, pools, settings.models,
            probe=self._probe, operations=operations, boot=installation.boot, lease_s=settings.redis.lease_s,
            duties=(*self._entrance.duties, ("walking rollouts", rolling.loops.run), keeping),
        )  # fmt: skip
        workshop = Workshop(
            registry, operations, artifacts, settings.registry.allow_pickle, declared_pools(settings.models)
        )
        metrics = None
        if settings.metrics.enabled:
            metrics = _listener(installation, "metrics", settings.metrics.host, settings.metrics.port)
        feedback = Feedback(
            self._store, declared_in(settings.models),
            horizon_s=settings.feedback.horizon_s, per_s=settings.feedback.items_per_s,
        )  # fmt: skip
        target = None
        if hooks.opens_target:
            target = RollbackTarget(self._store, rolling.rollouts, lambda: hooks.target_secrets)
        drift = Drift(self._store, Baselines(self._registry_store), declared_in(settings.models))
        desk = Desk(
            rolling.rollouts, Feed(self._store), self._store, self._store, feedback, drift, rolling.episodes,
            windows=windows, webhooks=Webhooks(self._store, hooks), target=target,
        )  # fmt: skip
        await self._entrance.open(service, workshop, listener, metrics, desk=desk)
        gc.collect()
        gc.freeze()  # Ray and the web framework stand for good; the collector need not look at them again
        self._conducting = asyncio.create_task(conductor.run())

    async def check_health(self) -> None:
        """For Serve: raises where the replica should be replaced."""
        for task in (*self._entrance.tasks, self._conducting):
            if task.done():
                raise StartFailed(f"A part of the control room has ended: {task.exception()!r}")

    async def __del__(self) -> None:
        """Serve's goodbye."""
        conducting: asyncio.Task[None] | None = getattr(self, "_conducting", None)
        if conducting is None:
            return
        conducting.cancel()
        await self._entrance.close()
        await asyncio.gather(conducting, return_exceptions=True)
        await self._probe.close()
        await self._store.close()
        await self._registry_store.close()


_KEYS = {"http": "listen.http_port", "grpc": "listen.grpc_port", "control": "control.port", "metrics": "metrics.port"}
"""The setting that chooses a listener's port."""


def _listener(installation: Installation, name: str, host: str, port: int) -> socket.socket:
    if installation.handover:
        handed = ask_for(installation.handover, name)
        if handed is not None:
            return handed
    return open_listener(host, port, f"The {name} listener", _KEYS[name])


def _worker_config(installation: Installation, own_key: str) -> WorkerConfig:
    settings = installation.settings
    gateway, redis, tls = settings.gateway, settings.redis, settings.tls
    rules = token_rules(settings)
    return WorkerConfig(
        worker=f"{socket.gethostname()}-{secrets.token_hex(3)}",
        redis_url=installation.redis_url,
        namespace=redis.namespace,
        lease_s=redis.lease_s,
        poll_s=redis.poll_s,
        snapshot_file=str(settings.state_dir / "gateway" / "snapshot.json"),
        reached_at=_reached_at(settings.listen.host),
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
        tls_certificate=_text(tls.certificate),
        tls_key=_text(tls.key),
        tls_reload_s=tls.reload_s,
        tls_min_version=tls.min_version,
        triton_ca_file=_text(settings.triton.ca_file),
        access_required=settings.access.required,
        token_rules="" if rules is None else json.dumps(rules.as_dict()),
        own_key=own_key,
        drift_key=installation.drift_key,
        keys_file=str(settings.state_dir / "gateway" / "keys.json"),
        security_log=str(settings.security_log),
        keeper_socket=str(socket_file(settings.state_dir)),
        payload_share_ppm=settings.payloads.share if settings.payloads.enabled else 0,
        samples=_samples(settings),
        traces_per_s=0.0 if settings.tracing.endpoint is None else settings.tracing.requests_per_s,
        trace_share_ppm=settings.tracing.share,
        access_ppm=settings.logs.access,
        log_format=settings.logs.format,
    )


def _keeper_config(installation: Installation, worker: WorkerConfig) -> KeeperConfig:
    settings = installation.settings
    payloads = settings.payloads.rules(settings.state_dir)
    return KeeperConfig(
        gateway=worker.worker,
        socket=worker.keeper_socket,
        redis_url=worker.redis_url,
        namespace=worker.namespace,
        redis_tls=worker.redis_tls,
        payloads=None if payloads is None else json.loads(payloads.to_json()),
        samples=worker.samples,
        traces=settings.tracing.endpoint or "",
        logs=str(settings.logs.folder_in(settings.state_dir)),
        log_bytes=settings.logs.max_bytes,
        log_format=settings.logs.format,
    )


def _samples(settings: Settings) -> str:
    """What is sampled for the drift sidecar; empty where nothing is. What the payload log leaves out is left out."""
    rules = settings.drift.sampling(settings.payloads.redact)
    return rules.to_json() if rules.usual or any(rules.models.values()) else ""


def _reached_at(host: str) -> str:
    """Where others reach a gateway that listens on every address of its node: by the one that Ray knows; else empty."""
    return node_address() if host in EVERY_ADDRESS else ""


def _text(file: Path | None) -> str:
    return "" if file is None else str(file)
