"""One tritonserver that serves one version of one model: started, known to be ready, watched, stopped.

The server is a child that dies with this process (`serving.child`), so it is started from a thread that lives as
long as the process does. It runs with --model-control-mode=none, under which nobody on the network can load code
into it: load is start, unload is stop. Ready means that this server, by the identity that it was given, says that
exactly this version is ready; an open port or a yes on /ready could be another server's.

Its own Prometheus endpoint stays off: it would be a third port to find and lose, and `statistics` says the same.

Which server is run is `binary.py`'s, what it finds in its repository `layout.py`'s, when it is used its caller's.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tritonclient.http import aio

from serving import child
from serving.errors import StartFailed
from serving.triton.binary import TritonBinary
from serving.triton.layout import Repository
from serving.triton.log import TritonLog

_LOOK_S = 0.05
_CALL_TIMEOUT_S = 5.0
_PORT_RACES = 5
"""How often a port may be taken between its choice and the server's bind. Each costs a whole start."""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps POSIX shared memory
_EVERY_INTERFACE: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound, here
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a tritonserver is to run.

    Args:
        host: the address it binds to.
        first_port: the lowest port it may take.
        last_port: the highest.
        ready_timeout_s: how long it may take to get ready, in seconds.
        http_threads: how many threads answer HTTP.
        threads: how many threads each numeric library may start in a model, where the environment does not say.
        log_file: where everything it says goes; None for nowhere.
        environment: variables to set for it over those of this process and of the binary.
    """

    host: str = "127.0.0.1"
    first_port: int = 21_000
    last_port: int = 21_999
    ready_timeout_s: float = 120.0
    http_threads: int = 4
    threads: int = 1
    log_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class TritonProcess:
    """A running tritonserver; made by `start`.

    Attributes:
        model: the name of its model.
        version: the version it serves.
        http_port: the port of its HTTP listener.
        grpc_port: the port of its gRPC listener.
    """

    def __init__(
        self, binary: TritonBinary, repository: Repository, model: str, version: int, options: ServerOptions
    ) -> None:
        """Starts the child; use `start`, which also waits for it."""
        self.model = model
        self.version = version
        self.http_port, self.grpc_port = free_ports(options, 2)
        self._options = options
        self._identity = f"sluice-{secrets.token_hex(8)}"
        self._log = TritonLog(options.log_file)
        # What may fail comes before the child, which would otherwise run on without an owner.
        self._process = child.spawn(
            self._command(binary, repository),
            env=_environment(binary, options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if self._process.stdout is not None:
            self._log.follow(self._process.stdout)
        self._client = aio.InferenceServerClient(
            _address(options.host, self.http_port), conn_timeout=max(_CALL_TIMEOUT_S, options.ready_timeout_s)
        )

    @classmethod
    async def start(
        cls, binary: TritonBinary, repository: Repository, model: str, version: int, options: ServerOptions
    ) -> "TritonProcess":
        """A server that is ready. Call this from a thread that lives as long as the process.

        Raises:
            StartFailed: it ended or was not ready in time, with what Triton said last; or no port is free.
        """
        for _ in range(_PORT_RACES):
            server = cls(binary, repository, model, version, options)
            try:
                await server._until_ready()
            except _PortTakenMeanwhile:
                await server.stop(0.0)
            except BaseException:
                # Cancelled or failed, it must not run on without an owner.
                await server.stop(0.0)
                raise
            else:
                return server
        raise StartFailed(
            f"{_PORT_RACES} times in a row, another program took the port that was free for {model} version {version}.",
            f"Give triton.port_range a range of its own; it is {options.first_port}-{options.last_port}.",
        )

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return child.alive(self._process)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def log_lines(self) -> tuple[str, ...]:
        """The last 200 lines that the server has said."""
        return self._log.lines

    @property
    def last_error(self) -> str | None:
        """What the server's last error line says; None if it had none."""
        return self._log.last_error

    async def ended(self) -> None:
        """Waits until the server has ended."""
        await child.ended(self._process)

    async def metadata(self) -> dict[str, Any]:
        """The model's metadata, as the v2 protocol gives it."""
        return _object(await _within(self._client.get_model_metadata(self.model, str(self.version))))

    async def statistics(self) -> dict[str, Any]:
        """The model's statistics, as Triton's extension gives them."""
        return _object(await _within(self._client.get_inference_statistics(self.model, str(self.version))))

    async def infer(self, inputs: Sequence[aio.InferInput]) -> aio.InferResult:
        """One inference; for warming up and probing, not for traffic."""
        return await self._client.infer(self.model, list(inputs), str(self.version))

    async def stop(self, grace_s: float) -> int:
        """Ends the server: SIGTERM, which lets requests in flight end; after `grace_s` seconds SIGKILL.

        Its Python stubs end with it, and what they kept in shared memory is removed. Stopping it twice is harmless.

        Returns:
            Its return code, as Popen gives it.
        """
        try:
            await self._client.close()
        finally:
            code = await child.stop_async(self._process, grace_s)
            await asyncio.to_thread(self._log.close)
            self._clear_shared_memory()
        return code

    def _command(self, binary: TritonBinary, repository: Repository) -> list[str]:
        options = self._options
        backends = [f"--backend-directory={binary.backend_directory}"] if binary.backend_directory else []
        complete = ["--disable-auto-complete-config"] if repository.complete else []
        return [
            str(binary.path),
            f"--id={self._identity}",
            f"--model-repository={repository.folder}",
            *backends,
            "--model-control-mode=none",
            *complete,
            f"--http-address={options.host}",
            f"--http-port={self.http_port}",
            f"--http-thread-count={options.http_threads}",
            f"--grpc-address={options.host}",
            f"--grpc-port={self.grpc_port}",
            "--allow-metrics=false",
            "--allow-gpu-metrics=false",
            # Triton gives a stub 30 s, which several imports of torch at once on a small machine may exceed.
            f"--backend-config=python,stub-timeout-seconds={max(1, round(options.ready_timeout_s))}",
            f"--backend-config=python,shm-region-prefix-name={self._identity}",
        ]

    def _clear_shared_memory(self) -> None:
        for region in _SHARED_MEMORY.glob(f"{self._identity}*"):
            region.unlink(missing_ok=True)

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + self._options.ready_timeout_s
        while not await self._is_ready():
            if not self.alive:
                # The log's reader may be a moment behind what the server wrote.
                await asyncio.to_thread(self._log.close)
                raise self._failure(f"ended before {self.model} version {self.version} was ready")
            if time.monotonic() > deadline:
                waited = f"{self._options.ready_timeout_s:g} s"
                raise self._failure(f"did not get {self.model} version {self.version} ready within {waited}")
            await asyncio.sleep(_LOOK_S)

    async def _is_ready(self) -> bool:
        """Whether this very server says that this version, and no other, is ready."""
        try:
            server = _object(await _within(self._client.get_server_metadata()))
            if server["name"] != self._identity:
                return False
            ready = await _within(self._client.is_model_ready(self.model, str(self.version)))
            return bool(ready) and (await self.metadata())["versions"] == [str(self.version)]
        except Exception:  # noqa: BLE001 - a server that is starting fails in many ways, and each means 'not yet'
            return False

    def _failure(self, what: str) -> StartFailed:
        said = self.last_error
        if said and "already in use" in said:
            return _PortTakenMeanwhile(said)
        log = f" Its log is {self._options.log_file}." if self._options.log_file else ""
        return StartFailed(
            f"Triton {what}: {said or 'it gave no reason'}.",
            f"Correct the artifact, or raise triton.ready_timeout_s if it only needs longer.{log}",
        )


