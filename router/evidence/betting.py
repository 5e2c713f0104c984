"""The part of T4 for bounded values and small numbers: bet against the mean, and see whether the capital grows.

No central limit theorem, no variance: each value multiplies the capital by 1 + λ(d - m0), and a fair game has no
strategy that wins for long. Right for shadow pairs and for feedback that trickles in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.special import Floats, log_mean_exp
from router.evidence.two_arm import check_logs, refuse_other, summed

_BETS: Floats = np.geomspace(0.01, 0.95, 32)


@dataclass(frozen=True, slots=True)
class BoundedTest:
    """A hypothesis about values between `low` and `high`: each one's mean, given the past, is at most `mean`."""

    low: float = -1.0
    high: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        """Refuse bounds that hold no mean."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.mean < self.high):
            raise EvidenceError(f"the mean lies between finite bounds: {self}")


@dataclass(frozen=True, slots=True)
class Bets:
    """The evidence so far: the log capital of each bet.

    Hypothesis: E[d | past] ≤ m0 for every value d. Formula: L_k = Σ ln(1 + λ_k (d - m0)),
    λ_k = geomspace(0.01, 0.95, 32) / (m0 - low), log E = ln of the mean of exp L_k (Waudby-Smith and Ramdas 2023,
    Estimating means of bounded random variables by betting, JRSS B 86). Nonasymptotic. Rejected at level
    alpha when log E ≥ ln(1/alpha).

    Not valid for values outside the bounds, which are refused, nor for values that come in an order which depends on
    them (the fast answers first).

    Attributes:
        test: the hypothesis.
        logs: L_k, shape (32,).
        count: how many values were added.
    """

    test: BoundedTest
    logs: tuple[float, ...] = (0.0,) * _BETS.size
    count: int = 0

    def __post_init__(self) -> None:
        """Refuse a state of another grid."""
        check_logs(self.logs, _BETS.size)

    def add(self, values: Iterable[float]) -> Bets:
        """The evidence after these values, shape (n,).

        Raises:
            EvidenceError: a value outside the bounds.
        """
        new = np.fromiter(values, dtype=np.float64)
        if not np.all((new >= self.test.low) & (new <= self.test.high)):
            raise EvidenceError(f"the bets need every value between {self.test.low} and {self.test.high}")
        bets = _BETS / (self.test.mean - self.test.low)
        gains = np.log1p(bets * (new - self.test.mean)[:, None]).sum(axis=0)
        return self.merge(Bets(self.test, tuple(gains.tolist()), new.size))

    def merge(self, other: Bets) -> Bets:
        """Both states' values as one state. Associative and commutative, up to the rounding of float sums."""
        refuse_other(self.test, other.test)
        return Bets(self.test, summed(self.logs, other.logs), self.count + other.count)

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return log_mean_exp(np.array(self.logs))
