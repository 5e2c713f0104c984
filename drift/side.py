"""One side of a version, its inputs or its outputs, as its reference had it, and what calm looks like there.

Where the reference was cut by hours of the week (`drift.strata`), a window is compared with what its own hours held:
the mixture of their distributions by how many of its rows each has. So a rhythm of days and weeks is no drift, and what
is usual at night is drift at noon.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drift.calibration import Null
from drift.moves import Reference, Sizes
from drift.projection import UNIT, Projection, discrepancy
from drift.schema import Codes, Floats, Rows, Schema
from drift.sketches import Binning, Sketch
from drift.strata import Strata, Whole

SAMPLE: Final = 2_000
"""Rows of the reference that are kept: for backends that compare rows, and for people."""


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
class Expected:
    """What a window's rows would be in calm.

    Attributes:
        reference: their distributions.
        mean: of the projection's parts, shape (PARTS,) or (0,).
        calm: how far windows lie from it in calm.
    """

    reference: Reference
    mean: Floats
    calm: Calm

    @property
    def caution(self) -> float:
        """By how much squared distances are lowered before they become evidence, 1 or more.

        A window's own error is new each time, the reference's is the same in all of them, so what many windows say
        together has it once too often: a small reference would in time alarm by itself.
        """
        part = self.calm.size / self.reference.rows
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

    def sizes(self, sketch: Sketch) -> Sizes:
        """How much each feature moved."""
        return self.reference.sizes(sketch)

    def apart(self, sums: NDArray[np.int64], rows: int) -> float:
        """The squared discrepancy of so many rows as wholes, whose parts add up to that."""
        return discrepancy(sums / (UNIT * rows), self.mean)


@dataclass(frozen=True)
class Split:
    """The reference in parts.

    Attributes:
        counts: of each, shape (parts, features, CELLS).
        rows: of each, shape (parts,).
        sums: of the projection's parts over each, in multiples of 1/UNIT, shape (parts, PARTS) or (parts, 0).
    """

    counts: NDArray[np.int64]
    rows: Whole
    sums: NDArray[np.int64]

    def less(self, taken: Mapping[int, Part]) -> Split:
        """Without these rows of some parts; one of which nothing would be left stays whole."""
        left = {at: part for at, part in taken.items() if part.sketch.rows < self.rows[at]}
        counts, rows, sums = self.counts.copy(), self.rows.copy(), self.sums.copy()
        for at, (sketch, theirs) in left.items():
            counts[at] -= sketch.counts
            rows[at] -= sketch.rows
            sums[at] -= theirs
        return Split(counts, rows, sums)

    def mixed(self, rows: Whole, numeric: int) -> tuple[Reference, Floats]:
        """The parts mixed as so many rows of each are, and the mean of the projection's parts.

        The mixture errs as a sample would of 1 / sum(w^2 / N) rows, w the weights and N the rows of the parts.

        Args:
            rows: of each part, shape (parts,); not all of them 0.
            numeric: how many of the features are numbers.
        """
        used = np.flatnonzero(rows)
        weights = rows[used] / rows.sum()
        shares = np.einsum("s,sfc->fc", weights / self.rows[used], self.counts[used].astype(np.float64))
        mean = (weights / self.rows[used]) @ self.sums[used].astype(np.float64) / UNIT
        return Reference(shares, float(1 / np.sum(np.square(weights) / self.rows[used])), numeric), mean


class Part(NamedTuple):
    """Some rows: their counts, and the sums of the projection's parts over them."""

    sketch: Sketch
    sums: NDArray[np.int64]

    def merge(self, other: Part) -> Part:
        """Both together."""
        return Part(self.sketch.merge(other.sketch), self.sums + other.sums)


@dataclass(frozen=True)
class ByHour:
    """The reference by hours of the week.

    Attributes:
        strata: which hours belong together.
        split: the reference, a part for each of them.
        sample: the stratum of each row that is kept, shape (rows,).
    """

    strata: Strata
    split: Split
    sample: Codes


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
        by_hour: the same by strata; None where windows are compared with all of it whatever the hour.
    """

    schema: Schema
    binning: Binning
    sketch: Sketch
    sample: Rows
    calm: Calm
    projection: Projection | None
    sums: NDArray[np.int64]
    by_hour: ByHour | None = None

    @cached_property
    def whole(self) -> Expected:
        """What rows of all hours would be."""
        reference = Reference.of(self.sketch, len(self.schema.numeric))
        return Expected(reference, np.asarray(self.sums / (UNIT * max(self.sketch.rows, 1))), self.calm)

    @cached_property
    def tops(self) -> NDArray[np.intp]:
        """The cell above the range of each numeric feature."""
        return tops_of(self.binning)

    def strata_of(self, at_s: Floats) -> Whole:
        """How many of the rows of these moments each stratum has, shape (strata,); (0,) where there are none."""
        return np.zeros(0, np.int64) if self.by_hour is None else self.by_hour.strata.counted(at_s)

    def expected(self, strata: Whole) -> Expected:
        """What rows would be in calm of which each stratum has so many.

        Raises:
            ValueError: there are not as many strata.
        """
        if self.by_hour is None or not strata.any():
            return self.whole
        split = self.by_hour.split
        if strata.shape != split.rows.shape:
            raise ValueError(f"a window has {strata.size} strata, and its baseline {split.rows.size}")
        return Expected(*split.mixed(strata, len(self.schema.numeric)), self.calm)

    def sample_of(self, strata: Whole) -> Rows:
        """The kept rows of the hours that such rows have."""
        if self.by_hour is None or not strata.any():
            return self.sample
        return self.sample.part(np.flatnonzero(strata[self.by_hour.sample]))

    def weights_of(self, strata: Whole) -> Floats:
        """What each of those rows stands for, shape (rows of `sample_of`,): together 1, each hour as often as given."""
        if self.by_hour is None or not strata.any():
            return np.full(len(self.sample), 1 / max(len(self.sample), 1))
        there = self.by_hour.sample[strata[self.by_hour.sample] > 0]
        weights = strata[there] / np.bincount(there, minlength=strata.size)[there]
        return np.asarray(weights / max(weights.sum(), 1.0))

    def in_words(self, strata: Whole) -> str:
        """The hours that these rows are compared with; empty where all are alike."""
        return "" if self.by_hour is None else self.by_hour.strata.words(strata)


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


def tops_of(binning: Binning) -> NDArray[np.intp]:
    """The cell above the range of each numeric feature."""
    return np.asarray((~np.isnan(binning.edges)).sum(axis=1), np.intp)
