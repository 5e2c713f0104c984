"""T2: does one arm's own event rate keep to a limit? And what may be said of that rate to people.

This one has no comparison to lean on: an incident that both arms share rightly trips it. So its WORSE side pauses a
ramp and rolls nothing back by itself; its NOT_WORSE side is the ceiling under which a candidate may be promoted
although stable is too clean to be compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.sequential import threshold
from router.evidence.special import Floats, beta_bernoulli, last_inside, log_mean_exp
from router.evidence.two_arm import Side, refuse_other

_ALPHA_OPT = 0.05  # the level for which a mixture is tuned; it moves the width a little and the validity not at all


@dataclass(frozen=True, slots=True)
class RateTest:
    """A hypothesis about an event rate: p ≤ limit for WORSE, p ≥ limit for NOT_WORSE."""

    limit: float
    side: Side = Side.WORSE

    def __post_init__(self) -> None:
        """Refuse limits that are no rate, and a side that is none."""
        if not 0 < self.limit < 1:
            raise EvidenceError(f"a limit of a rate is above 0 and below 1, not {self.limit!r}")
        if self.side is Side.DIFFERENT:
            raise EvidenceError("one arm's rate is tested against a limit: from above or from below, not both")


@lru_cache(maxsize=64)
def rates_of(test: RateTest) -> Floats:
    """The rates that the mixture holds, shape (48,), each with the same weight.

    Odds from 1.05 to 1000 times the limit's, or from 0.001 to 0.95 times for a ceiling: most of the weight then lies
    on nearly clean candidates, which need about 330 clean requests to pass under 1 % at level 5 %.
    """
    factors = np.geomspace(1.05, 1000.0, 48) if test.side is Side.WORSE else np.geomspace(0.001, 0.95, 48)
    odds = factors * test.limit / (1 - test.limit)
    rates: Floats = odds / (1 + odds)
    rates.flags.writeable = False
    return rates


@dataclass(frozen=True, slots=True)
class OneArm:
    """The evidence so far: two counts.

    Hypothesis: in every block p_t ≤ limit (WORSE) or p_t ≥ limit (NOT_WORSE), given the past.
    Formula: log E = ln (1/K) Σ_k exp L_k, L_k = x ln(p_k/p0) + (n - x) ln((1 - p_k)/(1 - p0)) (mixture of likelihood
    ratios, Robbins 1970; the ratio is monotone in x, so the whole half-line is covered). Rejected at level alpha when
    log E ≥ ln(1/alpha).

    Not valid for requests that fail together (a replica's burst, a poisonous user), and no verdict on a candidate
    where a shared incident is possible.

    Attributes:
        test: the hypothesis.
        events: x, over all blocks.
        total: n, over all blocks.
    """

    test: RateTest
    events: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        refuse_counts(self.events, self.total)

    def add(self, events: int, total: int) -> OneArm:
        """The evidence after a block with `events` among `total` completed requests."""
        return self.merge(OneArm(self.test, events, total))

    def merge(self, other: OneArm) -> OneArm:
        """Both states' blocks as one state: exactly associative and commutative."""
        refuse_other(self.test, other.test)
        return OneArm(self.test, self.events + other.events, self.total + other.total)

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        rates, limit = rates_of(self.test), self.test.limit
        clean = self.total - self.events
        return log_mean_exp(self.events * np.log(rates / limit) + clean * (np.log1p(-rates) - math.log1p(-limit)))


def rate_interval(events: int, total: int, *, alpha: float, total_opt: float) -> tuple[float, float]:
    """A confidence sequence for one constant rate: lower and upper end, valid at every look.

    All p that a beta-binomial mixture of prior mean p does not reject (Howard et al. 2021, Ann. Statist. 49,
    section 3.2, inverted by bisection; `bernoulli_confidence_interval` in their package).
    Not valid as an interval for a rate that moves: then it covers no particular rate.

    Args:
        events: x.
        total: n; (0, 1) is the answer without data.
        alpha: the chance that the interval ever misses the rate.
        total_opt: the n at which the interval should be narrowest, fixed before the first look.
    """
    refuse_counts(events, total)
    if total == 0:
        return 0.0, 1.0
    limit, weight, seen = threshold(alpha), concentration_for(total_opt), events / total

    def kept(rate: float) -> bool:
        return 0 < rate < 1 and beta_bernoulli(events, total, rate, weight) < limit

    lower = last_inside(kept, seen, 0.0) if events > 0 else 0.0
    upper = last_inside(kept, seen, 1.0) if events < total else 1.0
    return lower, upper


def concentration_for(total_opt: float) -> float:
    """The prior's weight that makes a beta-binomial mixture tightest at `total_opt` observations.

    n / (2 ln(1/a) + ln(1 + 2 ln(1/a))) - 1 with a = 0.05, and 0.001 at least (Howard et al. 2021, section 3.5).
    """
    if not 0 < total_opt < math.inf:
        raise EvidenceError(f"the total to tune for is above 0 and finite, not {total_opt!r}")
    return max(total_opt / tuning(_ALPHA_OPT) - 1, 1e-3)


def tuning(alpha: float) -> float:
    """V over the best rho of a normal mixture: 2 ln(1/a) + ln(1 + 2 ln(1/a)), a = alpha (Howard et al. 2021, 3.5)."""
    doubled = 2 * threshold(alpha)
    return doubled + math.log1p(doubled)


def refuse_counts(events: int, total: int) -> None:
    """Refuse counts that cannot be."""
    if not 0 <= events <= total:
        raise EvidenceError(f"{events} events among {total} requests cannot be")
