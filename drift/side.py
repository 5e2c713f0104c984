"""One side of a version, its inputs or its outputs, as its reference had it, and what calm looks like there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drift.calibration import Cutting, Null
from drift.moves import Reference, Sizes, outside
from drift.projection import PARTS, UNIT, Projection, discrepancy, fitted
from drift.schema import Floats, Rows, Schema
from drift.sketches import Binning, Sketch, cut

SAMPLE: Final = 2_000
"""Rows of the reference that are kept: for backends that compare rows, and for people."""

_LEAST_SCALE: Final = 0.1  # of a statistic that is about 1 in calm; one that never moved is not infinitely sure
_FEWEST_SPANS: Final = 4
_AT_ONCE: Final = 5_000
_FOR_PROJECTION: Final = 10_000


@dataclass(frozen=True)
class Calm:
    """What windows of the reference showed.

    Attributes:
        size: rows of a window.
        ordered: whether they were neighbours.
        independent: how many of them say something of their own.
        location: mean of each feature's root distance, shape (features,).
        scale: its standard deviation, shape (features,).
        variation: the highest total variation of each feature, shape (spans, features); span i is 2^i windows.
        stability: the highest population stability index of each feature, shape (spans, features).
        rates: the highest rates of missing, unseen and out of range, shape (features, 3).
        peak: the largest standardised distance of a window.
        total: the sum of them, over the root of how many.
        joint: the discrepancy of a window's rows as wholes; None without a projection.
    """

    size: int
    ordered: bool
    independent: int
    location: Floats
    scale: Floats
    variation: Floats
    stability: Floats
    rates: Floats
    peak: Null
    total: Null
    joint: Null | None

    def bounds(self, rows: int) -> Bounds:
        """What so many rows in a row show in calm.

        Neighbours resemble each other, so longer spans differ less, and far more than the root of their length would
        have it: theirs were measured. Drawn rows err by that root, and the index by the length.
        """
        span = min(max(int(math.log2(max(rows / self.size, 1.0))), 0), len(self.variation) - 1)
        fewer = 1.0 if self.ordered else min(1.0, self.size / max(rows, 1))
        return Bounds(self.variation[span] * math.sqrt(fewer), self.stability[span] * fewer)


class Bounds(NamedTuple):
    """Of each feature: highest total variation and population stability index, shape (features,) each."""

    variation: Floats
    stability: Floats


@dataclass(frozen=True)
class Side:
    """Inputs or outputs.

    Attributes:
        schema: columns and features.
        binning: cells of the numbers.
        sketch: of all reference rows.
        sample: at most `SAMPLE` of them, spread evenly over the reference.
        calm: what windows showed.
        projection: None where there is but one dimension.
        sums: of the projection's parts over all reference rows, in multiples of 1/UNIT, shape (PARTS,) or (0,).
    """

    schema: Schema
    binning: Binning
    sketch: Sketch
    sample: Rows
    calm: Calm
    projection: Projection | None
    sums: NDArray[np.int64]

    @cached_property
    def reference(self) -> Reference:
        """What windows are compared with."""
        return Reference(self.sketch, len(self.schema.numeric))

    @cached_property
    def tops(self) -> NDArray[np.intp]:
        """The cell above the range of each numeric feature."""
        return np.asarray((~np.isnan(self.binning.edges)).sum(axis=1), np.intp)

    @cached_property
    def mean(self) -> Floats:
        """Of the projection's parts over the reference."""
        return np.asarray(self.sums / (UNIT * max(self.sketch.rows, 1)))

    @cached_property
    def caution(self) -> float:
        """By how much squared distances are lowered before they become evidence, 1 or more.

        A window's own error is new each time, the reference's is the same in all of them, so what many windows say
        together has it once too often: a small reference would in time alarm by itself.
        """
        part = self.calm.size / self.sketch.rows
        return 1 + part if self.calm.ordered else (1 + 2 * part) / (1 + part)

    def standardised(self, sketch: Sketch) -> Floats:
        """How far each feature lies out, in standard deviations of calm windows, shape (features,).

        A window of more rows than calm ones is judged as one of their size: it errs less, so this is cautious.
        """
        return self.spread_out(self.roots(sketch))

    def roots(self, sketch: Sketch) -> Floats:
        """Cube roots of the distances, shape (features,)."""
        return roots_of(self.reference.distances(sketch.shares), self.calm.size)

    def spread_out(self, roots: Floats) -> Floats:
        """Roots in standard deviations of calm windows."""
        return np.asarray((roots - self.calm.location) / self.calm.scale)


class Scores(NamedTuple):
    """The two univariate ones of a window: the largest, for few features, and the sum, for many that move a little."""

    peak: float
    total: float


