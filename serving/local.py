"""Everything on this machine: `sluice up`, `down`, and whatever else wants a whole installation for a while.

`running` brings the parts up in order (ports, store, Ray, the Serve application) and takes them down in the other, and
what it started dies with it whichever way it ends: children by `serving.child`, an own Ray cluster by Ray's fate
sharing, and whatever is left over then by `serving.sweeper`. Any part can be somebody else's: a Redis, a Ray cluster,
a Triton. What the parts do is left to them; the Ray calls that need no deployment of ours are here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from pydantic import SecretStr

from drift.settings import GatewaySettings
from drift.settings import Installation as TellsSidecar
from serving.access.keys import KeyRecord
from serving.access.roles import Role
from serving.control.credentials import Credentials
from serving.control.drift_hooks import ANYWHERE, standing_hooks
from serving.control.valkey import EmbeddedValkey
from serving.detached import Signals, go_on_detached, stay
from serving.errors import NotRunning, SluiceError, StartFailed
from serving.kinds import EACH_NODES_OWN
from serving.letting_in import forget_key, settle, without_key
from serving.logs import FORMS, set_up, set_up_structlog
from serving.openings import judge, listening, openings, sidecar_opening, warnings
from serving.own_keys import OwnKey, make
from serving.readiness import await_ready, patience_s
from serving.run_folder import Lock, write_run_file
from serving.settings.seeing import refuse_missing_exporter
from serving.sidecar import Sidecar, is_wanted
from serving.sockets import Handover, open_listener, url_of
from serving.sweeper import sweeping
from serving.tls import ServerCertificate, client_context

if TYPE_CHECKING:
    from serving.settings import Settings

_log = structlog.get_logger(__name__)
_LOOK_EVERY_S = 0.1
_STOP_WITHIN_S = 40.0
_LONGEST_UNIX_PATH = 100

Progress = Callable[[str], None]
"""Told in a few words what is being waited for."""


@dataclass(frozen=True, slots=True)
class System:
    """A whole installation that is up.

    Attributes:
        http_url: where predictions go.
        control_url: where operators go.
        grpc_url: where predictions go over gRPC, host and port as its clients take them; empty where they may not.
        state_dir: where it keeps its files.
        metrics_url: where Prometheus reads; empty where nobody may.
        said: what is open, and what should be changed about it, in sentences.
    """

    http_url: str
    control_url: str
    state_dir: Path
    metrics_url: str = ""
    grpc_url: str = ""
    said: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What whoever started it is told, a line each."""
        lines = [f"predictions  {self.http_url}"]
        if self.grpc_url:
            lines.append(f"gRPC         {self.grpc_url}")
        lines.append(f"control API  {self.control_url}/docs")
        if self.metrics_url:
            lines.append(f"metrics      {self.metrics_url}/metrics")
        return "\n".join((*lines, *self.said))


def up(settings: Settings, *, detach: bool = False) -> None:
    """Starts everything; stays until SIGINT or SIGTERM, or, detached, returns once all is ready.

    Raises:
        SluiceError: something did not come up; what had is taken down again.
    """
    if detach:
        go_on_detached(settings.state_dir, lambda progress: running(settings, progress))
        return
    with running(settings, lambda text: _print(f"{text} …")) as system:
        _print(f"{system.words}\nCtrl-C ends it.")
        stay()
        _print("stopping")


def down(settings: Settings) -> None:
    """Ends what `up` has started from this state folder, and returns when it is gone.

    Raises:
        NotRunning: nothing runs from there.
    """
    lock = Lock(settings.state_dir)
    pid = lock.holder()
    if pid is None:
        raise NotRunning(f"Nothing runs from {settings.state_dir}.", "Start it with `sluice up`.")
    for number, grace_s in ((signal.SIGTERM, _STOP_WITHIN_S), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _within(grace_s, lambda: lock.holder() is None):
            return
    raise SluiceError(f"Process {pid} holds {settings.state_dir} and does not end.", "Look at it with ps.")


@contextlib.contextmanager
def running(settings: Settings, progress: Progress = lambda _: None) -> Iterator[System]:
    """A whole installation for as long as the block lasts. Call it from the main thread.

    Raises:
        AlreadyRunning: one runs from this state folder.
        PortTaken: somebody else listens where we should.
        SettingsError: a file that the settings name cannot be used.
        StartFailed: a part did not come up, or nobody could be let in, or something is open that must not be.
    """
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals())
        stack.enter_context(Lock(settings.state_dir))
        stack.enter_context(sweeping())
        _check_parts(settings)
        if settings.logs.format != FORMS[0]:  # people at a terminal get structlog's own form
            set_up(settings.logs.format)
            set_up_structlog()
        listeners = _listeners(settings, stack)
        socket_path = _unix_path(settings.state_dir)
        stack.enter_context(Handover(socket_path, listeners))
        progress("starting the store")
        redis_url = settings.redis.reached_at(stack.enter_context(_store(settings)))
        notices = (*settle(settings, redis_url), *warnings(settings, os.environ))
        forget_key()
        progress("starting Ray")
        stack.enter_context(_ray(settings))
        signals.take()  # Ray has handlers of its own
        progress("starting the gateway")
        own = make("sluice up", Role.OPERATE, time.time(), lives_s=2 * patience_s(settings))
        watching = make("drift sidecar", Role.OPERATE, time.time()) if settings.access.required else None
        drift_key = None if watching is None else watching.record
        told = Told(without_key(settings), redis_url, str(socket_path), own.record, notices, drift_key)
        stack.enter_context(_application(told))
        stack.enter_context(_sidecar(settings, redis_url, _gateway_for(settings, listeners["http"], watching)))
        system = _system(settings, listeners, notices)
        shown = Credentials(own.shown.text, certificate=settings.tls.certificate, insecure=True)
        await_ready(settings, system.control_url, shown, progress)
        system = replace(system, said=(*system.said, *_looked_at(settings, listeners)))
        urls = {
            "http_url": system.http_url, "grpc_url": system.grpc_url, "control_url": system.control_url,
            "metrics_url": system.metrics_url,
        }  # fmt: skip
        write_run_file(settings.state_dir, urls)
        yield system


