"""What a tritonserver says: kept short in memory, whole in a file that cannot grow without end, and never in its way.

A pipe that nobody reads stops the server that writes to it, so a thread of its own reads until the last process that
holds the other end has gone. What to do about an error is left to whoever asks for it.
"""

import logging
import re
import threading
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

_KEPT_LINES = 200
_LONGEST_LINE = 8_192
_LARGEST_FILE = 8 * 2**20

_ERROR = re.compile(r"E\d{4} [\d:.]+ +\d+ [^\]]+\] *(?P<said>.*)")
_ELSE = re.compile(r"error: *(?P<said>.*)|(?P<loader>.*error while loading shared libraries.*)")
_HARMLESS = ("CudaDriverHelper has not been initialized",)
"""Said as an error by every server on a machine without a GPU."""


class TritonLog:
    """What one server writes.

    Args:
        file: where every line goes, in at most two files of 8 MiB; None for nowhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._file = _LineFile(file) if file else None
        self._thread: threading.Thread | None = None

    def follow(self, pipe: IO[bytes]) -> None:
        """Reads the pipe, from now until its other end is closed, and closes it."""
        self._thread = threading.Thread(target=self._read, args=(pipe,), name="triton-log", daemon=True)
        self._thread.start()

    @property
    def lines(self) -> tuple[str, ...]:
        """The last 200 lines."""
        return tuple(self._lines)

    @property
    def last_error(self) -> str | None:
        """What the last line that reports an error says, in one line; None if there is none."""
        return last_error(self.lines)

    def close(self, timeout_s: float = 2.0) -> None:
        """Waits for the last words of a server that has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LINE):
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                if self._file is not None:
                    self._file.emit(logging.makeLogRecord({"msg": text}))
        if self._file is not None:
            self._file.close()


class _LineFile(RotatingFileHandler):
    """A file of lines that starts anew, keeping the one before, when it gets too long."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(file, maxBytes=_LARGEST_FILE, backupCount=1, delay=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: a disk that is full costs lines, never the server."""


def last_error(lines: tuple[str, ...]) -> str | None:
    """What the last of Triton's own error lines says; without one, what its starter or the loader says."""
    for pattern in (_ERROR, _ELSE):
        for line in reversed(lines):
            found = pattern.match(line)
            if found and not any(harmless in line for harmless in _HARMLESS):
                return _one_line(next(filter(None, found.groups()), ""))
    return None


def _one_line(said: str) -> str:
    """Triton quotes a message and writes its line breaks as a backslash and an n; the first line says what."""
    return said.strip().strip('"').partition("\\n")[0].strip().rstrip(".")
