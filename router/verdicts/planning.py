"""How long will it take? Requests that a candidate needs until harm is found, or until it is certified, beforehand.

Answered by simulation of the same tests that judge: the law of what happens is known (independent requests, constant
rates), the time at which a sequential test stops has no formula. The draws are the caller's, so that the same question
has the same answer. Real traffic is burstier: take what comes out as the least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from router.errors import PlanError
from router.evidence.odds import exact_ratios, fast_ratios
from router.evidence.one_arm import RateTest, rates_of
from router.evidence.sequential import threshold
from router.evidence.special import Floats, log_sum_exp
from router.evidence.two_arm import OddsTest, Side, grid_of

_SMALLEST_BLOCK: Final = 5
_GROWTH: Final = 0.01
_MOST_REQUESTS: Final = 10_000_000
_RUNS: Final = 300
_RARE: Final = 0.05


class Needed(NamedTuple):
    """Requests of the candidate that it takes; infinity where more than are looked at.

    Attributes:
        median: in half of all rollouts.
        most: in nine of ten.
    """

    median: float
    most: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a rollout is expected to see.

    Attributes:
        rate: stable's rate of the event, between 0 and 1.
        share: the candidate's part of the traffic, between 0 and 1.
        ratio: the candidate's odds of the event, as a multiple of stable's.
    """

    rate: float
    share: float
    ratio: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no traffic."""
        if not 0 < self.rate < 1 or not 0 < self.share < 1:
            raise PlanError("a plan takes a rate of events and a share of the traffic, each above 0 and below 1")
        if not 0 < self.ratio < math.inf:
            raise PlanError(f"a candidate's odds are a multiple above 0 of stable's, not {self.ratio:g}")

    @property
    def candidates_rate(self) -> float:
        """The candidate's rate of the event."""
        odds = self.ratio * self.rate / (1 - self.rate)
        return odds / (1 + odds)


def to_detect(traffic: Traffic, rng: Generator, *, alpha: float, tolerated: float = 1.0, runs: int = _RUNS) -> Needed:
    """What it takes until T1 finds that the candidate is worse than tolerated.

    Args:
        traffic: with a ratio above what is tolerated, or it may never be found.
        rng: the draws.
        alpha: the level of harm.
        tolerated: θ0.
        runs: simulated rollouts.
    """
    return _needed(traffic, rng, OddsTest(tolerated), alpha, runs)


def to_certify(traffic: Traffic, rng: Generator, *, beta: float, margin: float, runs: int = _RUNS) -> Needed:
    """What it takes until T1 certifies that the candidate is better than the margin.

    Args:
        traffic: with a ratio under the margin, or it can only be certified by mistake.
        rng: the draws.
        beta: the level of promotion.
        margin: the odds ratio under which it is to be certified.
        runs: simulated rollouts.
    """
    return _needed(traffic, rng, OddsTest(margin, Side.NOT_WORSE), beta, runs)


def to_clear(rate: float, rng: Generator, *, beta: float, ceiling: float, runs: int = _RUNS) -> Needed:
    """What it takes until T2 certifies that the candidate's own rate is under a ceiling.

    Args:
        rate: its rate, under the ceiling, or it can only be certified by mistake.
        rng: the draws.
        beta: the level of promotion.
        ceiling: the rate under which it is to be certified.
        runs: simulated rollouts.
    """
    if not 0 <= rate < 1:
        raise PlanError(f"a rate of events is 0 or more and below 1, not {rate:g}")
    rates, limit = rates_of(RateTest(ceiling, Side.NOT_WORSE)), threshold(beta)
    gain, clean = np.log(rates / ceiling), np.log1p(-rates) - math.log1p(-ceiling)
    events, at, seen = np.zeros(runs), np.full(runs, np.inf), 0
    while np.mean(np.isfinite(at)) < 0.9 and seen < _MOST_REQUESTS:  # noqa: PLR2004 - nine of ten are asked for
        size = max(_SMALLEST_BLOCK, int(_GROWTH * seen))
        events += rng.binomial(size, rate, runs)
        seen += size
        logs = log_sum_exp(events[:, None] * gain + (seen - events)[:, None] * clean) - math.log(rates.size)
        at[(logs >= limit) & np.isinf(at)] = seen
    return _middle(at)


def clean_requests(ceiling: float, beta: float) -> int:
    """How many requests without any event certify a rate under this ceiling (T2)."""
    if not 0 < ceiling < 1:
        raise PlanError(f"a ceiling is a rate above 0 and below 1, not {ceiling:g}")
    gains = np.log1p(-rates_of(RateTest(ceiling, Side.NOT_WORSE))) - math.log1p(-ceiling)
    low, high = 1, 1
    while _clean(gains, high) < threshold(beta):
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _clean(gains, middle) >= threshold(beta) else (middle + 1, high)
    return high


def _clean(gains: Floats, requests: int) -> float:
    return float(log_sum_exp(gains * requests)) - math.log(gains.size)


def _needed(traffic: Traffic, rng: Generator, test: OddsTest, alpha: float, runs: int) -> Needed:
    """Blocks grow with what was seen, so that a long rollout takes no more of them than a short one."""
    grid, limit = grid_of(test), threshold(alpha) + math.log(test.size)
    rare = max(traffic.rate, traffic.candidates_rate) < _RARE and test.side is Side.WORSE
    ratios = fast_ratios if rare else exact_ratios
    logs, at, seen = np.zeros((runs, grid.size)), np.full(runs, np.inf), 0
    while np.mean(np.isfinite(at)) < 0.9 and seen < _MOST_REQUESTS:  # noqa: PLR2004 - nine of ten are asked for
        size = max(_SMALLEST_BLOCK, int(_GROWTH * seen))
        others = max(1, round(size * (1 - traffic.share) / traffic.share))
        open_ones = np.flatnonzero(np.isinf(at))
        x = rng.binomial(size, traffic.candidates_rate, open_ones.size).astype(np.float64)
        m = x + rng.binomial(others, traffic.rate, open_ones.size)
        sizes = np.full(open_ones.size, float(size)), np.full(open_ones.size, float(others))
        logs[open_ones] += ratios(np.array([x, m, *sizes]), grid, test.limit)
        seen += size
        at[open_ones[log_sum_exp(logs[open_ones]) >= limit]] = seen
    return _middle(at)


def _middle(at: Floats) -> Needed:
    """Of the requests after which each run was there."""
    ordered = np.sort(at)
    return Needed(float(ordered[(at.size - 1) // 2]), float(ordered[math.ceil(0.9 * at.size) - 1]))
