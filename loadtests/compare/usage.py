"""What a process and its children use: CPU seconds and memory, as the kernel counts them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """The CPU seconds that each process of a family has used so far, by process id and start."""

    cpu_s: dict[tuple[int, float], float]

    def since(self, before: Usage) -> float:
        """CPU seconds of the whole family from then until now; whoever ended meanwhile is left out."""
        return sum(used - before.cpu_s.get(key, 0.0) for key, used in self.cpu_s.items())


def cpu(pid: int) -> Usage:
    """What the process and everything below it have used."""
    used = {}
    for process in _family(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used[process.pid, process.create_time()] = times.user + times.system
    return Usage(used)


def resident_mb(pid: int) -> float:
    """Resident memory of the process and everything below it, in MB; what they share counts for each."""
    total = 0
    for process in _family(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total / _MB


def private_mb(pid: int) -> float:
    """What would be free if this process ended, in MB: the private pages of /proc/PID/smaps_rollup."""
    return float(psutil.Process(pid).memory_full_info().uss) / _MB


def on_one_core(pids: Iterable[int | None]) -> None:
    """From here on these processes, what they start included, run on the last core that this one may use."""
    core = max(psutil.Process().cpu_affinity())
    for pid in pids:
        if pid is not None:
            psutil.Process(pid).cpu_affinity([core])


def _family(pid: int) -> Iterator[psutil.Process]:
    process = psutil.Process(pid)
    yield process
    yield from process.children(recursive=True)
