"""The ledger's archive: what the store lets go of is first written to files, each entry a line of JSON.

A file is only ever appended to, and what was appended is on disk before the store forgets it; a control room that dies
in between appends nothing twice, for it looks at the last line first.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from serving.control.publication import LedgerEntry, Recorded

MOST_ENTRIES: Final = 100_000
"""How many entries the store keeps."""

BEGINNING: Final = (0, 0)
"""The place before the first entry."""

_AT_ONCE: Final = 1_000
_TAIL_BYTES: Final = 1024 * 1024


class Ledgers(Protocol):
    """The ledger's old end."""

    async def ledger_length(self) -> int:
        """How many entries there are."""

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id, oldest first."""

    async def trim_ledger(self, last: str) -> None:
        """Forgets everything up to and with that entry."""


class Archive:
    """A folder of old entries, a file for each month.

    Args:
        folder: where; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, ledger: Ledgers, most: int = MOST_ENTRIES) -> int:
        """Moves what the ledger has too much of over here; how many entries.

        Args:
            ledger: the store's.
            most: how many entries it keeps.
        """
        over = await ledger.ledger_length() - most
        moved = 0
        while moved < over:
            oldest = await ledger.ledger_after("", min(_AT_ONCE, over - moved))
            if not oldest:
                break
            await asyncio.to_thread(self._append, oldest)
            await ledger.trim_ledger(oldest[-1].id)
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
            if _last_in(path) <= after:
                continue
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    if not line.endswith("\n"):  # what broke off with the power was never taken from the store
                        continue
                    one = recorded_from(json.loads(line))
                    if end is not None and place_of(one.id) >= end:
                        return
                    if place_of(one.id) > after:
                        yield one

    def _append(self, entries: Sequence[Recorded]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        last = self._last()
        by_file: dict[Path, list[Recorded]] = {}
        for one in entries:
            if place_of(one.id) > last:
                month = datetime.fromtimestamp(one.at_ms / 1000, UTC).strftime("%Y-%m")
                by_file.setdefault(self._folder / f"{month}.jsonl", []).append(one)
        for path, several in by_file.items():
            _append_durably(path, "".join(json.dumps(recorded_as_dict(one)) + "\n" for one in several))

    def _last(self) -> tuple[int, int]:
        """Where the last entry that is here stood."""
        return next((place for path in reversed(self._files()) if (place := _last_in(path)) > BEGINNING), BEGINNING)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else []


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


def place_of(entry: str) -> tuple[int, int]:
    """Where an id stands among the others: streams count milliseconds, and entries within one."""
    milliseconds, _, nth = entry.partition("-")
    return int(milliseconds), int(nth or 0)


def _last_in(path: Path) -> tuple[int, int]:
    """Where the last whole entry of that file stood."""
    whole = [line for line in _tail(path).split(b"\n")[:-1] if line]
    return place_of(json.loads(whole[-1])["id"]) if whole else BEGINNING


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
