"""T7: the same request answered by both: how often is only the candidate's answer bad?

A shadow pair cancels everything that belongs to the request, so only discordant pairs speak. Shadow answers reach no
user: what shadowing itself costs (load, queueing) is not the candidate's error, so compare at equal concurrency. How
often the outputs disagree at all is a rate of one arm, T2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.special import Floats, log_mean_exp

TOLERANCE = 1.1
_RATES: Floats = np.linspace(0.5, 1.0, 50)[1:-1]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The evidence so far: two counts.

    Hypothesis: given that exactly one answer of a pair is bad, it is the candidate's with probability ½ at most,
    whatever came before. Formula: L_k = b ln 2r_k + c ln 2(1 - r_k), r_k = linspace(½, 1, 50) without its ends,
    log E = ln of the mean of exp L_k: a mixture of sign tests, McNemar 1947 made sequential (Wald 1945). Rejected at
    level alpha when log E ≥ ln(1/alpha).

    Not valid for pairs that fail together in bursts, nor where the copy ran under other load than the original.

    Attributes:
        worse: b, pairs in which only the candidate was bad (or slower).
        better: c, pairs in which only stable was.
        ties: the rest, for people.
    """

    worse: int = 0
    better: int = 0
    ties: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        if min(self.worse, self.better, self.ties) < 0:
            raise EvidenceError(f"pairs are counted from 0 up: {self}")

    def add(self, *, candidate_bad: bool, stable_bad: bool) -> Pairs:
        """The evidence after one more pair."""
        worse, better = candidate_bad and not stable_bad, stable_bad and not candidate_bad
        return self.merge(Pairs(int(worse), int(better), int(candidate_bad == stable_bad)))

    def merge(self, other: Pairs) -> Pairs:
        """Both states' pairs as one state: exactly associative and commutative."""
        return Pairs(self.worse + other.worse, self.better + other.better, self.ties + other.ties)

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return log_mean_exp(self.worse * np.log(2 * _RATES) + self.better * np.log(2 * (1 - _RATES)))


def slower(seconds: Iterable[tuple[float, float]], tolerance: float = TOLERANCE) -> Pairs:
    """Pairs of latencies (candidate, stable) as pairs of outcomes: slower than `tolerance` times stable's, or faster.

    Hypothesis then: the median of candidate over stable is at most the tolerance. A NaN on either side is a tie.
    """
    pairs = Pairs()
    for candidate_s, stable_s in seconds:
        limit = tolerance * stable_s
        pairs = pairs.add(candidate_bad=candidate_s > limit, stable_bad=candidate_s < limit)
    return pairs
