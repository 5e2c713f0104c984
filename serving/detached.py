"""A command that stays: until a signal ends it, at the terminal or in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

from serving.errors import SluiceError, StartFailed

Progress = Callable[[str], None]
"""Told in a few words what is being waited for."""


class Up(Protocol):
    """What has come up."""

    @property
    def words(self) -> str:
        """What whoever started it is told, a line each."""


Running = Callable[[Progress], AbstractContextManager[Up]]


def stay() -> None:
    """Waits until SIGINT or SIGTERM; call it in a `running` block."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()


class Signals:
    """While it is entered SIGTERM interrupts like SIGINT, and a second of either ends everything at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take(self) -> None:
        """Takes the signals again, from whoever took them since."""
        for number in self._before:
            signal.signal(number, self._end)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(1)  # all that we started dies with us
        self._asked = True
        raise KeyboardInterrupt


def go_on_detached(state_dir: Path, running: Running) -> None:
    """Goes on in a process of its own; returns when that is ready, or says what it said.

    Args:
        state_dir: its log comes to lie there, as `up.log`.
        running: brings everything up, for as long as a block lasts.

    Raises:
        StartFailed: it did not come up.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = state_dir / "up.log"
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        _detached(running, log, tell)
    os.close(tell)
    with os.fdopen(told) as lines:
        for line in lines:
            kind, _, text = line.rstrip("\n").partition(" ")
            if kind == "failed":
                sentence, _, hint = text.partition("\t")
                raise StartFailed(sentence, hint or f"Its log: {log}")
            print(text.replace("\t", "\n"), flush=True)  # noqa: T201 (to the person who typed it)
            if kind == "ready":
                return
    raise StartFailed("It ended before it was ready.", f"Its log: {log}")


def _detached(running: Running, log: Path, tell: int) -> None:
    """The child's side: a session of its own, its output in the log. Never returns."""
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    code = 1
    try:
        with running(lambda text: _tell(tell, "progress", f"{text} …")) as system:
            _tell(tell, "ready", system.words.replace("\n", "\t"))
            os.close(tell)
            stay()
        code = 0
    except SluiceError as error:
        with contextlib.suppress(OSError):
            _tell(tell, "failed", f"{error.sentence}\t{error.hint}".replace("\n", " "))
    except Exception:  # noqa: BLE001 - nobody above could print it: this process ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(pipe: int, kind: str, text: str) -> None:
    with contextlib.suppress(OSError):  # whoever asked may have gone home
        os.write(pipe, f"{kind} {text}\n".encode())
