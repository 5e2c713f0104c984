"""A window of many dimensions in 512 sums: a projection, then random Fourier features, whose means are compared.

The squared distance between two means is the maximum mean discrepancy for a Gaussian kernel (Gretton et al. 2012; the
features are those of Rahimi and Recht 2007). It costs rows times 512 and no permutations, and windows merge by adding
up. The kernel is exp(-d^2 / m^2), m the median distance between reference rows. It is taken after the principal
components that hold four fifths of the variance: pixels alarm on noise that harms nobody, their main directions do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.schema import Floats, Rows, folded
from drift.sketches import Binning

Singles = NDArray[np.float32]

FREQUENCIES: Final = 256
PARTS: Final = 2 * FREQUENCIES
"""Cosine and sine of each frequency."""

UNIT: Final = 2**30
"""Sums are whole multiples of 1/UNIT, so that merging them in any order gives the same."""

_MOST_COMPONENTS: Final = 32
_HELD: Final = 0.8
_MOST_DIMENSIONS: Final = 1_024
_FOR_MEDIAN: Final = 1_000
_FARTHEST: Final = 8.0
_TO_DEVIATION: Final = 1.349  # the interquartile range of a normal distribution, in standard deviations


@dataclass(frozen=True)
class Projection:
    """From rows to points, and from points to waves.

    Attributes:
        center: of each numeric feature, shape (numbers,).
        unit: length of each, shape (numbers,).
        wide_unit: length of the wide part, above 0.
        mean: of the joined dimensions, shape (dimensions,).
        axes: shape (dimensions, components).
        waves: frequencies, shape (components, FREQUENCIES).
    """

    center: Floats
    unit: Floats
    wide_unit: float
    mean: Singles
    axes: Singles
    waves: Singles

    def points(self, rows: Rows) -> Singles:
        """The rows on the axes, shape (rows, components)."""
        return np.asarray((_joined(rows, self.center, self.unit, self.wide_unit) - self.mean) @ self.axes)

    def parts(self, rows: Rows) -> Singles:
        """Cosines and sines of the rows, shape (rows, PARTS)."""
        angles = self.points(rows) @ self.waves
        return np.concatenate((np.cos(angles), np.sin(angles)), axis=1)

    def sums(self, rows: Rows) -> NDArray[np.int64]:
        """The parts added up, in multiples of 1/UNIT, shape (PARTS,)."""
        return np.asarray(np.rint(self.parts(rows).sum(axis=0, dtype=np.float64) * UNIT), np.int64)


def discrepancy(mean: Floats, other: Floats) -> float:
    """The squared maximum mean discrepancy of two means of parts; 0 for equals, 2 at most."""
    return float(np.square(mean - other).sum() / FREQUENCIES)


def fitted(rows: Rows, binning: Binning, seed: int) -> Projection | None:
    """A projection for rows like these; None where they have fewer than two dimensions.

    Args:
        rows: a sample of the reference.
        binning: of its numbers.
        seed: of the waves.
    """
    if rows.numbers.shape[1] + rows.wide.shape[1] < 2:  # noqa: PLR2004 - one dimension is univariate
        return None
    unit = np.asarray(binning.spread / _TO_DEVIATION)
    total = float(rows.wide.astype(np.float64).var(axis=0).sum())
    wide_unit = float(np.sqrt(total / min(rows.wide.shape[1], _MOST_COMPONENTS))) if total > 0 else 1.0
    joined = _joined(rows, binning.center, unit, wide_unit)
    mean = joined.mean(axis=0)
    axes = _principal(joined - mean)
    rng = np.random.default_rng(seed)
    width = _median_distance((joined - mean) @ axes, rng)
    waves = (rng.normal(size=(axes.shape[1], FREQUENCIES)) / width).astype(np.float32)
    return Projection(binning.center, unit, wide_unit, mean, axes, waves)


def _joined(rows: Rows, center: Floats, unit: Floats, wide_unit: float) -> Singles:
    """All dimensions beside each other, each in its unit; what is missing or infinite is in the middle or far out."""
    with np.errstate(all="ignore"):
        numbers = (rows.numbers - center) / unit
    numbers = np.clip(np.where(np.isnan(numbers), 0.0, numbers), -_FARTHEST, _FARTHEST)
    wide = rows.wide / np.float32(wide_unit)
    joined = np.concatenate((numbers.astype(np.float32), wide), axis=1)
    return folded(joined.astype(np.float64), "joined") if joined.shape[1] > _MOST_DIMENSIONS else joined


def _principal(centered: Singles) -> Singles:
    """The axes that hold `_HELD` of the variance: two at least, `_MOST_COMPONENTS` at most."""
    covariance = np.cov(centered.astype(np.float64), rowvar=False)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    held = np.cumsum(values) / max(float(values.sum()), 1e-300)
    count = int(np.clip(np.searchsorted(held, _HELD) + 1, 2, _MOST_COMPONENTS))
    return np.asarray(vectors[:, :count], np.float32)


def _median_distance(points: Singles, rng: np.random.Generator) -> float:
    chosen = points[rng.permutation(len(points))[:_FOR_MEDIAN]].astype(np.float64)
    half = len(chosen) // 2
    distances = np.sqrt(np.square(chosen[:half, None] - chosen[None, half : 2 * half]).sum(axis=2))
    median = float(np.median(distances)) if distances.size else 0.0
    return median / math.sqrt(2) if median > 0 else 1.0
