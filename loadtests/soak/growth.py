"""Whether something grows: a robust line through what was measured, and what it gains over that time. Pure.

A single line of least squares follows one garbage collection, or one snapshot of the store, wherever it falls. The
median of the slopes between all pairs of points does not: up to 29 % of the points may be anything at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST = 10
MOST_POINTS = 600
"""All pairs of them are looked at."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What a line through some points says.

    Attributes:
        level: the middle value.
        gained: by how much the line rises from the first point to the last; NaN where there are too few points.
        seconds: from the first to the last.
    """

    level: float
    gained: float
    seconds: float


def growth(at_s: Sequence[float], values: Sequence[float], since_s: float) -> Growth:
    """Of what was measured from a moment on.

    Args:
        at_s: when, seconds; shape (n,), ascending.
        values: what, of any unit; shape (n,), NaN where it could not be measured.
        since_s: what came before is warm-up.
    """
    times, found = np.asarray(at_s, np.float64), np.asarray(values, np.float64)
    good = np.isfinite(found) & (times >= since_s)
    times, found = _thinned(times[good]), _thinned(found[good])
    if len(times) < _FEWEST:
        return Growth(float(np.median(found)) if len(found) else float("nan"), float("nan"), 0.0)
    seconds = float(times[-1] - times[0])
    return Growth(float(np.median(found)), slope(times, found) * seconds, seconds)


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


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evenly spaced ones of them, where they are many."""
    if len(values) <= MOST_POINTS:
        return values
    places = np.linspace(0, len(values) - 1, MOST_POINTS).astype(np.int64)
    return np.asarray(values[places], np.float64)
