"""Everything on this machine: `sluice up`, `down`, and whatever else wants a whole installation for a while.

`running` brings the parts up in order (ports, store, Ray, the Serve application) and takes them down in the other, and
what it started dies with it whichever way it ends: children by `serving.child`, an own Ray cluster by Ray's fate
sharing, and whatever is left over then by `serving.sweeper`. Any part can be somebody else's: a Redis, a Ray cluster,
a Triton. What the parts do is left to them; the Ray calls that need no deployment of ours are here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import structlog

from serving.control.client import ControlClient
from serving.control.valkey import EmbeddedValkey
from serving.errors import AlreadyRunning, ControlError, NotRunning, SluiceError, StartFailed
from serving.sockets import Handover, open_listener
from serving.sweeper import sweeping

if TYPE_CHECKING:
    from serving.settings import Settings

_log = structlog.get_logger(__name__)
_READY_WITHIN_S = 180.0
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
        state_dir: where it keeps its files.
    """

    http_url: str
    control_url: str
    state_dir: Path


def up(settings: Settings, *, detach: bool = False) -> None:
    """Starts everything; stays until SIGINT or SIGTERM, or, detached, returns once all is ready.

    Raises:
        SluiceError: something did not come up; what had is taken down again.
    """
    if detach:
        _up_detached(settings)
        return
    with running(settings, lambda text: _print(f"{text} …")) as system:
        _print(f"predictions  {system.http_url}\ncontrol API  {system.control_url}/docs\nCtrl-C ends it.")
        stay()
        _print("stopping")


def stay() -> None:
    """Waits until SIGINT or SIGTERM; call it in a `running` block."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()


def down(settings: Settings) -> None:
    """Ends what `up` has started from this state folder, and returns when it is gone.

    Raises:
        NotRunning: nothing runs from there.
    """
    lock = _Lock(settings.state_dir)
    pid = lock.holder()
    if pid is None:
        raise NotRunning(f"Nothing runs from {settings.state_dir}.", "Start it with `sluice up`.")
    for number, patience_s in ((signal.SIGTERM, _STOP_WITHIN_S), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _within(patience_s, lambda: lock.holder() is None):
            return
    raise SluiceError(f"Process {pid} holds {settings.state_dir} and does not end.", "Look at it with ps.")


@contextlib.contextmanager
def running(settings: Settings, progress: Progress = lambda _: None) -> Iterator[System]:
    """A whole installation for as long as the block lasts. Call it from the main thread.

    Raises:
        AlreadyRunning: one runs from this state folder.
        PortTaken: somebody else listens where we should.
        StartFailed: a part did not come up.
    """
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_Signals())
        stack.enter_context(_Lock(settings.state_dir))
        stack.enter_context(sweeping())
        http = open_listener(settings.listen.host, settings.listen.http_port, "The gateway", "listen.http_port")
        stack.callback(http.close)
        control = open_listener(settings.control.host, settings.control.port, "The control API", "control.port")
        stack.callback(control.close)
        _check_parts(settings)
        socket_path = _unix_path(settings.state_dir)
        stack.enter_context(Handover(socket_path, {"http": http, "control": control}))
        progress("starting the store")
        redis_url = stack.enter_context(_store(settings))
        progress("starting Ray")
        stack.enter_context(_ray(settings))
        signals.take()  # Ray has handlers of its own
        progress("starting the gateway")
        stack.enter_context(_application(settings, redis_url, str(socket_path)))
        system = System(_url(http), _url(control), settings.state_dir)
        _await_ready(settings, system, progress)
        _write_run_file(system)
        yield system


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
        with _Keeper(valkey):
            yield valkey.url
    finally:
        valkey.stop()


class _Keeper:
    """Starts the embedded Valkey again whenever it dies; its thread is the one that the new one's life hangs on."""

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self._valkey = valkey
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="valkey-keeper", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            try:
                if self._valkey.ensure_running():
                    _log.warning("the embedded Valkey had died and was started again")
            except SluiceError as error:
                _log.error("the embedded Valkey does not come back", reason=error.sentence)


