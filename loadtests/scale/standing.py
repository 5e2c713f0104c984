"""An installation of one size that is up, and what its processes and its store use.

It is `sluice up` with a store of its own; whose servers answer is `answering`, on as many addresses of loopback as a
version has servers. Leases live ten times as long as they do by default, so that a machine which all of this keeps busy
lets none lapse.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psutil

from loadtests.compare.peers import free_port
from loadtests.installation import Failed, Installation, installation
from loadtests.scale.plan import Point
from loadtests.scale.stores import Said, asked, store
from serving import child

LEASE_S: Final = 30.0
_MOST_SERVERS = 50
_STOP_S = 5.0
_COMES_WITHIN_S = 60.0
_LOOK_S = 0.2
_ROOMS = MappingProxyType({"worker": "-m serving.gateway", "control": "ServeReplica:sluice:control"})
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Rest:
    """What one installation uses while nobody asks it.

    Attributes:
        worker_cpu: seconds in a second, of one gateway worker.
        control_cpu: the same of the control room.
        store_cpu: the same of the store.
        commands_per_s: that the store answers.
        bytes_per_s: that go to the store and come from it.
        clients: connections to the store.
        worker_mb: private memory of a worker, MB.
    """

    worker_cpu: float
    control_cpu: float
    store_cpu: float
    commands_per_s: float
    bytes_per_s: float
    clients: int
    worker_mb: float


@dataclass(frozen=True, slots=True)
class Standing:
    """One that is up.

    Attributes:
        point: its size.
        url: where predictions go.
        ready_s: how long it took until every model answered, seconds.
    """

    point: Point
    url: str
    ready_s: float
    _installation: Installation
    _store: tuple[str, int]

    def wait(self) -> None:
        """Until each of its processes is there: one worker is enough for a model to answer.

        Raises:
            Failed: they do not come.
        """
        deadline = time.monotonic() + _COMES_WITHIN_S
        while True:
            try:
                for room in _ROOMS:
                    self._processes(room)
            except Failed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_S)
            else:
                return

    def workers_cpu_s(self) -> float:
        """CPU seconds that the gateway's workers have used so far."""
        return _cpu_s(self._processes("worker"))

    def at_rest(self, seconds: float) -> Rest:
        """What it uses in so many seconds in which nobody asks it."""
        workers, control = self._processes("worker"), self._processes("control")
        kept = [psutil.Process(self._store[1])]
        families = (workers, control, kept)
        before, said = [_cpu_s(one) for one in families], asked(self._store[0])
        began_s = time.monotonic()
        time.sleep(seconds)
        lasted_s = time.monotonic() - began_s
        after, later = [_cpu_s(one) for one in families], asked(self._store[0])
        used = [(then - now) / lasted_s for now, then in zip(before, after, strict=True)]
        commands, moved = _between(said, later)
        memory = sum(float(one.memory_full_info().uss) for one in workers)
        return Rest(
            used[0] / len(workers), used[1], used[2], commands / lasted_s, moved / lasted_s, later.clients,
            memory / len(workers) / _MB,
        )  # fmt: skip

    def _processes(self, what: str) -> list[psutil.Process]:
        """Those of a kind.

        Raises:
            Failed: there are not as many as there should be.
        """
        found = [one for one in psutil.Process(self._installation.pid).children(recursive=True) if _is(one, what)]
        wanted = self.point.workers if what == "worker" else 1
        if len(found) != wanted:
            raise Failed(f"There are {len(found)} processes of kind {what}, where {wanted} should be.")
        return found


@contextmanager
def answering(folder: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What answers in the place of Tritons: a port, and the addresses of loopback that it is on."""
    port = free_port()
    addresses = tuple(f"127.0.1.{number}" for number in range(1, _MOST_SERVERS + 1))
    argv = [sys.executable, "-m", "loadtests.scale.answering", str(port), *addresses]
    with (folder / "answering.log").open("wb") as log:
        process = child.spawn(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield port, addresses
    finally:
        child.stop(process, _STOP_S)


@contextmanager
def standing(point: Point, port: int, addresses: Iterable[str], folder: Path) -> Iterator[Standing]:
    """An installation of that size, for as long as the block lasts.

    Raises:
        Failed: it did not come up.
        NotStarted: there is no store for it.
    """
    folder.mkdir()
    places = [f"{address}:{port}" for address in addresses][: point.servers]
    with store(folder) as kept:
        began_s = time.monotonic()
        with installation(folder, settings_for(point, places, kept[0])) as up:
            stands = Standing(point, up.http_url, time.monotonic() - began_s, up, kept)
            stands.wait()
            yield stands


def settings_for(point: Point, places: list[str], store_url: str) -> Mapping[str, Any]:
    """Of an installation of that size, whose versions are served at these places."""
    versions = [{"version": 1, "endpoints": places}]
    return {
        "gateway": {"workers": point.workers},
        "redis": {"url": store_url, "lease_s": LEASE_S},
        "models": [
            {"name": f"m{number}", "versions": versions, "traffic": {1: "100%"}} for number in range(point.models)
        ],
    }


def _is(process: psutil.Process, what: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return _ROOMS[what] in " ".join(process.cmdline())
    return False


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    return sum(float(times.user + times.system) for times in (one.cpu_times() for one in processes))


def _between(before: Said, after: Said) -> tuple[int, int]:
    """Commands and bytes from one to the other."""
    moved = after.read_bytes - before.read_bytes + after.written_bytes - before.written_bytes
    return after.commands - before.commands, moved
