"""Counts of every feature in 66 cells: small, exact to merge, and all that the univariate statistics need.

A number's cells are cut at quantiles of the reference. The first lies below all that was seen, the last used one
above it, a hair of range left on both sides; a feature of few distinct values has a cell for each. Levels have theirs
by frequency. Cell 64 counts what is missing, cell 65 what was never seen: an unknown level, a number that is infinite
or more than 10^38 spreads away.

Counting is the cost of every window, so it does no search. A number's distance from the median, in units of the
reference's spread, is taken as a 32-bit float whose upper bits (sign, exponent, six bits of mantissa) are an index:
a table says which cell begins there, and one comparison with the next edge makes it exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.errors import Unfit
from drift.schema import BINS, CELLS, MISSING, UNSEEN, Codes, Floats, Rows

Counts = NDArray[np.int64]

EDGES: Final = BINS - 1
_SHIFT: Final = 17  # leaves 15 bits of a float32: sign, exponent, six of the mantissa
_PLACES: Final = 1 << 15
_HALF: Final = 1 << 14
_ENDLESS: Final = 1e150  # where squares and sums of a float64 may end
_AT_ONCE: Final = 1 << 15  # numbers whose steps stay in the cache together


@dataclass(frozen=True)
class Sketch:
    """How often each feature fell into each cell.

    Attributes:
        counts: shape (features, CELLS), numbers first, then levels, as `Schema.features` has them.
        rows: how many rows that is.
    """

    counts: Counts
    rows: int

    def merge(self, other: Sketch) -> Sketch:
        """Both together; exactly associative and commutative."""
        if self.counts.shape != other.counts.shape:
            raise Unfit(f"Counts of {len(self.counts)} features and of {len(other.counts)} do not add up.")
        return Sketch(self.counts + other.counts, self.rows + other.rows)

    def less(self, part: Sketch) -> Sketch:
        """Without a part that was merged into it."""
        return Sketch(self.counts - part.counts, self.rows - part.rows)

    @cached_property
    def shares(self) -> Floats:
        """Each feature's distribution over its cells, shape (features, CELLS); zeros without rows."""
        return np.asarray(self.counts / max(self.rows, 1), np.float64)

    @classmethod
    def empty(cls, features: int) -> Sketch:
        """Of no rows."""
        return cls(np.zeros((features, CELLS), np.int64), 0)


