"""Is the new version better than the one that serves? Decided purely, of rows that neither was trained on.

Both versions answer the same rows, so the rows that tell them apart are those that only one gets right. Were both as
good, each of these would be either's with the same chance: the exact sign test (McNemar 1947) says how likely so many
for one of them would be. A new version is better if that is shown on the rows of the world as it is now, if the world
as it was is not lost over it, and if no slice of the new rows is shown to be worse off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest  # type: ignore[import-untyped]

SHOWN: Final = 0.01
"""The chance at which a version is taken for better, or a slice for worse, that is not."""
LOST: Final = 0.02
"""How much of the old rows may be lost: the share of right answers, 0 to 1."""

Right = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Compared:
    """Both versions on the same rows.

    Attributes:
        name: of the rows.
        rows: how many.
        before: the share that the old version gets right, 0 to 1.
        after: the share that the new one gets right.
        won: rows that only the new one gets right.
        lost: rows that only the old one gets right.
    """

    name: str
    rows: int
    before: float
    after: float
    won: int
    lost: int

    @property
    def is_better(self) -> bool:
        """Whether the new version is shown to be."""
        return _chance(self.won, self.lost) <= SHOWN

    @property
    def is_worse(self) -> bool:
        """Whether the new version is shown to be."""
        return _chance(self.lost, self.won) <= SHOWN

    def __str__(self) -> str:
        return f"{self.name}: {self.before:.1%} before, {self.after:.1%} after, of {self.rows:,} rows"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        counts = {"rows": self.rows, "before": self.before, "after": self.after, "won": self.won, "lost": self.lost}
        return {"name": self.name, **counts}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the new version is registered.

    Attributes:
        old: on rows of the world as it was.
        new: on rows of the world as it is now.
        slices: parts of the new rows, each by itself.
    """

    old: Compared
    new: Compared
    slices: tuple[Compared, ...]

    @property
    def objections(self) -> tuple[str, ...]:
        """What speaks against it, a sentence each; none where it is better."""
        return tuple(self._objections())

    @property
    def is_better(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.objections

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        slices = [one.plain() for one in self.slices]
        return {
            "old": self.old.plain(), "new": self.new.plain(), "slices": slices, "objections": list(self.objections)
        }  # fmt: skip

    def _objections(self) -> Iterator[str]:
        if not self.new.is_better:
            yield (
                f"on the new rows it is not shown to be better: it alone is right in {self.new.won} of them, and the "
                f"old version alone in {self.new.lost}"
            )
        if self.old.before - self.old.after > LOST:
            lost = self.old.before - self.old.after
            yield f"of the old rows it gets {lost:.1%} fewer right, and {LOST:.0%} may be lost"
        for one in self.slices:
            if one.is_worse:
                yield f"it is worse for {one.name}: {one.before:.1%} before, {one.after:.1%} after, of {one.rows} rows"


def verdict(old: tuple[Right, Right], new: tuple[Right, Right], slices: Mapping[str, NDArray[np.bool_]]) -> Verdict:
    """What old and new rows say.

    Args:
        old: which rows of the world as it was the old and the new version get right, [n] each.
        new: the same of the world as it is now, [m] each.
        slices: by name, which of the new rows belong to it, [m].
    """
    before, after = new
    parts = tuple(compared(name, before[part], after[part]) for name, part in slices.items() if part.any())
    return Verdict(compared("old rows", *old), compared("new rows", before, after), parts)


def compared(name: str, before: Right, after: Right) -> Compared:
    """Both versions' right answers to the same rows, [n] each."""
    if not len(before) == len(after) > 0:
        raise ValueError(f"{name}: {len(before)} and {len(after)} answers cannot be compared")
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return Compared(name, len(before), float(before.mean()), float(after.mean()), won, lost)


def _chance(won: int, lost: int) -> float:
    """Of so many wins or more among these, were either version as good."""
    return float(binomtest(won, won + lost, alternative="greater").pvalue) if won + lost else 1.0
