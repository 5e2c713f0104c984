"""What is counted of rollbacks and shown of verdicts, for whoever draws figures of it: plain values."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from serving.stream_counts import BOUNDS_S

_NONE: Final = (0,) * (len(BOUNDS_S) + 1)


@dataclass(frozen=True, slots=True)
class Spread:
    """How many took how long.

    Attributes:
        counts: for each of `BOUNDS_S`, and for what took longer.
        total_s: all of them together, seconds.
    """

    counts: tuple[int, ...] = _NONE
    total_s: float = 0.0

    def plus(self, seconds: float) -> Spread:
        """With one more."""
        counts = list(self.counts)
        counts[bisect_left(BOUNDS_S, seconds)] += 1
        return Spread(tuple(counts), self.total_s + seconds)


NO_SPREAD: Final = Spread()


class Weight(NamedTuple):
    """A number that a verdict looks at, and what it is held against, both as powers of ten."""

    log10_e: float
    needed: float


class Odds(NamedTuple):
    """An odds ratio of a candidate to stable: what is left possible, and what explains most; infinite for no limit."""

    lower: float
    likeliest: float
    upper: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known at one moment.

    Attributes:
        detected: how long harm was done before it was found, of all rollbacks since the control room began.
        propagated: how long after that the last gateway had gone back; where one had not, how long it was waited for.
        weights: of the rollouts in progress, by model, version and name.
        odds: of the same, by model, version and guardrail; none where nothing can be said yet.
        stepped: how long after any other step of a rollout's own the last gateway had taken it.
    """

    detected: Spread = NO_SPREAD
    propagated: Spread = NO_SPREAD
    weights: Mapping[tuple[str, int, str], Weight] = field(default_factory=dict)
    odds: Mapping[tuple[str, int, str], Odds] = field(default_factory=dict)
    stepped: Spread = NO_SPREAD