class _PortTakenMeanwhile(StartFailed):
    """Another program bound the port first."""


def free_ports(options: ServerOptions, count: int) -> list[int]:
    """Ports of the range that nobody listens on now, in no order, so that servers that start together rarely meet.

    Raises:
        StartFailed: there are not that many.
    """
    # Not a matter of security; the system's generator has no state that forked processes would share.
    candidates = secrets.SystemRandom().sample(
        range(options.first_port, options.last_port + 1), options.last_port - options.first_port + 1
    )
    found = [port for port, _ in zip(_bindable(options.host, candidates), range(count), strict=False)]
    if len(found) < count:
        raise StartFailed(
            f"No {count} ports from {options.first_port} to {options.last_port} are free on {options.host}.",
            "Widen triton.port_range.",
        )
    return found


def _bindable(host: str, candidates: Sequence[int]) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in candidates:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As Triton binds: a connection of an earlier server that lingers does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                yield port


def _environment(binary: TritonBinary, options: ServerOptions) -> dict[str, str]:
    threads = dict.fromkeys(_THREADS, str(options.threads))
    return {**threads, **os.environ, **binary.environment, **options.environment}


def _address(host: str, port: int) -> str:
    """Where this machine reaches a server that binds to `host`."""
    near = _EVERY_INTERFACE.get(host, host)
    return f"[{near}]:{port}" if ":" in near else f"{near}:{port}"


async def _within(call: Any) -> Any:  # noqa: ANN401 - tritonclient ships no types
    return await asyncio.wait_for(call, _CALL_TIMEOUT_S)


def _object(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    if not isinstance(answer, dict):
        raise TypeError(f"Triton answered {type(answer).__name__} where an object belongs")
    return answer
