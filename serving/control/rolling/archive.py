"""The ledger's archive: what the store lets go of is first written to files, each entry a line of JSON.

A file is only ever appended to, and what was appended is on disk before the store forgets it; a control room that dies
in between appends nothing twice, for it looks at the last line first.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from serving.control.publication import Recorded
from serving.control.rolling.shelf import (
    BEGINNING,
    entries_after,
    entries_before,
    last_in,
    place_of,
    recorded_as_dict,
    recorded_from,
)

__all__ = ["BEGINNING", "MOST_ENTRIES", "Archive", "Ledgers", "place_of", "recorded_as_dict", "recorded_from"]

MOST_ENTRIES: Final = 100_000
"""How many entries the store keeps."""

_AT_ONCE: Final = 1_000
_TAIL_BYTES: Final = 1024 * 1024


class Ledgers(Protocol):
    """The ledger's old end."""

    async def ledger_length(self) -> int:
        """How many entries there are."""

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id, oldest first."""

    async def trim_ledger(self, last: str, fence: int) -> None:
        """Forgets everything up to and with that entry, for the conductor of that fence."""


class Archive:
    """A folder of old entries, a file for each month.

    Args:
        folder: where; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, ledger: Ledgers, fence: int, most: int = MOST_ENTRIES) -> int:
        """Moves what the ledger has too much of over here; how many entries.

        Args:
            ledger: the store's.
            fence: of the conductor whose archive this is.
            most: how many entries it keeps.

        Raises:
            Deposed: another conductor has taken over; what was appended is in the store as well, and not twice here.
        """
        over = await ledger.ledger_length() - most
        moved = 0
        while moved < over:
            oldest = await ledger.ledger_after("", min(_AT_ONCE, over - moved))
            if not oldest:
                break
            await asyncio.to_thread(self._append, oldest)
            await ledger.trim_ledger(oldest[-1].id, fence)
            moved += len(oldest)
        return moved

    def entries(self, after: tuple[int, int] = BEGINNING, before: str = "") -> Iterator[Recorded]:
        """Those after that place and before that id, oldest first. Reads files: call it in a thread.

        Args:
            after: where the last one stood that is known already.
            before: the id of the first one that is known from elsewhere; empty for none.
        """
        end = place_of(before) if before else None
        for path in self._files():
            if path.name < _name_at(after):
                continue
            for one in entries_after(path, after):
                if end is not None and place_of(one.id) >= end:
                    return
                after = place_of(one.id)
                yield one

    def back(self, before: str = "") -> Iterator[Recorded]:
        """Those before that id (empty: all), newest first. Reads files: call it in a thread."""
        place = place_of(before) if before else None
        for path in reversed(self._files()):
            if place is not None and path.name > _name_at(place):
                continue
            for one in entries_before(path, place):
                place = place_of(one.id)
                yield one

    def at(self, ids: Collection[str]) -> Mapping[str, Recorded]:
        """Those of these entries that are here, by id. Reads files: call it in a thread."""
        found: dict[str, Recorded] = {}
        for one in ids:
            milliseconds, nth = place_of(one)
            path = self._folder / _name_at((milliseconds, nth))
            there = next(entries_before(path, (milliseconds, nth + 1)), None) if path.is_file() else None
            if there is not None and there.id == one:
                found[one] = there
        return found

    def _append(self, entries: Sequence[Recorded]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Of two control rooms on one folder the deposed one may still be about to write: what it has is there by then.
        with _locked(self._folder):
            last = self._last()
            by_file: dict[Path, list[Recorded]] = {}
            for one in entries:
                if place_of(one.id) > last:
                    by_file.setdefault(self._folder / _name_at(place_of(one.id)), []).append(one)
            for path, several in by_file.items():
                _append_durably(path, "".join(json.dumps(recorded_as_dict(one)) + "\n" for one in several))

    def _last(self) -> tuple[int, int]:
        """Where the last entry that is here stood."""
        return next((place for path in reversed(self._files()) if (place := last_in(path)) > BEGINNING), BEGINNING)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else []


def _name_at(place: tuple[int, int]) -> str:
    """The file that an entry of that place is in: `YYYY-MM.jsonl`, which sorts as time does."""
    try:
        return f"{datetime.fromtimestamp(place[0] / 1000, UTC):%Y-%m}.jsonl"
    except (ValueError, OverflowError, OSError):  # an id that somebody made up
        return "9999-99.jsonl"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within it, no other process appends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read()


def _append_durably(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        _end_line(path, file.fileno())
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _end_line(path: Path, descriptor: int) -> None:
    """Takes away what broke off within a line: the store has it still."""
    text = _tail(path)
    if text and not text.endswith(b"\n"):
        os.ftruncate(descriptor, path.stat().st_size - (len(text) - text.rfind(b"\n") - 1))
