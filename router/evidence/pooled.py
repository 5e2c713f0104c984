"""The difference of two pooled means with an interval that is right at every look: for reports of an A/B of equals.

A report under a constant split, never a decision: pooled over a ramp, the arms hold different hours, and a trend of
all users reads as a difference (on such nulls it rejects nearly always). Decisions on means are T4's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from router.evidence.errors import EvidenceError
from router.evidence.one_arm import tuning
from router.evidence.samples import Pair
from router.evidence.sequential import threshold


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus stable: the difference of means, its interval, and an anytime-valid p-value."""

    difference: float
    lower: float
    upper: float
    p_value: float


def tuned_rho(alpha: float, total_opt: float) -> float:
    """√((2 ln(1/a) + ln(1 + 2 ln(1/a))) / n), a = alpha: tightest at n (Waudby-Smith et al. 2021, arXiv 2103.06476)."""
    return math.sqrt(tuning(alpha) / total_opt)


def half_width(total: float, variance: float, *, rho: float, alpha: float) -> float:
    """√(2 (n rho² + 1) / (n rho)² · v · ln(√(n rho² + 1) / alpha)), n values of variance v (the same paper)."""
    spread = total * rho * rho + 1
    return math.sqrt(2 * spread * variance * (0.5 * math.log(spread) + threshold(alpha))) / (total * rho)


def difference_of(pooled: Pair, *, alpha: float, total_opt: float) -> Difference:
    """The report for two arms' pooled values.

    Hypothesis of the p-value: equal means. Not valid on a ramp or a trend (above), with few values, or for units that
    are counted more than once.

    Args:
        pooled: all values so far, two of each arm at least.
        alpha: the chance that the interval ever misses.
        total_opt: the n at which it should be narrowest, fixed before the first look.
    """
    if not pooled.comparable:
        raise EvidenceError("a difference of means takes two values of each arm at least")
    candidate, stable = pooled.candidate, pooled.stable
    total, difference = candidate.count + stable.count, candidate.mean - stable.mean
    variance = total * (candidate.variance / candidate.count + stable.variance / stable.count)
    rho = tuned_rho(alpha, total_opt)
    radius, spread = half_width(total, variance, rho=rho, alpha=alpha), total * rho * rho + 1
    distance = (total * rho * difference) ** 2 / (2 * spread * variance) if variance else math.inf * abs(difference)
    p_value = min(1.0, math.exp(min(0.5 * math.log(spread) - distance, 0.0))) if difference else 1.0
    return Difference(difference, difference - radius, difference + radius, p_value)
