"""One tritonserver that serves one version of one model: started, known to be ready, watched, stopped.

The server is a child that dies with this process (`serving.child`), so it is started from a thread that lives as
long as the process does. It runs with --model-control-mode=none, under which nobody on the network can load code
into it: load is start, unload is stop. Ready means that this server, by the identity that it was given, says that
exactly this version is ready; an open port or a yes on /ready could be another server's.

A Python stub that ends by itself counts as the server's end, for Triton would go on and fail every request that it
gives to that instance. What must not outlive the server is ended by a guard, if its owner has one (`guard.py`).

Which server is run is `binary.py`'s, what it finds in its repository `layout.py`'s, when it is used its caller's.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tritonclient.http import aio

from serving import child
from serving.errors import StartFailed
from serving.triton import guard as guarding
from serving.triton import scratch, stubs
from serving.triton.binary import TritonBinary
from serving.triton.flags import server_flags
from serving.triton.guard import Guard
from serving.triton.layout import Repository
from serving.triton.log import TritonLog
from serving.triton.ports import free_ports, listens, near

_LOOK_S = 0.05
_CALL_TIMEOUT_S = 5.0
_STUBS_S = 1.0
"""How often the stubs of a server that is starting are looked at, in seconds."""
_PORT_RACES = 5
"""How often a port may be taken between its choice and the server's bind. Each costs a whole start."""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps POSIX shared memory
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


class ServerDied(StartFailed):
    """A server that ended before it was of use.

    Attributes:
        exit_code: as Popen says it.
        words: its last lines.
    """

    exit_code: int | None = None
    words: str = ""


