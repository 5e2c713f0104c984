"""T9: is the worst replica too often one of the candidate's? The second opinion that bursts cannot fool.

A replica that hiccups for twenty seconds spoils thousands of requests at once, and every test that counts requests
takes them for thousands of facts. Here a block is one fact: which replica was worst. While the version makes no
difference, each replica is equally likely to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.special import Floats, log_mean_exp
from router.evidence.two_arm import check_logs, summed

BLOCK_S = 30.0
_FACTORS: Floats = np.geomspace(1.2, 200.0, 32)


@dataclass(frozen=True, slots=True)
class Replicas:
    """The evidence so far.

    Hypothesis: in every block the replicas are exchangeable, so that the worst one is a candidate's with probability
    p0 = k/(k + b), for k of the candidate's and b of stable's. Formula: W = 1 if it is, and with odds θ_j k/b, θ_j of
    geomspace(1.2, 200, 32), L_j += W ln(p_j/p0) + (1 - W) ln((1 - p_j)/(1 - p0)); log E = ln of the mean of exp L_j
    (a rank test in the sense of Wilcoxon 1945, as a mixture likelihood ratio). Rejected at level alpha when
    log E ≥ ln(1/alpha).

    Not valid where the arms' replicas differ by design (load, hardware, a cold start: leave warm-up out), where a
    fault outlasts several blocks, or where ties are broken by anything but chance. Says nothing with one version's
    replicas alone.

    Attributes:
        logs: L_j, shape (32,).
        blocks: how many blocks were added.
        wins: how often a candidate's replica was worst, for people.
    """

    logs: tuple[float, ...] = (0.0,) * _FACTORS.size
    blocks: int = 0
    wins: int = 0

    def __post_init__(self) -> None:
        """Refuse a state of another grid, or more wins than blocks."""
        check_logs(self.logs, _FACTORS.size)
        if not 0 <= self.wins <= self.blocks:
            raise EvidenceError(f"{self.wins} of {self.blocks} blocks cannot be")

    def add(self, candidate: Sequence[float], stable: Sequence[float], draw: float) -> Replicas:
        """The evidence after one block; unchanged where a version has no replica with traffic.

        Args:
            candidate: one badness per replica of the candidate, an error rate or a p99, larger is worse.
            stable: the same of stable.
            draw: uniform on [0, 1), drawn by the caller, breaks ties.
        """
        if not candidate or not stable:
            return self
        won = worst_is_candidate(candidate, stable, draw)
        k, b = len(candidate), len(stable)
        # ln(p_j/p0) and ln((1 - p_j)/(1 - p0)) share the term ln((k + b)/(θ_j k + b))
        gains = math.log(k + b) - np.log(_FACTORS * k + b)
        if won:
            gains = gains + np.log(_FACTORS)
        return self.merge(Replicas(tuple(gains.tolist()), 1, int(won)))

    def merge(self, other: Replicas) -> Replicas:
        """Both states' blocks as one state. Associative and commutative, up to the rounding of float sums."""
        return Replicas(summed(self.logs, other.logs), self.blocks + other.blocks, self.wins + other.wins)

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return log_mean_exp(np.array(self.logs))


def worst_is_candidate(candidate: Sequence[float], stable: Sequence[float], draw: float) -> bool:
    """Whether the worst replica is one of the candidate's; among equals `draw`, in [0, 1), decides fairly."""
    if any(map(math.isnan, (*candidate, *stable))) or not 0 <= draw < 1:
        raise EvidenceError(
            "replicas are ranked by numbers and ties by a draw from [0, 1): no NaN; leave idle ones out"
        )
    worst = max(*candidate, *stable)
    tied_candidate, tied_stable = candidate.count(worst), stable.count(worst)
    return draw * (tied_candidate + tied_stable) < tied_candidate
