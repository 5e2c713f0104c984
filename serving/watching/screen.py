"""The live view at a terminal: it asks in a thread of its own, reads keys, and paints what `frame` says.

Asking may take seconds while the API is away; the screen still answers to keys and to another size at once. Where
there is no terminal, lines are printed instead, one for each change (`lines`).
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from serving.errors import ControlError
from serving.watching.frame import Line, Mood, Size, frame
from serving.watching.lines import lines
from serving.watching.seen import Answer, Seen

PAUSE_S: Final = 1.0
_WAKE_S: Final = 0.1
_QUIT: Final = frozenset({"q", "Q", "\x03", "\x04"})
_STYLES: Final = MappingProxyType(
    {
        Mood.PLAIN: "",
        Mood.TITLE: "bold",
        Mood.GOOD: "green",
        Mood.CAREFUL: "yellow",
        Mood.BAD: "bold red",
        Mood.FAINT: "dim",
    }
)

Ask = Callable[[float], Answer]
"""Asks the API, given the time; raises ControlError where it does not answer."""


class Asker:
    """Asks again and again in a thread, and keeps what was seen. A context manager.

    Args:
        ask: the API.
        clock: seconds that only go forward.
        pause_s: between two questions, seconds.
    """

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic, pause_s: float = PAUSE_S) -> None:
        self._ask, self._clock, self._pause_s = ask, clock, pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="rollout-watch", daemon=True)
        self.seen = Seen()
        """What was seen so far: one reference, replaced whole."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # a question under way is not waited for: nobody wants its answer any more

    def _go_on(self) -> None:
        while not self._over.is_set():
            try:
                self.seen = asked(self.seen, self._ask, self._clock())
            except RuntimeError:  # the connection was closed under a question that nobody waits for
                if not self._over.is_set():
                    raise
            self._over.wait(self._pause_s)


def asked(seen: Seen, ask: Ask, now_s: float) -> Seen:
    """What was seen, after asking once more."""
    try:
        return seen.with_answer(ask(now_s))
    except ControlError as error:
        return seen.with_silence(error.sentence, now_s)


def painted(drawn: tuple[Line, ...], width: int) -> Group:
    """The lines as rich paints them; whatever takes two columns is counted as two."""
    texts = []
    for line in drawn:
        text = Text(line.words, style=_STYLES[line.mood], no_wrap=True)
        text.truncate(width, overflow="ellipsis")
        texts.append(text)
    return Group(*texts)


def show(ask: Ask, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
    """The screen, until somebody presses q or Ctrl-C."""
    with Asker(ask, clock) as asker, _keys() as pressed, _live(console) as live:
        before: object = None
        while not pressed():
            size = Size(*console.size)
            drawn = frame(asker.seen, clock(), size)
            if (drawn, size) != before:
                live.update(painted(drawn, size.width), refresh=True)
                before = (drawn, size)


def print_lines(ask: Ask, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
    """A line for each change, until the rollout is over."""
    seen = Seen()
    while True:
        after = asked(seen, ask, clock())
        for line in lines(seen, after):
            say(line)
        if after.last is not None and after.last.standing.over and not after.silence:
            return
        seen = after
        time.sleep(PAUSE_S)


def _live(console: Console) -> Live:
    return Live(console=console, screen=True, auto_refresh=False, transient=True)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[], bool]]:
    """Whether somebody wants to leave, after waiting a moment for a key; the terminal is put back in the end."""
    if not sys.stdin.isatty():
        yield _no_keys
        return
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file)
        yield lambda: _left(file)
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


def _left(file: int) -> bool:
    ready, _, _ = select.select([file], [], [], _WAKE_S)
    if not ready:
        return False
    keys = os.read(file, 64).decode(errors="replace")
    return not keys or any(key in _QUIT for key in keys)  # nothing to read: the terminal is gone


def _no_keys() -> bool:
    time.sleep(_WAKE_S)
    return False
