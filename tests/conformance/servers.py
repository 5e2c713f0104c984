"""One real Triton and one gateway in front of it, as processes that end with the test, whatever becomes of it.

Triton is started by its own command line, not by the product, so that both columns of the suite rest on the same
server and nothing of ours stands between it and the first column.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from serving import child
from serving.triton.binary import find
from serving.triton.ports import free_ports
from tests.conformance.http.requests import request
from tests.conformance.http.wire import Connection
from tests.conformance.models import repository
from tests.conformance.targets import Column, Place, Target
from tests.e2e.system import until

NAME = "triton"
"""What Triton calls itself, in its metadata."""

_GRACE_S = 5.0
_HOST = "127.0.0.1"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the kernel keeps POSIX shared memory)
_LISTENS = re.compile(r"listening on http://[^:]+:(\d+), gRPC on [^:]+:(\d+)")
_READY = request("GET", "/v2/health/ready")


@dataclass(frozen=True)
class Running:
    """A server that was started.

    Attributes:
        http: where it listens for HTTP.
        grpc: the port of its gRPC listener.
        process: the server.
    """

    http: Place
    grpc: int
    process: subprocess.Popen[bytes]

    def target(self, column: Column) -> Target:
        """What the kit is aimed at."""
        return Target(column, self.http, f"{_HOST}:{self.grpc}")


@dataclass(frozen=True)
class Pair:
    """A Triton, and the gateway in front of it."""

    server: Running
    worker: Running

    @property
    def triton(self) -> Place:
        """Where Triton alone is."""
        return self.server.http

    @property
    def gateway(self) -> Place:
        """Where the gateway is."""
        return self.worker.http

    @property
    def targets(self) -> tuple[Target, ...]:
        """Both, each with its column."""
        return self.server.target(Column.TRITON), self.worker.target(Column.GATEWAY)

    @property
    def triton_lives(self) -> bool:
        """Whether Triton still runs."""
        return child.alive(self.server.process)

    def upstream_connections(self) -> int:
        """How many connections the gateway holds to Triton."""
        held = psutil.Process(self.worker.process.pid).net_connections("tcp4")
        return sum(
            bool(one.raddr) and one.raddr.port == self.triton.port and one.status == psutil.CONN_ESTABLISHED
            for one in held
        )


@contextlib.contextmanager
def pair(folder: Path, models: Iterable[str] = tuple(repository.MODELS)) -> Iterator[Pair]:
    """Both, ready; the gateway routes to version 1 of each of the models, and to `UNSERVED`."""
    models = tuple(models)
    folder.mkdir(exist_ok=True)
    with triton(folder, models) as server, gateway(folder, [server], models) as worker:
        yield Pair(server, worker)


@contextlib.contextmanager
def triton(folder: Path, models: Iterable[str]) -> Iterator[Running]:
    """A Triton with these models."""
    binary = find()
    http, grpc = free_ports(_HOST, range(21_000, 22_000), 2)
    region = f"conformance-{secrets.token_hex(8)}"
    log = folder / "triton.log"
    command = [
        str(binary.path),
        f"--id={NAME}",
        f"--model-repository={repository.write(folder / 'repository', models)}",
        *([f"--backend-directory={binary.backend_directory}"] if binary.backend_directory else []),
        "--model-control-mode=none",
        *(f"--{kind}-address={_HOST}" for kind in ("http", "grpc")),
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        "--http-thread-count=4",
        "--allow-metrics=false",
        "--allow-gpu-metrics=false",
        f"--backend-config=python,shm-region-prefix-name={region}",
    ]
    with log.open("wb") as said:
        server = child.spawn(
            command, env={**os.environ, **binary.environment}, stdin=subprocess.DEVNULL, stdout=said,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        until(lambda: _is_ready(Place(_HOST, http), server, log), "Triton")
        yield Running(Place(_HOST, http), grpc, server)
    finally:
        child.stop(server, _GRACE_S)
        for left in _SHARED_MEMORY.glob(f"{region}*"):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def gateway(folder: Path, servers: Iterable[Running], models: Iterable[str]) -> Iterator[Running]:
    """A gateway worker in front of these Tritons."""
    versions = [*((model, repository.VERSION) for model in models), repository.UNSERVED]
    places = [
        f"{model}/{number}={server.http.authority}:{server.grpc}" for server in servers for model, number in versions
    ]
    endpoints = [word for place in places for word in ("--static", place)]
    log = folder / "gateway.log"
    with log.open("wb") as said:
        worker = child.spawn(
            [sys.executable, "-m", "serving.gateway", "--host", _HOST, "--port=0", "--grpc-port=0", *endpoints],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def listens() -> tuple[int, int] | None:
        assert child.alive(worker), f"the gateway ended:\n{log.read_text()}"
        found = _LISTENS.search(log.read_text())
        return (int(found[1]), int(found[2])) if found else None

    try:
        http, grpc = until(listens, "the gateway") or (0, 0)
        yield Running(Place(_HOST, http), grpc, worker)
    finally:
        child.stop(worker, _GRACE_S)


def _is_ready(place: Place, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert child.alive(server), f"Triton ended:\n{log.read_text()}"
    try:
        with Connection(place) as connection:
            connection.send(_READY)
            answer = connection.answer("GET")
    except OSError:
        return False
    return answer is not None and answer.code == 200
