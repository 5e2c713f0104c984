"""Real installations for tests: the `sluice` command in a folder of its own, and what it leaves behind.

Every process that such a command starts inherits a mark in its environment, so that what is left over can be found
among whatever else runs on this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil

COMMAND = (str(Path(sys.executable).with_name("sluice")),)
T = TypeVar("T")
_MARK = "STARTED_BY_TEST"
PATIENCE_S = 90.0
GONE_WITHIN_S = 15.0


def until(look: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
    """The first true thing that `look` returns; fails, saying what was waited for, if there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s:g} s in vain for {what}")
        time.sleep(0.05)


@dataclass
class Installation:
    """A folder, and the commands that are typed in it.

    Attributes:
        folder: where `.sluice` comes to lie.
        settings: environment variables beside those that choose free ports.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def environment(self) -> dict[str, str]:
        """That of every command here."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLUICE_", "RAY_"))}
        ports = {"SLUICE_LISTEN__HTTP_PORT": "0", "SLUICE_CONTROL__PORT": "0", "SLUICE_METRICS__PORT": "0"}
        ports["SLUICE_DRIFT__SIDECAR__METRICS_PORT"] = "0"
        return {**kept, **ports, **self.settings, _MARK: self.mark}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A command that stays; its output goes to `out.log`."""
        with (self.folder / "out.log").open("ab") as out:
            return subprocess.Popen(
                [*COMMAND, *words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def run(self, *words: str, within_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """A command that ends."""
        return subprocess.run(
            [*COMMAND, *words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=within_s,
        )  # fmt: skip

    def output(self) -> str:
        """What the staying commands said so far."""
        return (self.folder / "out.log").read_text()

    def run_file(self) -> dict[str, Any]:
        """Where it answers; empty before it is ready."""
        try:
            found: dict[str, Any] = json.loads((self.folder / ".sluice" / "run.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def ready(self, process: subprocess.Popen[bytes], said: str = "", within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Waits until all answers, and until the command has said this."""

        def look() -> dict[str, Any]:
            assert process.poll() is None, f"ended with {process.returncode}:\n{self.output()}"
            return self.run_file() if said in self.output() else {}

        return until(look, f"{said or 'readiness'} in\n{self.output()}", within_s)

    def processes(self, words: str) -> list[psutil.Process]:
        """Those of ours with these words in their command line."""
        return [process for process in self._ours() if words in _described(process)]

    def left_over(self) -> list[str]:
        """What still runs of all that was ever started here."""
        return [_described(process) for process in self._ours()]

    def gone(self) -> None:
        """Waits until nothing is left over; fails with what is, and ends that."""
        try:
            until(lambda: not self.left_over(), "the end of all processes", GONE_WITHIN_S)
        except AssertionError as late:
            stubborn = [one[:120] for one in self.left_over()]
            self.kill()
            raise AssertionError(f"{late}: {stubborn}") from None

    def kill(self) -> None:
        """Ends whatever still runs, so that a test that failed leaves nothing to the next one."""
        for process in self._ours():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _ours(self) -> list[psutil.Process]:
        return [one for one in psutil.process_iter() if _carries(one, self.mark) or _works_in(one, self.folder)]


def end(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> int:
    """Asks it to end, and waits; its exit code."""
    process.send_signal(number)
    return process.wait(timeout=PATIENCE_S)


def refuses(url: str) -> bool:
    """Whether nobody listens there."""
    place = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((place.hostname or "", place.port or 0)) != 0


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE or process.ppid() == os.getpid()
        return bool(alive and process.environ().get(_MARK) == mark)
    except psutil.Error:
        return False


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Valkey writes its title over its environment; it works in a folder of ours."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder / ".sluice")
    except (psutil.Error, OSError):
        return False


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(process.pid)