class TritonProcess:
    """A running tritonserver; made by `start`.

    Attributes:
        model: the name of its model.
        version: the version it serves.
        http_port: the port of its HTTP listener.
        grpc_port: the port of its gRPC listener.
        metrics_port: the port of its Prometheus endpoint, which only this machine reaches.
        near_host: where this machine reaches it.
    """

    def __init__(
        self,
        binary: TritonBinary,
        repository: Repository,
        model: str,
        version: int,
        options: ServerOptions,
        *,
        guard: Guard | None = None,
    ) -> None:
        """Starts the child; use `start`, which also waits for it."""
        self.model = model
        self.version = version
        self.near_host = near(options.host)
        self.http_port, self.grpc_port, self.metrics_port = free_ports(
            options.host, range(options.first_port, options.last_port + 1), 3
        )
        self._options = options
        self._identity = guard.server_mark() if guard else f"sluice-{secrets.token_hex(8)}"
        self._stubs: tuple[int, ...] = ()
        self._does = "was starting"
        self._began_s = time.time()
        self._log = TritonLog(options.log_file)
        # What may fail comes before the child, which would otherwise run on without an owner.
        self._process = child.spawn(
            self._command(binary, repository),
            env={**_environment(binary, options), guarding.VARIABLE: self._identity},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if guard is not None:
            guard.watch(self._process.pid, self._identity)
        if self._process.stdout is not None:
            self._log.follow(self._process.stdout)
        self._client = aio.InferenceServerClient(
            self._address(self.http_port), conn_timeout=max(_CALL_TIMEOUT_S, options.ready_timeout_s)
        )

    @classmethod
    async def start(
        cls,
        binary: TritonBinary,
        repository: Repository,
        model: str,
        version: int,
        options: ServerOptions,
        *,
        guard: Guard | None = None,
    ) -> "TritonProcess":
        """A server that is ready. Call this from a thread that lives as long as the process.

        Args:
            binary: which server.
            repository: with the one version of the one model.
            model: its name.
            version: its number.
            options: how the server is to run.
            guard: ends what the server leaves behind, should it or this process be killed.

        Raises:
            ServerDied: it ended, with what Triton said last.
            StartFailed: it was not ready in time, with what Triton said last; or no port is free.
        """
        for _ in range(_PORT_RACES):
            server = cls(binary, repository, model, version, options, guard=guard)
            try:
                await server._until_ready()
                await server._until_stubs_are_known()
                server._does = "ran"
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
        """Whether the server and all its stubs run."""
        return child.alive(self._process) and not any(map(stubs.has_ended, self._stubs))

    @property
    def metrics_url(self) -> str:
        """Where it tells Prometheus what it has counted."""
        return f"http://{self._address(self.metrics_port)}/metrics"

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
        """Waits until the server, or one of its stubs, has ended."""
        await stubs.first_ended((self.pid, *self._stubs))

    def death(self) -> ServerDied:
        """How it ended; ask once it has."""
        lost = next(filter(stubs.has_ended, (self.pid, *self._stubs)), self.pid)
        code = self._process.returncode if lost == self.pid else None
        code = stubs.exit_code_of(lost) if code is None else code
        who = "Triton" if lost == self.pid else "Triton's Python stub"
        what = f"{who} {stubs.words_of(code)} while {self.model} version {self.version} {self._does}"
        died = ServerDied(f"{what}: {self.last_error or 'it gave no reason'}.", self._whereabouts)
        died.exit_code, died.words = code, "\n".join((*self.log_lines, what))
        return died

    async def metadata(self) -> dict[str, Any]:
        """The model's metadata, as the v2 protocol gives it."""
        return _object(await _within(self._client.get_model_metadata(self.model, str(self.version))))

    async def config(self) -> dict[str, Any]:
        """The model's configuration as the server completed it, in Triton's JSON."""
        return _object(await _within(self._client.get_model_config(self.model, str(self.version))))

    async def statistics(self) -> dict[str, Any]:
        """The model's statistics, as Triton's extension gives them."""
        return _object(await _within(self._client.get_inference_statistics(self.model, str(self.version))))

    async def infer(self, inputs: Sequence[aio.InferInput]) -> aio.InferResult:
        """One inference; for warming up and probing, not for traffic."""
        return await self._client.infer(self.model, list(inputs), str(self.version))

    async def stop(self, grace_s: float) -> int:
        """Ends the server: SIGTERM, which lets requests in flight end; after `grace_s` seconds SIGKILL.

        Its Python stubs end with it, and what they kept in shared memory is removed; so is what a killed server's
        backend has left in /tmp, where no other server's can be meant. Stopping it twice is harmless.

        Returns:
            Its return code, as Popen gives it.
        """
        try:
            await self._client.close()
        finally:
            code = await child.stop_async(self._process, grace_s)
            await asyncio.to_thread(self._log.close)
            self._clear_shared_memory()
            if code == -signal.SIGKILL:
                await asyncio.to_thread(scratch.remove_orphans, self._began_s)
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
            f"--metrics-address={self.near_host}",
            f"--metrics-port={self.metrics_port}",
            "--allow-gpu-metrics=false",
            "--allow-cpu-metrics=false",
            # Triton gives a stub 30 s, which several imports of torch at once on a small machine may exceed.
            f"--backend-config=python,stub-timeout-seconds={max(1, round(options.ready_timeout_s))}",
            f"--backend-config=python,shm-region-prefix-name={self._identity}",
            *server_flags(repository, binary),
        ]

    def _address(self, port: int) -> str:
        return f"[{self.near_host}]:{port}" if ":" in self.near_host else f"{self.near_host}:{port}"

    def _clear_shared_memory(self) -> None:
        for region in _SHARED_MEMORY.glob(f"{self._identity}*"):
            region.unlink(missing_ok=True)

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + self._options.ready_timeout_s
        look_at = time.monotonic() + _STUBS_S
        dead: frozenset[int] = frozenset()
        while not await self._is_ready():
            if not self.alive:
                # The log's reader may be a moment behind what the server wrote.
                await asyncio.to_thread(self._log.close)
                raise self._died_early()
            if time.monotonic() > deadline:
                waited = f"{self._options.ready_timeout_s:g} s"
                raise self._failure(f"did not get {self.model} version {self.version} ready within {waited}")
            if time.monotonic() > look_at:
                # Triton waits for a stub that was killed until the end of its time; one that it has ended, it reaps.
                look_at += _STUBS_S
                before, dead = dead, await asyncio.to_thread(stubs.dead_stubs_of, self.pid)
                if self.alive and (lost := before & dead):
                    self._stubs = tuple(lost)
                    raise self.death()
            await asyncio.sleep(_LOOK_S)

    async def _until_stubs_are_known(self) -> None:
        """A stub may have ended since the server got ready; Triton has not noticed, so it is still its child."""
        self._stubs = await asyncio.to_thread(stubs.children_of, self.pid)
        if not self.alive:
            raise self.death()

    async def _is_ready(self) -> bool:
        """Whether this very server says that this version, and no other, is ready."""
        try:
            server = _object(await _within(self._client.get_server_metadata()))
            if server["name"] != self._identity:
                return False
            ready = await _within(self._client.is_model_ready(self.model, str(self.version)))
            if not ready or (await self.metadata())["versions"] != [str(self.version)]:
                return False
            # The last port that it takes: one that finds it taken has been ready all the same, and ends.
            return listens(self.pid, self.metrics_port)
        except Exception:  # noqa: BLE001 - a server that is starting fails in many ways, and each means 'not yet'
            return False

    def _died_early(self) -> StartFailed:
        said = self.last_error
        if said and "already in use" in said:
            return _PortTakenMeanwhile(said)
        code = stubs.exit_code_of(self.pid)
        silent = f"it {stubs.words_of(code)} and gave no reason"
        failure = self._failure(f"ended before {self.model} version {self.version} was ready", silent)
        died = ServerDied(failure.sentence, failure.hint)
        died.exit_code, died.words = code, "\n".join(self.log_lines)
        return died

    def _failure(self, what: str, silent: str = "it gave no reason") -> StartFailed:
        hint = "Correct the artifact, or raise triton.ready_timeout_s if it only needs longer."
        sentence = f"Triton {what}: {self.last_error or silent}."
        return StartFailed(sentence, f"{hint} {self._whereabouts}".strip())

    @property
    def _whereabouts(self) -> str:
        return f"Its log is {self._options.log_file}." if self._options.log_file else ""


_SECRETS = ("RAY_", "SLUICE_")
_INHERITED = frozenset({"SLUICE_RUN", "SLUICE_CACHE_DIR", "SLUICE_TRITON_BINARY"})


class _PortTakenMeanwhile(StartFailed):
    """Another program bound the port first."""


def _environment(binary: TritonBinary, options: ServerOptions) -> dict[str, str]:
    threads = dict.fromkeys(_THREADS, str(options.threads))
    # A model's code can read this: the cluster's token, the store's password and keys are not for it.
    ours = {name: value for name, value in os.environ.items() if name in _INHERITED or not name.startswith(_SECRETS)}
    return {**threads, **ours, **binary.environment, **options.environment}


async def _within(call: Any) -> Any:  # noqa: ANN401 - tritonclient ships no types
    async with asyncio.timeout(_CALL_TIMEOUT_S):
        return await call


def _object(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    if not isinstance(answer, dict):
        raise TypeError(f"Triton answered {type(answer).__name__} where an object belongs")
    return answer
