"""What may be shown to people of T1: an interval for the odds ratio that is right at every look.

A verdict needs one hypothesis, a chart needs them all. So this state keeps the log likelihood itself, over odds ratios
from a hundredth to a hundredfold, instead of ratios against one limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from router.evidence.counts import Block, columns
from router.evidence.odds import exact_ratios
from router.evidence.sequential import threshold
from router.evidence.special import Floats, log_mean_exp
from router.evidence.two_arm import check_logs, summed

_THETAS: Floats = np.geomspace(0.01, 100.0, 185)  # neighbours are 5 % apart, 1 is among them


class Interval(NamedTuple):
    """Lower end, best guess and upper end of an odds ratio; 0 and infinity stand for no limit."""

    lower: float
    likeliest: float
    upper: float


@dataclass(frozen=True, slots=True)
class OddsCurve:
    """The log likelihood of every odds ratio of the grid, relative to θ = 1.

    Hypotheses: for each θ0, "the odds ratio is θ0 in every block". Formula: G(θ) = Σ x ln θ - ln Z(θ) + ln Z(1) over
    blocks, and E(θ0) = (1/K) Σ_k exp(G(θ_k) - G(θ0)): the mixture of Robbins 1970. All θ0 with E(θ0) < 1/alpha are
    kept; G is concave in ln θ, so they are an interval, and its ends are rounded outwards to the grid.

    Not valid as an interval when the odds ratio moves (a candidate that gets worse halfway): it then covers none of
    its values. Else valid where T1 is.

    Attributes:
        logs: G, shape (185,).
    """

    logs: tuple[float, ...] = (0.0,) * _THETAS.size

    def __post_init__(self) -> None:
        """Refuse a state of another grid."""
        check_logs(self.logs, _THETAS.size)

    def add(self, blocks: Iterable[Block]) -> OddsCurve:
        """The curve after these blocks, scored exactly: no faster form is valid on both sides of every θ0."""
        gains = exact_ratios(columns(blocks), _THETAS, 1.0).sum(axis=0)
        return self.merge(OddsCurve(tuple(gains.tolist())))

    def merge(self, other: OddsCurve) -> OddsCurve:
        """Both states' blocks as one state. Associative and commutative, up to the rounding of float sums."""
        return OddsCurve(summed(self.logs, other.logs))

    def interval(self, alpha: float) -> Interval:
        """The odds ratios that the blocks leave possible; the chance that the true one is ever left out is alpha."""
        logs = np.array(self.logs)
        kept = np.flatnonzero(logs > log_mean_exp(logs) - threshold(alpha))
        first, last = int(kept[0]), int(kept[-1])
        return Interval(
            0.0 if first == 0 else float(_THETAS[first - 1]),
            float(_THETAS[int(np.argmax(logs))]),
            float("inf") if last == _THETAS.size - 1 else float(_THETAS[last + 1]),
        )
