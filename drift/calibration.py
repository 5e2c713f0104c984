"""What a detector's statistic does while nothing drifts: found on windows of the reference itself.

Where rows have an order, neighbours resemble each other and windows differ far more than chance allows: tests that
assume independent rows alarm on more than half of such windows although nothing has drifted. So windows of neighbours
are cut from the reference and each is compared with the rest of it; what they show is what calm looks like. Where
rows have no order, windows are drawn from the reference at random, which says nothing about seasons and bursts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.errors import Unfit
from drift.schema import Floats

WINDOWS: Final = 600
FEWEST_INDEPENDENT: Final = 20
FEWEST_ROWS: Final = 100

_TAIL: Final = 0.1
_BEYOND: Final = 10  # how far past the windows that were seen a p-value is believed


@dataclass(frozen=True, slots=True)
class Cutting:
    """How windows are taken from the reference.

    Attributes:
        rows: of the reference.
        size: rows of a window.
        ordered: whether neighbours belong together.
        seed: of the draws where they do not.
    """

    rows: int
    size: int
    ordered: bool
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 2:  # noqa: PLR2004 - one row has no distribution
            raise Unfit(f"A window of {self.size} rows has no distribution: use 2 or more.")
        if self.rows < max(FEWEST_ROWS, 2 * self.size):
            raise Unfit(
                f"There are {self.rows:,} rows, and windows of {self.size:,} take {max(FEWEST_ROWS, 2 * self.size):,} "
                "at least.",
                "Give more rows, or a smaller window.",
            )
        if self.ordered and self.rows < FEWEST_INDEPENDENT * self.size:
            raise Unfit(
                f"There are {self.rows // self.size} independent windows of {self.size:,} rows: what calm looks like "
                f"takes {FEWEST_INDEPENDENT}.",
                f"Give {FEWEST_INDEPENDENT * self.size:,} rows or more, or a smaller window.",
            )

    @property
    def independent(self) -> int:
        """How many windows say something of their own."""
        return self.rows // self.size if self.ordered else WINDOWS

    def windows(self) -> Iterator[slice | NDArray[np.intp]]:
        """`WINDOWS` of them: neighbours from start to end, overlapping where rows are few; or drawn anew each."""
        if self.ordered:
            starts = np.linspace(0, self.rows - self.size, WINDOWS).astype(int)
            yield from (slice(start, start + self.size) for start in starts.tolist())
            return
        rng = np.random.default_rng(self.seed)
        yield from (rng.integers(0, self.rows, self.size) for _ in range(WINDOWS))

    @property
    def widening(self) -> float:
        """By how much a squared distance of a calm window must grow, for the reference is a sample too.

        Window and reference err by 1/n and 1/N. Drawn windows are compared with what they were drawn from and show the
        first part only; neighbours are compared with the rest of the reference and show both.
        """
        return 1.0 if self.ordered else 1.0 + self.size / self.rows


@dataclass(frozen=True)
class Null:
    """What a score does while nothing drifts.

    Attributes:
        scores: of the windows of the reference, ascending.
        independent: how many of them say something of their own.
    """

    scores: Floats
    independent: int

    def __post_init__(self) -> None:
        ascending = np.sort(np.asarray(self.scores, np.float64))
        if not ascending.size or not np.isfinite(ascending).all() or self.independent < 1:
            raise Unfit("What calm looks like must be finite scores of one window or more.")
        object.__setattr__(self, "scores", ascending)

    def p_value(self, score: float) -> float:
        """The chance of so high a score while nothing drifts, never below 1 in 10 independent windows times ten.

        By rank, as for a new window among those of the reference: (1 + as high or higher) / (1 + all). In the highest
        tenth an exponential tail of their mean excess stands for the ranks: distances have lighter tails than that.
        """
        higher = self.scores.size - int(np.searchsorted(self.scores, score, side="left"))
        rank = (1 + higher) / (1 + self.scores.size)
        start, excess = self._tail
        if score <= start or excess <= 0:
            return rank
        return max(min(rank, _TAIL * math.exp(-(score - start) / excess)), 1 / (_BEYOND * self.independent))

    def level(self, alpha: float) -> float:
        """The score that is exceeded with this chance, at most one in as many as there are windows."""
        return float(np.quantile(self.scores, 1 - alpha, method="higher"))

    @cached_property
    def _tail(self) -> tuple[float, float]:
        start = float(np.quantile(self.scores, 1 - _TAIL, method="higher"))
        above = self.scores[self.scores > start]
        return start, float(above.mean() - start) if above.size else 0.0


def combined(p_values: list[float]) -> float:
    """One p-value of several, whatever their dependence: half-Cauchy combination (after Liu and Xie 2020).

    The mean of cot(pi p / 2) has the tail of one of them. At 5 % it exceeds its level by up to a tenth, which is added.
    """
    mean = sum(1 / math.tan(math.pi * min(p, 1 - 1e-9) / 2) for p in p_values) / len(p_values)
    return min(1.0, 1.1 * 2 / math.pi * math.atan(1 / mean))


def log_e_of(p_value: float) -> float:
    """The log e-value of a p-value: e = 1 / (2 sqrt p), whose mean is 1 at most (Vovk and Wang 2021, section 2)."""
    return -math.log(2.0) - 0.5 * math.log(p_value)


def log_average(log_es: list[float]) -> float:
    """The log of the mean of e-values, itself one under any dependence; 0 for none."""
    if not log_es:
        return 0.0
    top = max(log_es)
    return top + math.log(sum(math.exp(one - top) for one in log_es) / len(log_es))
