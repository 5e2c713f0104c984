"""T5: events without a denominator, as they come from logs: how many of them are the candidate's?

While both arms make events at rates proportional to their share of the traffic, each event is the candidate's with
probability w, its share; the number of requests is not needed (Poisson thinning).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.one_arm import refuse_counts
from router.evidence.sequential import threshold
from router.evidence.special import beta_bernoulli, last_inside, log_beta, log_mean_exp
from router.evidence.two_arm import OddsTest, check_logs, grid_of, refuse_other, summed

CONCENTRATION = 100.0
_FARTHEST = 50.0  # |log rate ratio| beyond which no interval is asked for


@dataclass(frozen=True, slots=True)
class Events:
    """The evidence so far.

    Hypothesis: in every block the candidate's event rate per request, against θ0 times stable's, as `OddsTest` says
    with rates in place of odds. Formula: L_k += x ln(θ_k/θ0) + m ln[(1 - w + θ0 w)/(1 - w + θ_k w)], log E = ln of the
    mean of exp L_k: given m, x is binomial with wθ/(1 - w + wθ) (Lindon and Malek 2022, Anytime-valid inference for
    multinomial count data, NeurIPS, Poisson processes). Rejected at level alpha when log E ≥ ln(1/alpha).

    Not valid where w is the configured and not the actual share (a draining arm, a ramp inside a block), for events
    that come in bursts, nor for events that are common among requests: there the denominators matter, take T1.

    Attributes:
        test: the hypothesis.
        logs: L_k, shape (K,).
        x: the candidate's events, for people.
        m: events of both arms, for people.
    """

    test: OddsTest
    logs: tuple[float, ...] = ()
    x: int = 0
    m: int = 0

    def __post_init__(self) -> None:
        """An empty state is all zeros; refuse one of another grid's size."""
        if not self.logs:
            object.__setattr__(self, "logs", (0.0,) * self.test.size)
        check_logs(self.logs, self.test.size)
        refuse_counts(self.x, self.m)

    def add(self, x: int, m: int, share: float) -> Events:
        """The evidence after a block in which `x` of `m` events were the candidate's, whose share was `share`.

        Args:
            x: the candidate's events.
            m: events of both arms.
            share: w, between 0 and 1, of the traffic in this block.
        """
        refuse_counts(x, m)
        if not 0 < share < 1:
            raise EvidenceError(f"events tell arms apart only while both have a share: above 0, below 1, not {share}")
        thetas, limit = grid_of(self.test), self.test.limit
        spread = math.log1p(share * (limit - 1)) - np.log1p(share * (thetas - 1))
        gains = x * np.log(thetas / limit) + m * spread
        return self.merge(Events(self.test, tuple(gains.tolist()), x, m))

    def merge(self, other: Events) -> Events:
        """Both states' blocks as one state. Associative and commutative, up to the rounding of float sums."""
        refuse_other(self.test, other.test)
        return Events(self.test, summed(self.logs, other.logs), self.x + other.x, self.m + other.m)

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return log_mean_exp(np.array(self.logs))


def equal_rates(x: int, m: int, share: float) -> float:
    """The log e-value against equal rates, two-sided, for one constant share, in closed form.

    ln B(a + x, b + m - x) - ln B(a, b) - x ln w - (m - x) ln(1 - w), a = 100w, b = 100(1 - w) (Lindon and Malek 2022,
    two cells). Not valid when the share changed on the way: start a new count and add the logarithms.
    """
    refuse_counts(x, m)
    return beta_bernoulli(x, m, share, CONCENTRATION)


def rate_ratio_interval(x: int, m: int, share: float, alpha: float) -> tuple[float, float]:
    """A confidence sequence for the log of the rate ratio, candidate to stable, at one constant share.

    All δ whose share w(δ) = w e^δ / (1 - w + w e^δ) the mixture of `equal_rates` does not reject; its prior stays
    centred on w. Not valid when the share changed on the way.

    Returns:
        Lower and upper end; -50 and 50 stand for no limit.
    """
    refuse_counts(x, m)
    a, b = CONCENTRATION * share, CONCENTRATION * (1 - share)
    evidence = log_beta(a + x, b + m - x) - log_beta(a, b)
    limit, odds = threshold(alpha), math.log(share) - math.log1p(-share)

    def kept(delta: float) -> bool:
        # ln w(δ) and ln(1 - w(δ)) from the log odds, without leaving the logarithm
        log_w, log_rest = -float(np.logaddexp(0, -odds - delta)), -float(np.logaddexp(0, odds + delta))
        return evidence - x * log_w - (m - x) * log_rest < limit

    seen = math.log((x + a) / (m - x + b)) - odds
    start = seen if kept(seen) else math.log((x + 0.5) / (m - x + 0.5)) - odds
    return last_inside(kept, start, -_FARTHEST), last_inside(kept, start, _FARTHEST)
