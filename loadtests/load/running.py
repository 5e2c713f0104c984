"""The processes of a run: a master and workers of Locust's, started, watched, and ended whatever happens.

A worker that dies takes its part of the requests with it. That is told, with when and by what, and those requests
count as never sent; the others go on.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from loadtests.installation import Failed
from loadtests.load.spec import Spec
from serving.child import alive, spawn, stop

Tell = Callable[[Mapping[str, Any]], None]

_MODULE = "loadtests.load.generator"
_GRACE_S = 5.0
_LOOK_S = 0.1
_STARTS_WITHIN_S = 120.0
_LAST_WORDS = 2_000


@dataclass(frozen=True, slots=True)
class Died:
    """A worker that ended before the run did: which, when (seconds from the begin) and how."""

    worker: int
    at_s: float
    how: str

    def __str__(self) -> str:
        """The sentence."""
        return (
            f"Worker {self.worker} died {self.at_s:.1f} s into the run ({self.how}): what it had to send was not sent."
        )


@dataclass(slots=True)
class Ran:
    """A run that is over.

    Attributes:
        began: seconds since 1970.
        died: the workers that did not live to see its end.
        mistakes: what went wrong in the generator itself.
    """

    began: float = 0.0
    died: list[Died] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)


class Processes:
    """A master and its workers.

    Args:
        spec: what they do.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._said: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._over = False
        self.workers: list[subprocess.Popen[bytes]] = []
        """By their number."""

    def play(self, tell: Tell) -> Ran:
        """The whole run; `tell` hears how far it is, about once a second.

        Raises:
            Failed: it could not begin, or its master died.
        """
        ran = Ran()
        try:
            master = self._start("master", ["master"], stdout=subprocess.PIPE)
            threading.Thread(target=_read, args=(master.stdout, self._said.put), daemon=True).start()
            port = int(self._heard(master, "port")["port"])
            for worker in range(self._spec.workers):
                self.workers.append(self._start(f"worker-{worker}", ["worker", str(port), str(worker)]))
            ran.began = float(self._heard(master, "began")["began"])
            self._watch(master, tell, ran)
        finally:
            for process in self._all:
                stop(process, _GRACE_S)
        return ran

    def _watch(self, master: subprocess.Popen[bytes], tell: Tell, ran: Ran) -> None:
        while not self._over:
            self._bury(ran)
            said = self._next(master)
            if said.get("over"):
                self._over = True
                ran.mistakes += said["mistakes"]
            elif said:
                tell(said)
        deadline = time.monotonic() + _GRACE_S + self._spec.timeout_s
        while any(map(alive, self._all)) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def _bury(self, ran: Ran) -> None:
        """Notes workers that are gone, once each."""
        known = {one.worker for one in ran.died}
        for worker, process in enumerate(self.workers):
            if worker not in known and process.poll():  # with 0 it was told to go
                ran.died.append(Died(worker, time.time() - ran.began, _how(process.returncode)))

    def _heard(self, master: subprocess.Popen[bytes], key: str) -> Mapping[str, Any]:
        """What the master says, up to the word that is waited for."""
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < deadline:
            if key in (said := self._next(master)):
                return said
            for worker, process in enumerate(self.workers):
                if process.poll() is not None:
                    raise Failed(f"A worker did not start:\n{self._words(f'worker-{worker}')}")
        raise Failed(f"The run did not begin within {_STARTS_WITHIN_S:g} s:\n{self._words('master')}")

    def _next(self, master: subprocess.Popen[bytes]) -> Mapping[str, Any]:
        """What the master says next; nothing where it says nothing for a while."""
        try:
            said = self._said.get(timeout=_LOOK_S)
        except queue.Empty:
            return {}
        if said is None:
            raise Failed(f"The master of the run died ({_how(master.wait())}):\n{self._words('master')}")
        return said

    def _start(self, name: str, part: list[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        with self._log(name).open("wb") as log:
            argv = [sys.executable, "-m", _MODULE, *part]
            process = spawn(argv, stdin=subprocess.PIPE, stdout=log if stdout is None else stdout, stderr=log)
        self._all.append(process)
        if process.stdin:
            with suppress(BrokenPipeError), process.stdin:  # it is dead already: whoever waits for it says why
                process.stdin.write(self._spec.encode())
        return process

    def _log(self, name: str) -> Path:
        return self._spec.folder / f"{name}.log"

    def _words(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")[-_LAST_WORDS:].strip()


def _read(pipe: IO[bytes], put: Callable[[Mapping[str, Any] | None], None]) -> None:
    """Hands on each line that is an object of JSON, and None at the end of them."""
    with pipe:
        for line in pipe:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict):
                put(said)
    put(None)


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