def roots_of(distances: Floats, size: int) -> Floats:
    """Cube roots of squared distances times rows, which are nearly normal (Wilson and Hilferty 1931)."""
    return np.asarray(np.cbrt(np.maximum(distances, 0.0) * size))


def scores_of(standardised: Floats) -> Scores:
    """Of the standardised distances of one window, shape (features,)."""
    return Scores(float(standardised.max()), float(standardised.sum() / math.sqrt(standardised.size)))


def measured(schema: Schema, rows: Rows, cutting: Cutting) -> Side:
    """The side of these reference rows, which are those that windows are cut from.

    Raises:
        Unfit: too few rows, or too few independent windows (`Cutting`).
    """
    binning = cut(rows.numbers)
    sketch = binning.sketch(rows)
    projection = fitted(rows.part(_evenly(len(rows), _FOR_PROJECTION)), binning, cutting.seed)
    sums = np.zeros(0, np.int64) if projection is None else _sums(projection, rows)
    reference = Reference(sketch, len(schema.numeric))
    calm = _calm(reference, _Seen(binning, rows, projection, sums), cutting)
    return Side(schema, binning, sketch, rows.part(_evenly(len(rows), SAMPLE)), calm, projection, sums)


class _Seen(NamedTuple):
    binning: Binning
    rows: Rows
    projection: Projection | None
    sums: NDArray[np.int64]


def _calm(reference: Reference, seen: _Seen, cutting: Cutting) -> Calm:
    tops = (~np.isnan(seen.binning.edges)).sum(axis=1)
    roots, rates, joint = [], [], []
    for at in cutting.windows():
        window = seen.rows.part(at)
        sketch = seen.binning.sketch(window)
        rest = reference.less(sketch) if cutting.ordered else reference
        roots.append(roots_of(rest.distances(sketch.shares) * cutting.widening, cutting.size))
        rates.append(outside(sketch, reference, tops) / cutting.size)
        if seen.projection is not None:
            joint.append(cutting.widening * cutting.size * _apart(seen, seen.projection.sums(window), cutting))
    found = np.array(roots)
    location, scale = found.mean(axis=0), np.maximum(found.std(axis=0), _LEAST_SCALE)
    scores = [scores_of(one) for one in (found - location) / scale]
    independent = cutting.independent
    variation, stability = zip(*_spans(reference, seen, cutting), strict=True)
    return Calm(
        size=cutting.size,
        ordered=cutting.ordered,
        independent=independent,
        location=location,
        scale=scale,
        variation=np.array(variation),
        stability=np.array(stability),
        rates=np.max(rates, axis=0),
        peak=Null(np.array([one.peak for one in scores]), independent),
        total=Null(np.array([one.total for one in scores]), independent),
        joint=Null(np.array(joint), independent) if joint else None,
    )


def _spans(reference: Reference, seen: _Seen, cutting: Cutting) -> Iterator[tuple[Floats, Floats]]:
    """Highest total variation and stability index of spans of 1, 2, 4 ... windows; of one where rows are drawn."""
    if not cutting.ordered:
        sizes = [reference.sizes(seen.binning.sketch(seen.rows.part(at))) for at in cutting.windows()]
        yield _summed_up(sizes)
        return
    starts = range(0, cutting.rows - cutting.size + 1, cutting.size)
    blocks = [seen.binning.sketch(seen.rows.part(slice(at, at + cutting.size))) for at in starts]
    length = 1
    while len(blocks) >= _FEWEST_SPANS * length:
        joined = [reduce(Sketch.merge, blocks[at : at + length]) for at in range(len(blocks) - length + 1)]
        yield _summed_up([reference.less(one).sizes(one) for one in joined[:: max(1, length // 4)]])
        length *= 2


def _summed_up(sizes: list[Sizes]) -> tuple[Floats, Floats]:
    return np.max([one.variation for one in sizes], axis=0), np.max([one.stability for one in sizes], axis=0)


def _apart(seen: _Seen, sums: NDArray[np.int64], cutting: Cutting) -> float:
    """The squared discrepancy of a window and the reference, or the rest of it."""
    rest, rows = (seen.sums - sums, cutting.rows - cutting.size) if cutting.ordered else (seen.sums, cutting.rows)
    return discrepancy(sums / (UNIT * cutting.size), rest / (UNIT * rows))


def _sums(projection: Projection, rows: Rows) -> NDArray[np.int64]:
    total = np.zeros(PARTS, np.int64)
    for start in range(0, len(rows), _AT_ONCE):
        total += projection.sums(rows.part(slice(start, start + _AT_ONCE)))
    return total


def _evenly(rows: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.intp))