def _listeners(settings: Settings, stack: contextlib.ExitStack) -> dict[str, socket.socket]:
    """Every listener of ours, by the name under which it is handed over."""
    listen, control = settings.listen, settings.control
    wanted = {"http": (listen.host, listen.http_port, "The gateway", "listen.http_port")}
    if listen.grpc:
        wanted["grpc"] = (listen.host, listen.grpc_port, "The gateway's gRPC", "listen.grpc_port")
    wanted["control"] = (control.host, control.port, "The control API", "control.port")
    if settings.metrics.enabled:
        wanted["metrics"] = (settings.metrics.host, settings.metrics.port, "Metrics", "metrics.port")
    listeners: dict[str, socket.socket] = {}
    for name, where in wanted.items():
        listeners[name] = open_listener(*where)
        stack.callback(listeners[name].close)
    return listeners


def _system(settings: Settings, listeners: Mapping[str, socket.socket], notices: Sequence[str]) -> System:
    urls = {name: url_of(listener, tls=settings.tls.on) for name, listener in listeners.items()}
    ports = [listener.getsockname()[1] for listener in listeners.values()]
    opened = [replace(one, port=port) for one, port in zip(openings(settings), ports, strict=True)]
    sidecar = sidecar_opening(settings)
    said = (
        *map(str, opened),
        *([] if sidecar is None else [str(sidecar)]),
        *(f"warning: {notice}" for notice in notices),
    )
    grpc_url = urls.get("grpc", "").partition("://")[2]
    return System(urls["http"], urls["control"], settings.state_dir, urls.get("metrics", ""), grpc_url, said)


def _looked_at(settings: Settings, listeners: Mapping[str, socket.socket]) -> tuple[str, ...]:
    """What really listens beside our listeners, in sentences.

    Raises:
        StartFailed: a server of ours can be reached by whom it must not.
    """
    ours = [listener.getsockname()[1] for listener in listeners.values()]
    found = judge(listening(os.getpid()), ours, os.getpid(), _pods(settings), os.environ)
    if found.refused:
        raise StartFailed(found.refused[0], "triton.host says where its ports may be.")
    return (*found.noted, *(f"warning: {one}" for one in found.warned))


def _pods(settings: Settings) -> str:
    """Where Triton's ports may be here."""
    if settings.triton.host != EACH_NODES_OWN:
        return settings.triton.host
    from serving.triton.pool import node_address  # noqa: PLC0415 (brings Ray)

    return node_address()


# The parts, each up for as long as a block lasts.


@contextlib.contextmanager
def _store(settings: Settings) -> Iterator[str]:
    """The store's URL: the embedded Valkey, restarted if it dies, or the one that the settings name."""
    if settings.redis.url is not None:
        yield settings.redis.url.get_secret_value()
        return
    valkey = EmbeddedValkey(settings.state_dir / "valkey")
    valkey.start()
    try:
        with _Keeper("embedded Valkey", valkey):
            yield valkey.url
    finally:
        valkey.stop()


@contextlib.contextmanager
def _sidecar(settings: Settings, redis_url: str, gateway: GatewaySettings) -> Iterator[None]:
    """The process that watches for drift, restarted if it dies; nothing where nothing is to be watched."""
    if not is_wanted(settings.drift):
        yield
        return
    told = TellsSidecar(
        redis_url=SecretStr(redis_url), namespace=settings.redis.namespace, gateway=gateway, drift=settings.drift
    )  # fmt: skip
    sidecar = Sidecar(settings.state_dir / "drift", told)
    sidecar.start()
    try:
        with _Keeper("drift sidecar", sidecar):
            yield
    finally:
        sidecar.stop()


