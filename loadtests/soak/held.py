"""What each process of an installation holds, over time: memory of its own, and open files.

The processes are found by what they are for, as an operator would with `ps`, below the command that started them. One
that ends is told, with when: whoever takes its place is another one, whose memory says nothing of the first.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import psutil

from loadtests.beside import Beside
from loadtests.installation import Failed

WORKER, SUPERVISOR, KEEPER = "gateway worker", "supervisor", "keeper"
CONTROL, SIDECAR, STORE = "control room", "drift sidecar", "Valkey"
GATEWAY: Final = (WORKER, SUPERVISOR, KEEPER)
"""What a gateway consists of; the others are there once."""
PARTS: Final[Mapping[str, str]] = {
    WORKER: "-m serving.gateway ",
    SUPERVISOR: "ServeReplica:sluice:gateway",
    KEEPER: "-m serving.keeping ",
    CONTROL: "ServeReplica:sluice:control",
    SIDECAR: "-m drift ",
    STORE: "valkey-server",
}
"""Each part, and the words that its command line has."""
_COMES_WITHIN_S: Final = 60.0
_LOOK_S: Final = 0.2


def processes(pid: int, workers: int) -> Mapping[str, psutil.Process]:
    """Those of an installation, by part; gateway workers have numbers.

    Args:
        pid: of the command that started it.
        workers: how many gateway workers there are to be.

    Raises:
        Failed: a part does not run.
    """
    wanted = {part: workers if part == WORKER else 1 for part in PARTS}
    deadline = time.monotonic() + _COMES_WITHIN_S
    while True:
        there = _parts(pid)
        if Counter(part for part, _ in there) == wanted:
            return dict(_named(there))
        if time.monotonic() > deadline:
            found = ", ".join(f"{part} ({process.pid})" for part, process in there) or "nothing"
            raise Failed(f"There are to be {workers} gateway workers and one of each other part, and there is {found}.")
        time.sleep(_LOOK_S)


def _parts(pid: int) -> Sequence[tuple[str, psutil.Process]]:
    """Every process below that one that is a part, the oldest first."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        said = _command(process)
        found += [(part, process) for part, words in PARTS.items() if words in said]
    return sorted(found, key=lambda one: (list(PARTS).index(one[0]), one[1].pid))


def _command(process: psutil.Process) -> str:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return f"{' '.join(process.cmdline())} " if alive else ""
    except psutil.Error:
        return ""


def _named(parts: Sequence[tuple[str, psutil.Process]]) -> Sequence[tuple[str, psutil.Process]]:
    numbers: Counter[str] = Counter()
    named = []
    for part, process in parts:
        numbers[part] += 1
        named.append((f"{part} {numbers[part]}" if part == WORKER else part, process))
    return named


class Watch(Beside):
    """Measures processes for as long as the block lasts.

    Args:
        watched: by name.
        every_s: how often, seconds.
        clock: seconds since 1970.

    Attributes:
        at_s: when it measured, by that clock.
        memory: bytes that are a process's own (what would be free without it), by name; NaN once it is gone.
        files: open files, sockets among them, by name; likewise.
        ended: when a process was first found gone, by name.
    """

    def __init__(
        self, watched: Mapping[str, psutil.Process], every_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._watched = watched
        self._every_s = every_s
        self._clock = clock
        self.at_s: list[float] = []
        self.memory: dict[str, list[float]] = {name: [] for name in watched}
        self.files: dict[str, list[float]] = {name: [] for name in watched}
        self.ended: dict[str, float] = {}

    def goes_on(self) -> None:
        """Once at once, and then every so often."""
        self._measure()
        while not self.over.wait(self._every_s):
            self._measure()

    def _measure(self) -> None:
        self.at_s.append(self._clock())
        for name, process in self._watched.items():
            memory, files = self._held(name, process)
            self.memory[name].append(memory)
            self.files[name].append(files)

    def _held(self, name: str, process: psutil.Process) -> tuple[float, float]:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return float(process.memory_full_info().uss), float(process.num_fds())
        except psutil.NoSuchProcess:
            pass
        self.ended.setdefault(name, self.at_s[-1])
        return math.nan, math.nan
