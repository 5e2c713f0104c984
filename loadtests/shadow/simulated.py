"""Rollouts whose candidates get copies only, simulated pair by pair and judged by what the conductor judges by.

A second's pairs go into the same case, a verdict is asked for after each second, and the first that says so ends the
rollout. Classes come independently of each other; stable differs from itself now and then, and so does the candidate.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from numpy.random import Generator, SeedSequence, default_rng

from loadtests.shadow.proof import Asked, Figure, Proof
from router.evidence.pairs import Pairs
from router.evidence.special import binomial_bounds
from router.policy import Shadow
from router.strategies import shadow
from router.verdicts.case import Case
from router.verdicts.pair_blocks import PairBlock
from router.verdicts.tallies import Moment

PAIRS_A_SECOND: Final = 50
SEGMENT: Final = 0.05
"""The part of the requests in which the candidate confuses one class with another."""
OF_A_CLASS: Final = 1 / 3
"""How often that class is the answer."""
_LONGEST, _QUICK = 8_000, 4_000
_CONFIDENCE: Final = 0.98
"""Of both bounds, so that 99 % are above the lower one."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How two versions' answers to the same request come to differ.

    Attributes:
        noise: how often any answer is another one than the model's usual one.
        confused: how often the candidate's usual one differs from stable's.
        lane: whether stable is asked twice.
        slow: how often a copy takes longer than 1.1 times its request: half of them do, where both are as fast.
        failing: how often an answer fails, of either.
    """

    noise: float
    confused: float = 0.0
    lane: bool = True
    slow: float = 0.5
    failing: float = 0.002

    def second(self, rng: Generator) -> PairBlock:
        """What a keeper finds in one second."""
        count = PAIRS_A_SECOND
        failed = rng.random((2, count)) < self.failing
        first, candidate, twice = rng.random((3, count)) < self.noise
        confused = rng.random(count) < self.confused
        differs, again = (candidate | confused) ^ first, twice ^ first
        both = ~failed[0] & ~failed[1]
        slow = int((rng.random(count) < self.slow).sum())
        return PairBlock(
            int(both.sum()),
            int((differs & both).sum()),
            _signs(failed[1] & ~failed[0], failed[0] & ~failed[1]),
            Pairs(slow, count - slow),
            _signs(differs & ~again & both, again & ~differs & both) if self.lane else Pairs(),
            int(both.sum()) if self.lane else 0,
            int((again & both).sum()) if self.lane else 0,
            offered=count,
            sent=count,
            lane=self.lane,
        )


def pairs_until_back(answers: Answers, rng: Generator, most: int) -> int | None:
    """After how many pairs the candidate is taken back; None where it is not, within that many."""
    plan = shadow(Shadow(2, noise_ppm=1_000_000 if answers.lane else 0), duration_s=3_600)
    case = Case(plan.judged_by).copied()
    for second in range(1, most // PAIRS_A_SECOND + 1):
        case = case.heard_copies(Moment(float(second), pairs=answers.second(rng)))
        if case.verdict(minima_met=True, only_copies=True).decision == "roll_back":
            return second * PAIRS_A_SECOND
    return None


def _only_noise(answers: Answers, asked: Asked) -> Sequence[Figure]:
    most = _QUICK if asked.quick else _LONGEST
    seeds = SeedSequence(asked.seed).spawn(asked.runs)
    back = sum(pairs_until_back(answers, default_rng(one), most) is not None for one in seeds)
    alpha = shadow(Shadow(2), duration_s=1).judged_by.harm
    lower, _ = binomial_bounds(back, asked.runs, _CONFIDENCE)
    said = f"{back} of {asked.runs} in {most:,} pairs each; at least {lower:.2%} (99 %), of {alpha:.0%} allowed"
    return (Figure("rollouts that went back", said, lower <= alpha),)


def _planted(answers: Answers, asked: Asked) -> Sequence[Figure]:
    most, runs = 4 * _LONGEST, max(1, asked.runs // 8 if asked.quick else asked.runs // 2)
    seeds = SeedSequence(asked.seed).spawn(runs)
    needed = [pairs_until_back(answers, default_rng(one), most) for one in seeds]
    found = sorted(one for one in needed if one is not None)
    middle = f"{statistics.median(found):,.0f}" if found else "none"
    slowest = f"{found[int(0.9 * (len(found) - 1))]:,}" if found else "none"
    return (
        Figure("rollouts that went back", f"{len(found)} of {runs}", len(found) == runs),
        Figure("pairs that it took, the median of them (nine of ten)", f"{middle} ({slowest})"),
    )


def _signs(worse: Sequence[bool], better: Sequence[bool]) -> Pairs:
    one, other = int(sum(worse)), int(sum(better))
    return Pairs(one, other, PAIRS_A_SECOND - one - other)


_CONFUSED: Final = SEGMENT * OF_A_CLASS
_OFTEN: Final = "simulated: a candidate with stable's own noise, of 1 %, which is asked twice"
_NOISY: Final = "simulated: the same with a noise of 20 %"
_LIMIT: Final = "simulated: 0.8 % of the answers differ, 1 % may, stable is asked once"
_MIXED: Final = "simulated: one class taken for another in 5 % of requests, beside a noise of 0.5 %"
_ALONE: Final = "simulated: the same without noise, and stable asked once"
PROOFS: Final = (
    Proof("noise", _OFTEN, partial(_only_noise, Answers(0.01))),
    Proof("more-noise", _NOISY, partial(_only_noise, Answers(0.2))),
    Proof("limit", _LIMIT, partial(_only_noise, Answers(0.0, 0.008, lane=False))),
    Proof("confused", _MIXED, partial(_planted, Answers(0.005, _CONFUSED))),
    Proof("confused-once", _ALONE, partial(_planted, Answers(0.0, _CONFUSED, lane=False))),
)
