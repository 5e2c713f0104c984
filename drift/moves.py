"""How far a window's counts lie from the reference's: the distances that are tested and the sizes that are told.

Tested is, for numbers, the Anderson-Darling distance between the two cumulative distributions over the cells (Anderson
and Darling 1952), which sees shifts of the middle and of the tails where Kolmogorov-Smirnov sees the one largest gap;
for levels Pearson's. Missing and unseen are the topmost cells, so a changed rate of them is a distance like any other.
Told are total variation and the population stability index, over coarser cells: 64 cells of a small window are noise.
Coarse ones are made of the reference's shares and not of places: what moves within one is not told, and that is never
more than the share of the rows that it may hold (`COARSE`), however few values a feature has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from drift.schema import BINS, CELLS, MISSING, UNSEEN, Floats
from drift.sketches import Sketch

COARSE: Final = 2 / 15
"""Cells of a number become one up to this share of the reference's numbers: eight, where they are even and 62.

A fuller cell stays by itself.
"""

_LEAST_MASS: Final = 1 / CELLS**2
_SLIGHT: Final = 1e-4
_NOTHING: Final = 1e-11  # of a share: sums of shares err by less, and one row is more


@dataclass(frozen=True)
class Reference:
    """What windows are compared with.

    Attributes:
        shares: each feature's distribution over its cells, shape (features, CELLS).
        rows: that these rest on; of a mixture of samples, as many as would err like it.
        numeric: how many of the features, the first ones, are numbers.
    """

    shares: Floats
    rows: float
    numeric: int

    @classmethod
    def of(cls, sketch: Sketch, numeric: int) -> Self:
        """What these counts show."""
        return cls(sketch.shares, sketch.rows, numeric)

    def distances(self, shares: Floats) -> Floats:
        """Squared distances of these distributions, shape (..., features, CELLS) to (..., features)."""
        gaps = shares - self.shares
        numbers = np.cumsum(gaps[..., : self.numeric, :], axis=-1)
        np.square(numbers, out=numbers)
        levels = np.square(gaps[..., self.numeric :, :])
        found = (
            np.einsum("...fc,fc->...f", numbers, self._heights),
            np.einsum("...fc,fc->...f", levels, self._inverse),
        )
        return np.concatenate(found, axis=-1)

    def sizes(self, sketch: Sketch) -> Sizes:
        """How much each feature moved, for people and for the floor below which nothing is worth an alarm."""
        theirs, ours = self.coarse(self.shares), self.coarse(sketch.shares)
        a, b = ours + _SLIGHT, theirs + _SLIGHT
        return Sizes(0.5 * np.abs(ours - theirs).sum(axis=1), ((a - b) * np.log(a / b)).sum(axis=1))

    def coarse(self, cells: Floats) -> Floats:
        """Shares or counts over the reference's coarse cells; levels, what is missing and the unseen keep theirs.

        Args:
            cells: shape (features, CELLS).

        Returns:
            The same shape; a number's coarse cells are its first ones, the rest of its 64 are 0.
        """
        out = np.array(cells, np.float64)
        size = self.numeric * CELLS
        summed = np.bincount(self._groups.reshape(-1), cells[: self.numeric, :BINS].reshape(-1), minlength=size)
        out[: self.numeric, :BINS] = summed.reshape(self.numeric, CELLS)[:, :BINS]
        return out

    @cached_property
    def _groups(self) -> NDArray[np.intp]:
        """The coarse cell of each cell, shape (numeric, BINS), plus CELLS times the feature.

        From the lowest cell upwards: the next one begins where a cell would make this one fuller than `COARSE`, so what
        the reference lacks beside a full cell is not lost in that. What is below all of it, and above, stays apart.
        """
        shares = self.shares[: self.numeric, :BINS]
        shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), _NOTHING)
        begins, held = np.zeros(shares.shape, np.bool_), np.zeros(self.numeric)
        for cell in range(BINS):
            share = shares[:, cell]
            begins[:, cell] = held + share > COARSE + _NOTHING
            held = np.where(begins[:, cell], share, held + share)
        below = np.cumsum(shares, axis=1) <= _NOTHING
        above = np.cumsum(shares[:, ::-1], axis=1)[:, ::-1] <= _NOTHING
        groups = np.where(below, 0, 1 + np.cumsum(begins, axis=1) + above)
        return np.asarray(groups + np.arange(self.numeric)[:, None] * CELLS, np.intp)

    @cached_property
    def _heights(self) -> Floats:
        """The weight q / (Q (1 - Q)) of each gap, q and Q the reference's share of a cell and up to it.

        Where nothing lies below or above, Q (1 - Q) is 0 and any height would do; it is small, for one row out of a
        range that was found on finitely many is no news: rates have a test of their own.
        """
        shares = self.shares[: self.numeric]
        upto = np.cumsum(shares, axis=1)
        whole = upto >= 1 - _NOTHING
        inside = (upto > _NOTHING) & ~whole
        upto_share = np.where(inside, upto, 0.5)
        heights = np.where(inside, np.maximum(shares, _LEAST_MASS) / (upto_share * (1 - upto_share)), 0.0)
        ends = np.zeros_like(inside)
        ends[:, (0, MISSING - 1)] = True  # below the range, and no longer among the numbers
        ends[np.arange(self.numeric), np.argmax(whole, axis=1)] = True  # above it
        heights[ends & ~inside] = _LEAST_MASS / self._least
        return np.asarray(heights)

    @cached_property
    def _inverse(self) -> Floats:
        return np.asarray(1.0 / (self.shares[self.numeric :] + self._least))

    @property
    def _least(self) -> float:
        return 0.5 / max(self.rows, 1.0)


@dataclass(frozen=True)
class Sizes:
    """Of every feature.

    Attributes:
        variation: total variation, 0 to 1.
        stability: population stability index.
    """

    variation: Floats
    stability: Floats


def outside(sketch: Sketch, numeric: int, tops: NDArray[np.intp]) -> NDArray[np.int64]:
    """How many of each feature are missing, never seen, and outside the reference's range, shape (features, 3).

    Args:
        sketch: a window's.
        numeric: how many of the features are numbers.
        tops: the cell above the range of each numeric feature.
    """
    counts = sketch.counts
    beyond = np.zeros(len(counts), np.int64)
    numbers = counts[:numeric]
    beyond[:numeric] = numbers[:, 0] + numbers[np.arange(len(numbers)), tops] * (tops > 0)
    return np.stack((counts[:, MISSING], counts[:, UNSEEN], beyond), axis=1)