@contextlib.contextmanager
def _ray(settings: Settings) -> Iterator[None]:
    """A connection to Ray: a cluster of our own, which ends with us, or the one that the settings name."""
    if settings.ray.address is None:
        # Ray listens on all interfaces and unpickles what it gets: without a token, anybody's.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    import ray  # noqa: PLC0415 (reads its environment when it is imported)
    from ray import serve  # noqa: PLC0415

    options: dict[str, Any] = {"address": settings.ray.address, "namespace": "sluice", "log_to_driver": False}
    if settings.ray.address is None:
        options |= {"address": "local", "include_dashboard": False, "num_cpus": settings.ray.num_cpus}
    try:
        ray.init(logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StartFailed(
            f"Ray did not start: {reason}.", "With ray.address, check that a cluster runs there."
        ) from error
    try:
        yield
    finally:
        if settings.ray.address is None:
            with contextlib.suppress(Exception):
                serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


@contextlib.contextmanager
def _application(settings: Settings, redis_url: str, handover: str) -> Iterator[None]:
    """The gateway and the control room on Serve; the pools are theirs to start, and ours to take away."""
    from serving import graph  # noqa: PLC0415 (brings Ray)

    try:
        graph.deploy(graph.Installation(settings, redis_url, handover))
        yield
    finally:
        graph.remove()


# Ready, and known to be.


def _await_ready(settings: Settings, system: System, progress: Progress) -> None:
    """Returns when every model answers."""
    wanted = {(model.name, one.version) for model in settings.models for one in model.versions}
    told = ""
    deadline = time.monotonic() + max(_READY_WITHIN_S, settings.triton.ready_timeout_s)
    with ControlClient(system.control_url) as client:
        while time.monotonic() < deadline:
            missing, failed = _missing(client, wanted)
            if failed:
                raise StartFailed(failed, f"Logs are under {settings.state_dir}.")
            if not missing:
                return
            if missing != told:
                progress(f"waiting for {missing}")
                told = missing
            time.sleep(_LOOK_EVERY_S)
    raise StartFailed(f"Waited in vain for {told}.", f"Logs are under {settings.state_dir}.")


def _missing(client: ControlClient, wanted: set[tuple[str, int]]) -> tuple[str, str]:
    """What is not ready yet, in words, and what never will be; both empty when all is well."""
    try:
        status = client.status()
    except ControlError:
        return "the control API", ""
    failed = {(p["model"], p["version"]): p["message"] for p in status["pools"] if p["state"] == "DEPLOY_FAILED"}
    if ours := sorted(failed.keys() & wanted):
        return "", f"A pool did not come up: {failed[ours[0]]}"
    ready = {
        (model["name"], one["version"])
        for model in status["models"]
        for one in model["versions"]
        if one["ready"] or one.get("asleep")  # nothing routes to it, and it is not to be kept warm
    }
    # What an operator deployed before and gave traffic to is waited for as well, as long as there is hope.
    deployed = {
        (model["name"], int(one)) for model in status["models"] for one, share in model["shares"].items() if share
    }
    ours_to_start = {(pool["model"], pool["version"]) for pool in status["pools"]} - failed.keys()
    if late := sorted((wanted | (deployed & ours_to_start)) - ready):
        return ", ".join(f"{model} {version}" for model, version in late), ""
    routed = {model["name"] for model in status["models"] if model["revision"]}
    if not status["gateways"] or {model for model, _ in wanted} - routed:
        return "the gateway", ""
    if any(gateway["epoch"] != status["epoch"] for gateway in status["gateways"]):
        return "the gateway", ""
    return "", ""


def _check_parts(settings: Settings) -> None:
    """What can be found out before anything has started."""
    if any(one.path is not None for model in settings.models for one in model.versions):
        from serving.triton import binary  # noqa: PLC0415 (only where pools are ours to start)

        binary.find(None if settings.triton.binary is None else str(settings.triton.binary))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _unix_path(state_dir: Path) -> Path:
    path = state_dir / "sockets"
    if len(str(path)) > _LONGEST_UNIX_PATH:
        raise StartFailed(
            f"The state folder's path is too long for a Unix socket: {state_dir}.", "Name a shorter one as state_dir."
        )
    return path


# One installation a state folder.


class _Lock:
    """Held by whoever runs from a state folder, for exactly as long as it lives."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._file: int | None = None

    def __enter__(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise AlreadyRunning(*_already(self._path.parent, self.holder())) from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._path.parent / "run.json").unlink()
        if self._file is not None:
            os.close(self._file)

    def holder(self) -> int | None:
        """The process that runs from the folder, None where none does."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(file, 32, 0) or b"0") or None
        finally:
            os.close(file)
        return None


def _already(state_dir: Path, pid: int | None) -> tuple[str, str]:
    run = read_run_file(state_dir)
    where = f", predictions at {run['http_url']}, control API at {run['control_url']}" if run else ", still starting"
    return f"Sluice already runs from {state_dir} (process {pid}{where}).", "End it with `sluice down`."


def _write_run_file(system: System) -> None:
    run = {"pid": os.getpid(), "http_url": system.http_url, "control_url": system.control_url}
    temporary = system.state_dir / "run.json.new"
    temporary.write_text(json.dumps(run))
    temporary.replace(system.state_dir / "run.json")


def read_run_file(state_dir: Path) -> Mapping[str, Any] | None:
    """What runs from this folder and where it answers; None where nothing does, or nothing is ready."""
    try:
        run = json.loads((state_dir / "run.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return run if isinstance(run, dict) else None


# Ending, and going on in the background.


class _Signals:
    """While it is entered SIGTERM interrupts like SIGINT, and a second of either ends everything at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take(self) -> None:
        """Takes the signals again, from whoever took them since."""
        for number in self._before:
            signal.signal(number, self._end)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(1)  # all that we started dies with us
        self._asked = True
        raise KeyboardInterrupt


def _up_detached(settings: Settings) -> None:
    """Goes on in a process of its own; returns when that is ready, or says what it said."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = settings.state_dir / "up.log"
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        _go_on_detached(settings, log, tell)
    os.close(tell)
    with os.fdopen(told) as lines:
        for line in lines:
            kind, _, text = line.rstrip("\n").partition(" ")
            if kind == "failed":
                sentence, _, hint = text.partition("\t")
                raise StartFailed(sentence, hint or f"Its log: {log}")
            _print(text.replace("\t", "\n"))
            if kind == "ready":
                return
    raise StartFailed("It ended before it was ready.", f"Its log: {log}")


def _go_on_detached(settings: Settings, log: Path, tell: int) -> None:
    """The child's side: a session of its own, its output in the log. Never returns."""
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    code = 1
    try:
        with running(settings, lambda text: _tell(tell, "progress", f"{text} …")) as system:
            _tell(tell, "ready", f"predictions  {system.http_url}\tcontrol API  {system.control_url}/docs")
            os.close(tell)
            stay()
        code = 0
    except SluiceError as error:
        with contextlib.suppress(OSError):
            _tell(tell, "failed", f"{error.sentence}\t{error.hint}".replace("\n", " "))
    except Exception:  # noqa: BLE001 - nobody above could print it: this process ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(pipe: int, kind: str, text: str) -> None:
    with contextlib.suppress(OSError):  # whoever asked may have gone home
        os.write(pipe, f"{kind} {text}\n".encode())


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (to the person who typed it)


def _within(patience_s: float, done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