@dataclass(frozen=True)
class Binning:
    """Where the cells of the numeric features are cut.

    Attributes:
        edges: ascending, then NaN, shape (features, EDGES); cell i holds edge i-1 <= x < edge i.
        center: of each feature, shape (features,).
        spread: of each feature, above 0, shape (features,).
    """

    edges: Floats
    center: Floats
    spread: Floats

    def sketch(self, rows: Rows) -> Sketch:
        """The counts of these rows."""
        numbers = self._counted(np.ascontiguousarray(rows.numbers, np.float64))
        return Sketch(np.concatenate((numbers, _levels_counted(rows.levels))), len(rows))

    def cells(self, numbers: Floats) -> Codes:
        """The cell of each number, shape as given: (rows, features)."""
        where = self._places(np.ascontiguousarray(numbers, np.float64))
        return np.asarray(where - self._starts, np.uint8)

    def _counted(self, numbers: Floats) -> Counts:
        rows, features = numbers.shape
        counts = np.zeros(features * CELLS, np.int64)
        step = max(1, _AT_ONCE // max(features, 1))
        for start in range(0, rows if features else 0, step):
            places = self._places(numbers[start : start + step])
            counts += np.bincount(places.reshape(-1), minlength=counts.size)
        return counts.reshape(features, CELLS)

    def _places(self, numbers: Floats) -> NDArray[np.intp]:
        """Cell plus CELLS times the feature."""
        with np.errstate(all="ignore"):  # infinite, missing and far too large numbers have places of their own
            away = ((numbers - self.center) * self._per_spread).astype(np.float32)
            at = (away.view(np.uint32) >> np.uint32(_SHIFT)).astype(np.intp)
            at += self._columns
            places = self._table.take(at) + self._starts
            places += numbers >= self._flat_edges.take(places)
        for feature in self._crowded:
            cells = _searched(self.edges[feature], numbers[:, feature], np.isinf(away[:, feature]))
            places[:, feature] = feature * CELLS + cells
        return np.asarray(places, np.intp)

    @cached_property
    def _per_spread(self) -> Floats:
        return np.asarray(1.0 / self.spread, np.float64)

    @cached_property
    def _columns(self) -> NDArray[np.intp]:
        return np.arange(len(self.center), dtype=np.intp) * _PLACES

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        return np.arange(len(self.center), dtype=np.intp) * CELLS

    @cached_property
    def _flat_edges(self) -> Floats:
        """The edge that ends each cell, NaN for the last one and the two without order."""
        flat = np.full((len(self.center), CELLS), np.nan)
        flat[:, :EDGES] = self.edges
        return flat.reshape(-1)

    @cached_property
    def _ordered_edges(self) -> list[NDArray[np.intp]]:
        """For each feature the places of its edges in the order of numbers."""
        with np.errstate(all="ignore"):
            away = ((self.edges - self.center[:, None]) * self._per_spread[:, None]).astype(np.float32)
        places = _in_order((away.view(np.uint32) >> np.uint32(_SHIFT)).astype(np.intp))
        return [row[~np.isnan(edges)] for row, edges in zip(places, self.edges, strict=True)]

    @cached_property
    def _crowded(self) -> list[int]:
        """Features with two edges in one place: these are searched."""
        return [at for at, places in enumerate(self._ordered_edges) if len(np.unique(places)) < len(places)]

    @cached_property
    def _table(self) -> Codes:
        """The lowest cell of each place, for all features one after the other."""
        raw = np.arange(_PLACES)
        order = _in_order(raw)
        table = np.empty((len(self.center), _PLACES), np.uint8)
        for feature, places in enumerate(self._ordered_edges):
            below = np.concatenate(([0], np.cumsum(np.bincount(places, minlength=_PLACES))[:-1]))
            table[feature] = below[order]
        endless = (raw & 0x3FC0) == 0x3FC0  # noqa: PLR2004 - all bits of the exponent
        table[:, endless] = np.where(raw[endless] & 0x3F, MISSING, UNSEEN)
        return table.reshape(-1)


def cut(numbers: Floats) -> Binning:
    """Cells for these reference numbers, shape (rows, features); NaN is missing, endless ones are left out."""
    found = [_cut(column[np.abs(column) < _ENDLESS]) for column in numbers.T]
    edges = np.full((len(found), EDGES), np.nan)
    for at, (ours, _, _) in enumerate(found):
        edges[at, : len(ours)] = ours
    return Binning(edges, np.array([one[1] for one in found]), np.array([one[2] for one in found]))


def _cut(values: Floats) -> tuple[Floats, float, float]:
    """Edges, center and spread of one feature."""
    if not values.size:
        return np.empty(0), 0.0, 1.0
    distinct = np.unique(values)
    low, center, high = (float(one) for one in (distinct[0], np.median(values), distinct[-1]))
    spread = _spread(values, high - low, center)
    if len(distinct) > EDGES - 1:
        quantiles = np.quantile(values, np.linspace(0, 1, EDGES)[1:-1], method="inverted_cdf")
        inner = np.unique(quantiles[quantiles > low])
    else:
        inner = distinct[1:]
    ends = (low - _margin(center - low, spread), high + _margin(high - center, spread))
    edges = np.unique(np.concatenate((ends[:1], inner, ends[1:])))
    return edges[np.isfinite(edges)], center, spread


def _spread(values: Floats, extent: float, center: float) -> float:
    """A unit of length: the interquartile range, part of the range, or of the number where there is but one."""
    quartiles = np.quantile(values, (0.25, 0.75))
    least = max(abs(center) * 1e-9, 1e-280)
    for unit in (float(quartiles[1] - quartiles[0]), extent / 4):
        if least < unit < np.inf:
            return unit
    return max(abs(center) * 1e-6, 1e-6)


def _margin(distance: float, spread: float) -> float:
    return max(spread / 16, distance / 32)


def _searched(edges: Floats, numbers: Floats, endless: NDArray[np.bool_]) -> Counts:
    """The same cells by searching."""
    cells = np.searchsorted(edges[~np.isnan(edges)], numbers, side="right").astype(np.int64)
    cells[endless] = UNSEEN
    cells[np.isnan(numbers)] = MISSING
    return cells


def _in_order(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places of a float's upper bits in the order of the numbers: negative ones are stored upside down."""
    return np.where(places < _HALF, places + _HALF, 2 * _HALF - 1 - places)


def _levels_counted(levels: Codes) -> Counts:
    features = levels.shape[1]
    places = levels.astype(np.intp) + np.arange(features, dtype=np.intp) * CELLS
    return np.bincount(places.reshape(-1), minlength=features * CELLS).reshape(features, CELLS)
