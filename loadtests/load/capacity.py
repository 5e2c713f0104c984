"""The highest rate that a version keeps its objectives at: doubled until it does not, then closed in on.

The search is pure: it says which rate to try next and takes what came of it. The rates between are geometric means,
so that each try halves the uncertainty in relation to the rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

WITHIN = 0.05
_LOWEST = 1.0
_LEAST_RECORDED = 0.001
MOST_TRIES = 24


@dataclass(frozen=True, slots=True)
class Search:
    """What is known by now; rates in requests a second.

    Attributes:
        first: the rate that is tried first.
        most: no higher one is tried.
        kept: the highest at which the objectives were kept; 0 for none.
        missed: the lowest at which they were not; infinite for none.
        tries: how many there were.
    """

    first: float = 50.0
    most: float = 100_000.0
    kept: float = 0.0
    missed: float = math.inf
    tries: int = 0

    def __post_init__(self) -> None:
        if not _LOWEST <= self.first <= self.most or not math.isfinite(self.most):
            raise ValueError(f"the first rate is {_LOWEST:g} to the highest, {self.most:g} requests a second")

    @property
    def rate(self) -> float | None:
        """What to try next; None where enough is known."""
        if self.tries >= MOST_TRIES or self.kept >= self.most or self.missed <= _LOWEST:
            return None
        if math.isinf(self.missed):
            return min(self.most, 2 * self.kept) if self.kept else self.first
        if not self.kept:
            return max(_LOWEST, self.missed / 4)
        close = self.missed / self.kept <= 1 + WITHIN
        return None if close else math.sqrt(self.kept * self.missed)

    def with_result(self, rate: float, *, kept: bool) -> Self:
        """What is known after a try at that rate."""
        if kept:
            return replace(self, kept=max(self.kept, rate), tries=self.tries + 1)
        return replace(self, missed=min(self.missed, rate), tries=self.tries + 1)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        version: whose.
        search: as it ended.
        ready: how many replicas were ready; 0 where nobody knows.
        generator_late: whether it ended because the load could not be made, which says nothing of the version.
    """

    version: int
    search: Search
    ready: int
    generator_late: bool = False

    @property
    def at_least(self) -> bool:
        """Whether it may carry more: nothing higher was, or could be, tried."""
        return self.generator_late or self.search.kept >= self.search.most

    @property
    def per_replica(self) -> float | None:
        """Requests a second of each replica; None where that is not known."""
        return self.search.kept / self.ready if self.ready and self.search.kept else None

    @property
    def recorded(self) -> float | None:
        """The same as the option `carries_rps` takes it, to three decimals; None where that is not known."""
        return None if self.per_replica is None else max(_LEAST_RECORDED, round(self.per_replica, 3))

    def plain(self) -> dict[str, float | int | bool | None]:
        """As JSON holds it."""
        missed = self.search.missed
        return {
            "rps": self.search.kept, "missed_at": missed if math.isfinite(missed) else None, "ready": self.ready,
            "per_replica": self.per_replica, "at_least": self.at_least,
        }  # fmt: skip

    def __str__(self) -> str:
        """The sentence."""
        if not self.search.kept:
            return f"version {self.version}: no rate kept the objectives"
        why = " (the generator was late at more)" if self.generator_late else " (no higher rate was tried)"
        least = f"at least {self.search.kept:,.0f}{why}" if self.at_least else f"{self.search.kept:,.0f}"
        each = f", {self.per_replica:,.0f} for each of {self.ready} ready replicas" if self.per_replica else ""
        return f"version {self.version}: {least} requests a second{each}"
