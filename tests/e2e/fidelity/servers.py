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
from tests.e2e.fidelity import repository
from tests.e2e.fidelity.wire import Connection
from tests.e2e.system import until

NAME = "triton"
"""What Triton calls itself, in its metadata."""
UNSERVED = ("compass", 2)
"""A version that the gateway routes to and Triton does not have: metadata and index are the gateway's view."""

_GRACE_S = 5.0
_HOST = "127.0.0.1"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the kernel keeps POSIX shared memory)
_LISTENS = re.compile(r"listening on http://[^:]+:(\d+)")
_READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: test\r\n\r\n"


@dataclass(frozen=True)
class Pair:
    """A Triton, and the gateway in front of it.

    Attributes:
        triton: the port of Triton alone.
        gateway: the port of the gateway.
    """

    triton: int
    gateway: int
    server: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]

    @property
    def triton_lives(self) -> bool:
        """Whether Triton still runs."""
        return child.alive(self.server)

    def upstream_connections(self) -> int:
        """How many connections the gateway holds to Triton."""
        held = psutil.Process(self.worker.pid).net_connections("tcp4")
        return sum(
            bool(one.raddr) and one.raddr.port == self.triton and one.status == psutil.CONN_ESTABLISHED for one in held
        )


@contextlib.contextmanager
def pair(folder: Path, models: Iterable[str] = tuple(repository.MODELS)) -> Iterator[Pair]:
    """Both, ready; the gateway routes to version 1 of each of the models, and to `UNSERVED`."""
    models = tuple(models)
    folder.mkdir(exist_ok=True)
    with triton(folder, models) as (port, server), gateway(folder, [port], models) as (listens, worker):
        yield Pair(port, listens, server, worker)


@contextlib.contextmanager
def triton(folder: Path, models: Iterable[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A Triton with these models: its HTTP port and its process."""
    binary = find()
    http, grpc = free_ports("127.0.0.1", range(21_000, 22_000), 2)
    region = f"fidelity-{secrets.token_hex(8)}"
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
        until(lambda: _is_ready(http, server, log), "Triton")
        yield http, server
    finally:
        child.stop(server, _GRACE_S)
        for left in _SHARED_MEMORY.glob(f"{region}*"):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def gateway(folder: Path, ports: Iterable[int], models: Iterable[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A gateway worker in front of the Tritons on these ports: its own port and its process."""
    versions = [*((model, repository.VERSION) for model in models), UNSERVED]
    places = [f"{model}/{number}={_HOST}:{port}" for port in ports for model, number in versions]
    endpoints = [word for place in places for word in ("--static", place)]
    log = folder / "gateway.log"
    with log.open("wb") as said:
        worker = child.spawn(
            [sys.executable, "-m", "serving.gateway", "--host", _HOST, "--port", "0", *endpoints],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def listens() -> int:
        assert child.alive(worker), f"the gateway ended:\n{log.read_text()}"
        found = _LISTENS.search(log.read_text())
        return int(found[1]) if found else 0

    try:
        yield until(listens, "the gateway"), worker
    finally:
        child.stop(worker, _GRACE_S)


def _is_ready(port: int, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert child.alive(server), f"Triton ended:\n{log.read_text()}"
    try:
        with Connection(port) as connection:
            connection.send(_READY)
            answer = connection.answer("GET")
    except OSError:
        return False
    return answer is not None and answer.code == 200
