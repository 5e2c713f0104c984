"""A terminal for tests: a pseudo-terminal with a command in it, and the screen that a person would see.

The screen understands what full-screen programs of today send: moving the cursor, erasing, the other screen, colours
(which it leaves out). What it does not understand it raises on, so that no test passes because something was skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_SEQUENCE = re.compile(r"\x1b\[(?P<private>\?)?(?P<numbers>[0-9;]*)(?P<what>[A-Za-z])")
_OTHER_SCREEN = "1049"


class Screen:
    """Rows of characters, and a cursor.

    Args:
        width: in characters.
        height: in rows.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._rest = ""
        self._column = self._row = 0
        self._cells = self._blank()
        self._main = self._cells
        self.other = False
        """Whether the other screen is shown, which leaves no trace when a program ends."""

    @property
    def rows(self) -> list[str]:
        """What is to be seen, without blanks at the ends."""
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def text(self) -> str:
        """The same, as one text."""
        return "\n".join(self.rows)

    def resize(self, width: int, height: int) -> None:
        """Another size; what was to be seen stays where there is room for it, as with real terminals."""
        before = self._cells
        self.width, self.height = width, height
        self._cells = self._blank()
        for row, cells in enumerate(before[:height]):
            self._cells[row][: min(width, len(cells))] = cells[:width]
        self._row, self._column = min(self._row, height - 1), min(self._column, width - 1)

    def feed(self, text: str) -> None:
        """What the program wrote; a sequence may come in pieces."""
        text, self._rest = self._rest + text, ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._put(text[at])
                at += 1
                continue
            found = _SEQUENCE.match(text, at)
            if found is None:
                if len(text) - at > 16:
                    raise ValueError(f"this terminal does not understand {text[at : at + 16]!r}")
                self._rest = text[at:]
                return
            self._obey(found)
            at = found.end()

    def _put(self, one: str) -> None:
        if one == "\r":
            self._column = 0
        elif one == "\n":
            self._down()
        elif one.isprintable():
            if self._column >= self.width:  # a full row goes on in the next one
                self._column = 0
                self._down()
            self._cells[self._row][self._column] = one
            self._column += 1
        else:
            raise ValueError(f"this terminal does not understand {one!r}")

    def _down(self) -> None:
        if self._row == self.height - 1:
            self._cells.pop(0)
            self._cells.append([" "] * self.width)
        else:
            self._row += 1

    def _obey(self, found: re.Match[str]) -> None:
        numbers = [int(number) if number else 0 for number in found["numbers"].split(";")]
        first = numbers[0]
        moves = {"A": (-1, 0), "B": (1, 0), "C": (0, 1), "D": (0, -1)}
        if found["what"] in "hl":
            self._switch(found)
        elif found["what"] == "H":
            self._row, self._column = max(first, 1) - 1, (numbers[1] if len(numbers) > 1 else 1) - 1
        elif found["what"] in moves:
            down, right = moves[found["what"]]
            self._row = min(self.height - 1, max(0, self._row + down * max(first, 1)))
            self._column = min(self.width - 1, max(0, self._column + right * max(first, 1)))
        elif found["what"] == "K":
            self._erase_row(first)
        elif found["what"] == "J":
            self._cells = self._blank() if first == 2 else self._cells
        elif found["what"] != "m":
            raise ValueError(f"this terminal does not understand {found[0]!r}")

    def _switch(self, found: re.Match[str]) -> None:
        if found["private"] and found["numbers"] == _OTHER_SCREEN:
            self.other = found["what"] == "h"
            if self.other:
                self._main, self._cells = self._cells, self._blank()
            else:
                self._cells = self._main

    def _erase_row(self, what: int) -> None:
        row = self._cells[self._row]
        begins = 0 if what else self._column
        row[begins:] = [" "] * (len(row) - begins)

    def _blank(self) -> list[list[str]]:
        return [[" "] * self.width for _ in range(self.height)]


class Terminal:
    """A command in a pseudo-terminal, and its screen."""

    def __init__(self, command: list[str], width: int, height: int, environment: Mapping[str, str]) -> None:
        self.screen = Screen(width, height)
        self._bytes = b""
        self._file, inner = pty.openpty()
        self._inner = inner
        self.resize(width, height)
        self.settings: list[Any] = termios.tcgetattr(inner)
        unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
        env = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            command,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env={**env, "TERM": "xterm-256color", **environment},
        )

    def resize(self, width: int, height: int) -> None:
        """Another size of the window."""
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.screen.resize(width, height)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._file, keys.encode())

    def until(self, shown: Callable[[Screen], bool], timeout_s: float = 30.0) -> Screen:
        """The screen, once it shows that; fails with what it shows instead."""
        deadline = time.monotonic() + timeout_s
        while not shown(self.screen):
            assert time.monotonic() < deadline, f"the screen still shows:\n{self.screen.text}"
            self._read(0.1)
        return self.screen

    def ended(self, timeout_s: float = 20.0) -> int:
        """The exit code."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it has not ended, and shows:\n{self.screen.text}"
            self._read(0.1)
        self._read(0.1)
        return self.process.returncode

    def settings_now(self) -> list[Any]:
        """How the terminal is set: what a program changed, it has to put back."""
        return termios.tcgetattr(self._inner)

    def close(self) -> None:
        """Ends whatever runs in it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=20)
        os.close(self._file)
        os.close(self._inner)

    def _read(self, timeout_s: float) -> None:
        while select.select([self._file], [], [], timeout_s)[0]:
            with contextlib.suppress(OSError):
                self._decode(os.read(self._file, 65_536))
            timeout_s = 0.0

    def _decode(self, piece: bytes) -> None:
        text, self._bytes = _decoded(self._bytes + piece)
        self.screen.feed(text)


@contextlib.contextmanager
def terminal(
    command: list[str], width: int = 80, height: int = 24, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """A terminal of that size with the command in it."""
    made = Terminal(command, width, height, environment or {})
    try:
        yield made
    finally:
        made.close()


def _decoded(said: bytes) -> tuple[str, bytes]:
    """The text of whole characters, and the beginning of one that is not complete."""
    for cut in range(4):
        whole, rest = said[: len(said) - cut], said[len(said) - cut :]
        with contextlib.suppress(UnicodeDecodeError):
            return whole.decode(), rest
    return said.decode(errors="replace"), b""
