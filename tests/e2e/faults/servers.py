"""Real Triton servers that can be killed and come back on the same port, a gateway in front, and a false replica."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from enum import Enum, auto
from pathlib import Path

import httpx

from loadtests.compare import tritons
from serving import child
from serving.triton.binary import find
from serving.triton.ports import free_ports
from tests.e2e.system import until

MODEL = "m"
ANSWER = b'{"model_name":"m","model_version":"1","outputs":[]}'
_IDENTITY = Path(tritons.__file__).with_name("identity")
_LISTENS = re.compile(r"listening on http://[^:]+:(\d+)")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the kernel keeps POSIX shared memory)


class Replica:
    """A Triton with one version of the identity model, on a port that stays."""

    def __init__(self, folder: Path, version: int, ports: tuple[int, int]) -> None:
        self.version = version
        self.port, self._grpc = ports
        self._folder = folder
        self._region = f"faults-{secrets.token_hex(6)}"
        self._process: subprocess.Popen[bytes] | None = None
        place = folder / "repository" / MODEL
        (place / str(version)).mkdir(parents=True)
        shutil.copyfile(_IDENTITY / "model.py", place / str(version) / "model.py")
        policy = f"version_policy: {{ specific: {{ versions: [ {version} ] }} }}\n"
        (place / "config.pbtxt").write_text((_IDENTITY / "config.pbtxt").read_text() + policy)

    def start(self) -> None:
        """Starts it; `is_ready` says when."""
        binary = find()
        command = [
            str(binary.path),
            f"--model-repository={self._folder / 'repository'}",
            *([f"--backend-directory={binary.backend_directory}"] if binary.backend_directory else []),
            "--http-address=127.0.0.1", "--grpc-address=127.0.0.1",
            f"--http-port={self.port}", f"--grpc-port={self._grpc}",
            "--allow-metrics=false", "--allow-gpu-metrics=false",
            f"--backend-config=python,shm-region-prefix-name={self._region}",
        ]  # fmt: skip
        with (self._folder / "triton.log").open("ab") as said:
            self._process = child.spawn(
                command, env={**os.environ, **binary.environment}, stdin=subprocess.DEVNULL, stdout=said,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(httpx.HTTPError):
            path = f"/v2/models/{MODEL}/versions/{self.version}/ready"
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5).status_code == 200
        return False

    def kill(self) -> None:
        """SIGKILL, and nothing of it is left."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        for left in _SHARED_MEMORY.glob(f"{self._region}*"):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def replicas(folder: Path, *versions: int) -> Iterator[list[Replica]]:
    """One for each of these versions, ready."""
    made: list[Replica] = []
    try:
        # All at once: a port that is free until its server binds it would else be drawn twice now and then.
        ports = free_ports("127.0.0.1", range(21_000, 22_000), 2 * len(versions))
        for number, version in enumerate(versions):
            made.append(Replica(folder / f"replica-{number}", version, (ports[2 * number], ports[2 * number + 1])))
            made[-1].start()
        for one in made:
            until(lambda one=one: one.is_ready, f"replica of version {one.version}")  # type: ignore[misc]
        yield made
    finally:
        for one in made:
            one.kill()


@contextlib.contextmanager
def gateway(folder: Path, places: list[tuple[int, int]], *options: str) -> Iterator[int]:
    """A gateway worker in front of these (version, port): the port where it listens."""
    endpoints = [word for version, port in places for word in ("--static", f"{MODEL}/{version}=127.0.0.1:{port}")]
    log = folder / "gateway.log"
    with log.open("wb") as said:
        worker = child.spawn(
            [sys.executable, "-m", "serving.gateway", "--port", "0", *endpoints, *options],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        until(lambda: _LISTENS.search(log.read_text()), "the gateway")
        found = _LISTENS.search(log.read_text())
        yield int(found[1]) if found else 0
        assert child.alive(worker), log.read_text()
    finally:
        child.stop(worker, 5.0)
        assert "Traceback" not in log.read_text(), log.read_text()


class Mood(Enum):
    """What the false replica does about a request."""

    ANSWERS = auto()
    HANGS = auto()
    """Accepts, and never answers, not even that it is well."""
    HALVES = auto()
    """Sends half of the answer and closes."""


class FalseReplica:
    """Speaks HTTP as far as the gateway needs it, in the mood that it is told to be in.

    Attributes:
        mood: at present.
        faults: requests that were answered in a bad mood.
    """

    def __init__(self) -> None:
        self.mood = Mood.ANSWERS
        self.faults = 0
        self.served = 0
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def end(self) -> None:
        """Drops every connection."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        goes_on = True
        while goes_on:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            goes_on = await self._answer(writer)

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        if self.mood is Mood.ANSWERS:
            self.served += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))
            return True
        self.faults += 1
        if self.mood is Mood.HANGS:
            await asyncio.sleep(5)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER[:20]))
            await writer.drain()
        return False


@contextlib.asynccontextmanager
async def false_replica() -> AsyncIterator[FalseReplica]:
    """One that listens."""
    one = FalseReplica()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        await one.end()
