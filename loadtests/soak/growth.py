"""Whether something grows: what a robust line gains over the time, and how much higher the end is than the begin. Pure.

A line of least squares follows one garbage collection, or one snapshot of the store, wherever it falls. The median of
the slopes between all pairs of points does not: up to 29 % of the points may be anything at all. For the same reason it
stays level where nothing moves for most of the time and the rise comes late, or at once. So the end is looked at by
itself, in medians as well: the last tenth against the higher of the first two.

The higher of two, because what goes up and down (a heap between collections, connections that come with a burst and go
when they have rested) has been near its height in one of them if it takes no longer than both. What stays unseen: a
rise that is no older than half a tenth, which may yet go back, and one that came at once within the first two tenths
and was the last, which is a warm-up that took longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

_TENTHS = 10
_EARLY = 2
_FEWEST = 3 * _TENTHS
"""The median of three leaves one out."""
MOST_POINTS = 600
"""All pairs of them are looked at."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What some points say.

    Attributes:
        level: the middle value.
        gained: by how much the line rises from the first point to the last; NaN where there are too few points.
        late: by how much the last tenth is above the higher of the first two; likewise.
        seconds: from the first to the last.
    """

    level: float
    gained: float
    late: float
    seconds: float

    @property
    def most(self) -> float:
        """The larger of both gains; NaN where nobody knows them."""
        return float(np.maximum(self.gained, self.late))


def growth(at_s: Sequence[float], values: Sequence[float], since_s: float, until_s: float = inf) -> Growth:
    """Of what was measured between two moments.

    Args:
        at_s: when, seconds; shape (n,), ascending.
        values: what, of any unit; shape (n,), NaN where it could not be measured.
        since_s: what came before is warm-up.
        until_s: what came after is rest.
    """
    times, found = np.asarray(at_s, np.float64), np.asarray(values, np.float64)
    good = np.isfinite(found) & (times >= since_s) & (times <= until_s)
    times, found = _thinned(times[good]), _thinned(found[good])
    if len(times) < _FEWEST:
        return Growth(float(np.median(found)) if len(found) else nan, nan, nan, 0.0)
    seconds = float(times[-1] - times[0])
    return Growth(float(np.median(found)), slope(times, found) * seconds, late(found), seconds)


def slope(at_s: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The median of the slopes between all pairs of points at different times (Theil 1950; Sen 1968).

    Args:
        at_s: shape (n,), n of two or more.
        values: shape (n,).
    """
    first, second = np.triu_indices(len(at_s), 1)
    apart = at_s[second] - at_s[first]
    rises = values[second] - values[first]
    return float(np.median(rises[apart > 0] / apart[apart > 0]))


def late(values: NDArray[np.float64]) -> float:
    """How much higher the median of the last tenth is than the higher of those of the first two.

    Args:
        values: at even distances; shape (n,), n of ten or more.
    """
    middles = [float(np.median(tenth)) for tenth in np.array_split(values, _TENTHS)]
    return middles[-1] - max(middles[:_EARLY])


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evenly spaced ones of them, where they are many."""
    if len(values) <= MOST_POINTS:
        return values
    places = np.linspace(0, len(values) - 1, MOST_POINTS).astype(np.int64)
    return np.asarray(values[places], np.float64)
