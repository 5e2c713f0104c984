"""What became of rows and files: counted by each process, and left in the folder for whoever asks.

A process writes its own counts, so that two never write over each other's; all together are the sum.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

_FOLDER: Final = ".counts"
_MOST: Final = 100
"""Processes whose counts are kept."""


@dataclass(slots=True)
class Counts:
    """What became of rows and files.

    Attributes:
        rows: in finished files, the removed ones among them.
        kept: rows that were taken, by why.
        dropped: requests and rows that are in no file, by why.
        files: finished.
        removed: the oldest, for newer ones or by age.
        swept: what killed writers had left behind.
    """

    rows: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    files: int = 0
    removed: int = 0
    swept: int = 0

    def plus_dropped(self, more: Mapping[str, int]) -> Counts:
        """A copy with these dropped as well."""
        dropped = Counter(self.dropped)
        dropped.update(more)
        return replace(self, kept=Counter(self.kept), dropped=dropped)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def write_counts(folder: Path, boot: str, counts: Counts, now_s: float) -> None:
    """Leaves a process's counts in the folder of its log; where the disk refuses, it does without.

    Args:
        folder: of the log.
        boot: names the process.
        counts: since it began.
        now_s: seconds since 1970.
    """
    said = {one.name: getattr(counts, one.name) for one in fields(counts)}
    place = folder / _FOLDER
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = place / f"{boot}.new"
        number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "w") as file:
            json.dump({"reader": 1, "at_s": now_s, **said}, file)
        new.rename(place / f"{boot}.json")
        for old in sorted(place.iterdir(), key=lambda one: one.stat().st_mtime)[:-_MOST]:
            old.unlink(missing_ok=True)


def read_counts(folder: Path) -> Counts:
    """The sum of the counts of all processes; one that cannot be read counts for nothing."""
    total = Counts()
    for path in sorted((folder / _FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(path.read_text())
            kept, dropped = Counter(said["kept"]), Counter(said["dropped"])
            total += Counts(said["rows"], kept, dropped, said["files"], said["removed"], said["swept"])
    return total
