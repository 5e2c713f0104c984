"""What became of each request, in 49 bytes: workers write them to files of their own, whoever judges reads all.

A file and not a message, so that what a worker had noted is still there when the worker is not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.choose import Reason

Records = NDArray[Any]
"""Rows of `ROW`."""

ROW = np.dtype([
    ("number", "<u8"), ("due", "<f8"), ("sent", "<f8"), ("took", "<f8"), ("epoch", "<u8"),
    ("version", "<u4"), ("status", "<u2"), ("reason", "u1"), ("error", "u1"), ("ready", "u1"),
])  # fmt: skip
_PACKED = struct.Struct("<QdddQIHBBB")
_REASONS = tuple(Reason)
_NUMBER = {reason.value: number for number, reason in enumerate(_REASONS, start=1)}
_UNSET = 0
_MOST_WORDS = 300


class Kind(IntEnum):
    """How a request travels. What number it has says which: numbers are dealt out to the kinds in turn."""

    JSON = 0
    BINARY = 1
    GRPC = 2


class Error(IntEnum):
    """What went wrong with a request, in classes."""

    NONE = 0
    REFUSED = 1
    SERVER = 2
    TIMEOUT = 3
    LOST = 4
    UNREADABLE = 5
    UNSENT = 6

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS = {
    Error.NONE: "answered",
    Error.REFUSED: "refused (4xx)",
    Error.SERVER: "failed (5xx)",
    Error.TIMEOUT: "no answer in time",
    Error.LOST: "connection refused or lost",
    Error.UNREADABLE: "an answer that cannot be read",
    Error.UNSENT: "never sent: no connection became free in time, or its worker died",
}
UNANSWERED = (Error.TIMEOUT, Error.LOST, Error.UNREADABLE, Error.UNSENT)
"""What is slower than any latency: nobody knows how long it would have taken."""


class Said(NamedTuple):
    """What an answer said of itself; empty where it said nothing."""

    version: str = ""
    reason: str = ""
    epoch: str = ""


class Row(NamedTuple):
    """One request; times in seconds, `due_s` and `sent_s` from the begin of the run.

    Attributes:
        number: of the request, over all kinds (`numbered`).
        due_s: when it was to be sent.
        sent_s: when it was.
        took_s: from `due_s` until the answer was whole.
        status: of HTTP; 0 where there was none.
        error: what went wrong.
        ready: whether a user waited for it, so that its delay is the generator's and no server's.
        said: what the answer said.
    """

    number: int
    due_s: float
    sent_s: float
    took_s: float
    status: int
    error: Error
    ready: bool
    said: Said = Said()


class Writer:
    """A worker's file; what is noted is on its way to the disk at each `flush`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._rows = bytearray()

    def note(self, row: Row) -> None:
        """Takes one down."""
        said = row.said
        self._rows += _PACKED.pack(
            row.number, row.due_s, row.sent_s, row.took_s, _whole(said.epoch, 64), _whole(said.version, 32),
            row.status, _NUMBER.get(said.reason, _UNSET), row.error, row.ready,
        )  # fmt: skip

    def flush(self) -> None:
        """Writes what was noted."""
        if self._rows:
            rows, self._rows = self._rows, bytearray()
            self._file.write(rows)

    def close(self) -> None:
        """Writes what was noted, and ends."""
        self.flush()
        self._file.close()


def legible(text: str) -> str:
    """The begin of what a server says, fit to be shown at a terminal."""
    return "".join(one for one in text[:_MOST_WORDS] if one.isprintable())


def numbered(kind: Kind, nth: int) -> int:
    """The number of the nth request of a kind."""
    return nth * len(Kind) + kind


def kind_of(number: int) -> Kind:
    """How the request of that number travels."""
    return Kind(number % len(Kind))


def reason_of(number: int) -> Reason | None:
    """The reason that a row holds."""
    return _REASONS[number - 1] if number else None


def read(paths: Sequence[Path]) -> Records:
    """All that these files hold, in the order of when each was due; half a row at an end is none."""
    parts = []
    for path in paths:
        said = path.read_bytes()
        parts.append(np.frombuffer(said[: len(said) // ROW.itemsize * ROW.itemsize], ROW))
    rows = np.concatenate(parts) if parts else np.empty(0, ROW)
    return rows[np.argsort(rows["due"], kind="stable")]


def _whole(text: str, bits: int) -> int:
    """A whole number that fits, else 0: a header that says something else says nothing."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 1 << bits else _UNSET  # noqa: PLR2004 - digits of 2**63
