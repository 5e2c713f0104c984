"""Rollouts judged by a mean: T4 as the only harm, before the same `judge` that every case goes to.

Rewards come with feedback, hours later if need be, so that no guardrail of a case hears them yet.
"""

from __future__ import annotations

import math

from numpy.random import Generator

from router.evidence.judge import Decision, Findings, Levels, Rule, judge
from router.evidence.sequential import Peak
from router.verdicts.guardrails import USUAL
from tests.router.evidence.values import Reward, rewarded


def taken_back(rng: Generator, reward: Reward) -> float:
    """The second at which the candidate is taken back, infinity for never."""
    levels, peak = Levels(Rule.FAST, harm=USUAL.harm), Peak()
    for second, state in rewarded(rng, reward, USUAL.harm):
        peak = peak.seen(state.log_e)
        if judge(Findings(peak.log_e, "reward"), levels).decision is Decision.ROLL_BACK:
            return second
    return math.inf