def _gateway_for(settings: Settings, listener: socket.socket, key: OwnKey | None) -> GatewaySettings:
    """Where the sidecar asks encoders, and what it shows there."""
    shown = None if key is None else SecretStr(key.shown.text)
    certificate = settings.tls.certificate if settings.tls.on else None
    url = url_of(listener, tls=settings.tls.on)
    return GatewaySettings(url=url, key=shown, certificate=None if certificate is None else str(certificate))


class _Dies(Protocol):
    """A part of ours that may die."""

    def ensure_running(self) -> bool:
        """Starts it again if it has died; whether it did."""


class _Keeper:
    """Starts a part again whenever it dies; its thread is the one that the new one's life hangs on.

    Args:
        name: of the part.
        part: what is kept running.
    """

    def __init__(self, name: str, part: _Dies) -> None:
        self._name = name
        self._part = part
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"keeper of the {name}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            try:
                if self._part.ensure_running():
                    _log.warning("a part had died and was started again", part=self._name)
            except (SluiceError, OSError) as error:
                _log.error("a part does not come back", part=self._name, reason=str(error))


@contextlib.contextmanager
def _ray(settings: Settings) -> Iterator[None]:
    """A connection to Ray: a cluster of our own, which ends with us, or the one that the settings name."""
    if settings.ray.address is None:
        # Ray listens on all interfaces and unpickles what it gets: without a token, anybody's.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        # Its agent would show Ray's own figures to everybody on the network, for they are behind no token.
        os.environ["RAY_enable_metrics_collection"] = "0"  # noqa: SIM112 - Ray's own spelling
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    import ray  # noqa: PLC0415 (reads its environment when it is imported)
    from ray import serve  # noqa: PLC0415

    options: dict[str, Any] = {"address": settings.ray.address, "namespace": "sluice", "log_to_driver": False}
    if settings.ray.address is None:
        options |= {"address": "local", "include_dashboard": False, "num_cpus": settings.ray.num_cpus}
    _begin_ray(ray, options)
    try:
        yield
    finally:
        if settings.ray.address is None:
            with contextlib.suppress(Exception):
                serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def _begin_ray(ray: ModuleType, options: Mapping[str, Any]) -> None:
    """Starts or reaches it. An own one gets a second try: on a busy machine its agents may miss their 15 s."""
    for last in (False, True):
        try:
            ray.init(logging_level=logging.ERROR, **options)
        except Exception as error:  # Ray raises the bare class where a node does not come up
            ray.shutdown()
            if last or options["address"] != "local":
                reason = str(error).strip().splitlines()[0].rstrip(".")
                raise StartFailed(
                    f"Ray did not start: {reason}.", "With ray.address, check that a cluster runs there."
                ) from error
            _log.warning("Ray did not start, and is started once more", reason=str(error))
        else:
            return


@dataclass(frozen=True, slots=True, repr=False)
class Told:
    """What the replicas are told: see `serving.graph.Installation`."""

    settings: Settings
    redis_url: str
    handover: str
    own_key: KeyRecord
    notices: tuple[str, ...]
    drift_key: KeyRecord | None = None


@contextlib.contextmanager
def _application(told: Told) -> Iterator[None]:
    """The gateway and the control room on Serve; the pools are theirs to start, and ours to take away."""
    from serving import graph  # noqa: PLC0415 (brings Ray)

    try:
        graph.deploy(
            graph.Installation(
                told.settings,
                told.redis_url,
                told.handover,
                own_key=told.own_key.encode(),
                drift_key="" if told.drift_key is None else told.drift_key.encode(),
                notices=told.notices,
            )
        )
        yield
    finally:
        graph.remove()


def _check_parts(settings: Settings) -> None:
    """What can be found out before anything has started."""
    refuse_missing_exporter(settings.tracing)
    if any(one.path is not None for model in settings.models for one in model.versions):
        from serving.triton import binary  # noqa: PLC0415 (only where pools are ours to start)

        binary.find(None if settings.triton.binary is None else str(settings.triton.binary))
    standing_hooks(settings.drift, "" if settings.tls.on else ANYWHERE)
    tls, redis = settings.tls, settings.redis
    if tls.certificate is not None and tls.key is not None:
        ServerCertificate(tls.certificate, tls.key, min_version=tls.min_version)
    pair = (redis.cert_file, redis.key_file) if redis.cert_file and redis.key_file else None
    for ca_file, ours in ((settings.triton.ca_file, None), (redis.ca_file, pair)):
        if ca_file is not None or ours is not None:
            client_context(ca_file, ours)


def _unix_path(state_dir: Path) -> Path:
    path = state_dir / "sockets"
    if len(str(path)) > _LONGEST_UNIX_PATH:
        raise StartFailed(
            f"The state folder's path is too long for a Unix socket: {state_dir}.", "Name a shorter one as state_dir."
        )
    return path


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (to the person who typed it)


def _within(patience_s: float, done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
