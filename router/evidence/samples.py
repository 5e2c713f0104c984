"""What one block says of a quantity: how many values, their mean, their spread. Mergeable without losing digits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from router.evidence.errors import EvidenceError


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one arm, summed up.

    Attributes:
        count: n.
        mean: their mean; 0 without values.
        squares: the sum of squared distances from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no values add up to."""
        if self.count < 0 or not math.isfinite(self.mean) or not 0 <= self.squares < math.inf:
            raise EvidenceError(f"no values have count {self.count}, mean {self.mean} and squares {self.squares}")

    @classmethod
    def of(cls, values: Iterable[float]) -> Sample:
        """From the values themselves."""
        array = np.fromiter(values, dtype=np.float64)
        if array.size == 0:
            return cls()
        mean = float(array.mean())
        return cls(array.size, mean, float(np.square(array - mean).sum()))

    def merge(self, other: Sample) -> Sample:
        """Both arms' values as one (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        if count == 0:
            return self
        step = other.mean - self.mean
        mean = self.mean + step * other.count / count
        squares = self.squares + other.squares + step * step * self.count * other.count / count
        return Sample(count, mean, squares)

    @property
    def variance(self) -> float:
        """The unbiased variance; needs two values."""
        return self.squares / (self.count - 1)


@dataclass(frozen=True, slots=True)
class Pair:
    """The two arms' values of one block."""

    candidate: Sample
    stable: Sample

    def merge(self, other: Pair) -> Pair:
        """Two blocks as one."""
        return Pair(self.candidate.merge(other.candidate), self.stable.merge(other.stable))

    @property
    def comparable(self) -> bool:
        """Whether both arms have the two values that a variance takes; else merge it with the next block."""
        return self.candidate.count >= 2 and self.stable.count >= 2  # noqa: PLR2004 - a variance takes two
