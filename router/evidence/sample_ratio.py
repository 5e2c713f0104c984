"""T6: did the arms get the units that their shares promised? If not, nothing else here can be trusted.

A mismatch means a broken experiment (a lost log, a biased hash, a candidate that hangs and never completes), not a bad
candidate: it freezes a ramp and calls a person, and rolls nothing back. With completed units as counts and assigned
ones as weights the same test finds the candidate that swallows requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.special import log_gamma
from router.evidence.two_arm import refuse_other

ALPHA = 0.001
CONCENTRATION = 100.0
MOST_PHASES = 256


@dataclass(frozen=True, slots=True)
class Phase:
    """Units of each arm between two changes of weight.

    Attributes:
        weights: the arms' shares in any unit, each above 0; an arm without a share is left out.
        counts: units assigned to each arm.
    """

    weights: tuple[int, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse weights of nothing, and counts that do not fit them."""
        if len(self.weights) < 2 or any(weight <= 0 for weight in self.weights):  # noqa: PLR2004 - a ratio takes two
            raise EvidenceError(f"a ratio takes two arms at least, each with a share above 0, not {self.weights}")
        if len(self.counts) != len(self.weights) or any(count < 0 for count in self.counts):
            raise EvidenceError(f"{self.counts} are no counts of {len(self.weights)} arms")

    @property
    def log_e(self) -> float:
        """The Dirichlet-multinomial Bayes factor against these weights; 0 without units."""
        counts = np.array(self.counts, dtype=np.float64)
        ratios = np.array(self.weights, dtype=np.float64) / sum(self.weights)
        prior, total = CONCENTRATION * ratios, float(counts.sum())
        ends = log_gamma(np.array([CONCENTRATION, CONCENTRATION + total]))
        cells = log_gamma(prior + counts) - log_gamma(prior) - counts * np.log(ratios)
        return float(ends[0] - ends[1] + cells.sum())


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The evidence so far, one phase per change of weight.

    Hypothesis: each unit goes to arm i with probability rho_i, its weight, whatever came before. Formula:
    per phase lnΓ(k) - lnΓ(k + n) + Σ [lnΓ(k rho_i + n_i) - lnΓ(k rho_i)] - Σ n_i ln rho_i, k = 100; phases add up
    (Lindon and Malek 2022, Anytime-valid inference for multinomial count data, NeurIPS). Rejected at alpha = 0.001.

    Not valid for requests where routing is sticky, nor for estimated counts of units: an estimate's own error would
    trip it. Count units exactly on a hash sample.

    Attributes:
        phases: in order; the last one is being counted.
    """

    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        """Refuse more phases than a rollout has: something else is changing weights."""
        if len(self.phases) > MOST_PHASES:
            raise EvidenceError(f"a rollout changes weights {MOST_PHASES} times at most, not {len(self.phases)}")

    def begin(self, weights: tuple[int, ...], *, anew: bool = False) -> SampleRatio:
        """The evidence with a new phase under these weights; the same value where they are those of the last one.

        Args:
            weights: the arms' shares.
            anew: whether a phase begins even then: the units are others than those of the last one.
        """
        if self.phases and self.phases[-1].weights == weights and not anew:
            return self
        return SampleRatio((*self.phases, Phase(weights, (0,) * len(weights))))

    def add(self, counts: tuple[int, ...]) -> SampleRatio:
        """The evidence after these units of the current phase, one count per arm in the order of the weights."""
        if not self.phases:
            raise EvidenceError("units are counted against weights: begin a phase first")
        last = self.phases[-1]
        return SampleRatio((*self.phases[:-1], _together(last, Phase(last.weights, counts))))

    def merge(self, other: SampleRatio) -> SampleRatio:
        """Both states' units as one state: exactly associative and commutative; the phases must be the same."""
        refuse_other([phase.weights for phase in self.phases], [phase.weights for phase in other.phases])
        return SampleRatio(tuple(map(_together, self.phases, other.phases)))

    @property
    def log_e(self) -> float:
        """The log e-value, the product over phases; 0 without data."""
        return math.fsum(phase.log_e for phase in self.phases)


def _together(phase: Phase, other: Phase) -> Phase:
    counts = zip(phase.counts, other.counts, strict=True)
    return Phase(phase.weights, tuple(a + b for a, b in counts))
