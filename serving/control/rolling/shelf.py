"""One file of the ledger's archive: entries, a line of JSON each, sorted as the ledger is.

What is asked for is found by bisecting the file, so that a page costs what a page holds, however much the month has
brought. Nothing here writes; a line that has no end yet is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from serving.control.publication import LedgerEntry, Recorded

BEGINNING: Final = (0, 0)
"""The place before the first entry."""

_BLOCK_BYTES: Final = 64 * 1024


class _Line(NamedTuple):
    """Where a line that can be read begins and ends, and the entry in it."""

    begin: int
    end: int
    recorded: Recorded


def entries_after(path: Path, after: tuple[int, int] = BEGINNING) -> Iterator[Recorded]:
    """Those after that place, oldest first."""
    with path.open("rb") as file:
        file.seek(_offset(file, lambda place: place > after))
        for line in file:
            recorded = _read(line)
            if recorded is not None and place_of(recorded.id) > after:
                yield recorded


def entries_before(path: Path, before: tuple[int, int] | None = None) -> Iterator[Recorded]:
    """Those before that place (None: all), newest first."""
    with path.open("rb") as file:
        end = _size(file) if before is None else _offset(file, lambda place: place >= before)
        for line in _lines_back(file, end):
            recorded = _read(line)
            if recorded is not None:
                yield recorded


def last_in(path: Path) -> tuple[int, int]:
    """Where the last whole entry of that file stands."""
    newest = next(entries_before(path), None)
    return BEGINNING if newest is None else place_of(newest.id)


def place_of(entry: str) -> tuple[int, int]:
    """Where an id stands among the others: streams count milliseconds, and entries within one."""
    milliseconds, _, nth = entry.partition("-")
    return int(milliseconds), int(nth or 0)


def recorded_as_dict(recorded: Recorded) -> dict[str, Any]:
    """The entry as plain values."""
    entry = recorded.entry
    return {
        "id": recorded.id,
        "at_ms": recorded.at_ms,
        "kind": entry.kind,
        "who": entry.who,
        "why": entry.why,
        "facts": dict(entry.facts),
    }


def recorded_from(said: dict[str, Any]) -> Recorded:
    """The entry in plain values."""
    return Recorded(said["id"], said["at_ms"], LedgerEntry(said["kind"], said["who"], said["why"], said["facts"]))


def _read(line: bytes) -> Recorded | None:
    """The entry in that line; None where it broke off with the power, or where somebody else wrote it."""
    if not line.endswith(b"\n"):
        return None
    try:
        recorded = recorded_from(json.loads(line))
        place_of(recorded.id)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return recorded


def _offset(file: BinaryIO, beyond: Callable[[tuple[int, int]], bool]) -> int:
    """Where the first line begins whose entry is beyond; the file's end where none is."""
    low, high = 0, _size(file)
    while low < high:
        middle = (low + high) // 2
        found = _next_line(file, middle, high)
        if found is None or beyond(place_of(found.recorded.id)):
            high = middle
        else:
            low = found.end
    return low


def _next_line(file: BinaryIO, at: int, until: int) -> _Line | None:
    """The first line that can be read and begins at or after `at`, and before `until`."""
    file.seek(max(0, at - 1))
    if at:
        file.readline()
    while (begin := file.tell()) < until:
        recorded = _read(line := file.readline())
        if recorded is not None:
            return _Line(begin, begin + len(line), recorded)
    return None


def _lines_back(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Lines that end at or before that offset, which is a line's end, the last first."""
    rest = b""
    while end > 0:
        begin = max(0, end - _BLOCK_BYTES)
        file.seek(begin)
        rest, *whole = (file.read(end - begin) + rest).splitlines(keepends=True) or [b""]
        yield from reversed(whole)
        end = begin
    if rest:
        yield rest


def _size(file: BinaryIO) -> int:
    file.seek(0, 2)
    return file.tell()
