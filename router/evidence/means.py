"""T4: is a mean worse on the candidate: reward, score, tokens, cost?

Each block gives one difference of means, weighted by how much it knows, so a ramp or a trend that moves both arms
moves no difference. The price against T1: it leans on the central limit theorem, blocks are many or large. For
bounded values and small numbers there is `betting.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from router.evidence.errors import EvidenceError
from router.evidence.one_arm import tuning
from router.evidence.samples import Pair
from router.evidence.sequential import threshold
from router.evidence.special import last_inside, log_normal_cdf
from router.evidence.two_arm import refuse_other

_SMALL = 30  # values per arm below which a block's own variance per arm is too noisy to be used alone


@dataclass(frozen=True, slots=True)
class MeanTest:
    """A hypothesis about candidate minus stable, with harm upwards.

    Attributes:
        variance_opt: the V at which the mixture is tightest, fixed before the first judged block (`variance_for`).
        margin: δ0, in units of the value: how much worse is tolerated.
        harm: 1 where more is worse (cost, latency), -1 where less is worse (reward).
        alpha_opt: the level for which the mixture is tuned.
    """

    variance_opt: float
    margin: float = 0.0
    harm: int = 1
    alpha_opt: float = 0.01

    def __post_init__(self) -> None:
        """Refuse tunings that are none."""
        if not 0 < self.variance_opt < math.inf or not math.isfinite(self.margin):
            raise EvidenceError(f"the variance to tune for is above 0, margins are finite: {self}")
        if self.harm not in {1, -1} or not 0 < self.alpha_opt < 0.5:  # noqa: PLR2004 - twice it is a level too
            raise EvidenceError(f"harm is 1 or -1 and the level to tune for is below 0.5: {self}")


@dataclass(frozen=True, slots=True)
class Means:
    """The evidence so far: three sums.

    Hypothesis: harm times (mean of candidate - mean of stable) ≤ margin, in every block.
    Formula: per block h = n_c n_b / (n_c + n_b), S += h (ȳ_c - ȳ_b - δ0), V += h² (s²_c/n_c + s²_b/n_b), and
    log E = ½ ln(4 rho/(V + rho)) + S²/(2(V + rho)) + ln Φ(S/√(V + rho)), with
    rho = V_opt / (2 ln(1/a) + ln(1 + 2 ln(1/a))) and a = 2 alpha: the one-sided normal mixture of Howard et al. 2021
    (Ann. Statist. 49, section 3.2). Rejected at level alpha when log E ≥ ln(1/alpha).

    Not valid without the central limit theorem: very heavy tails, a handful of values. Not valid with sticky routing
    when values are counted by request. Arms of very different variance in blocks under 30 values, where both arms
    share one estimate, make it less sharp or less careful than it says.

    Attributes:
        test: the hypothesis.
        difference: Σ h (ȳ_c - ȳ_b), harm upwards, before the margin.
        variance: V.
        weight: Σ h.
        blocks: how many blocks were added.
    """

    test: MeanTest
    difference: float = 0.0
    variance: float = 0.0
    weight: float = 0.0
    blocks: int = 0

    def __post_init__(self) -> None:
        """Refuse sums that are none."""
        if not math.isfinite(self.difference) or not (0 <= self.variance < math.inf and 0 <= self.weight < math.inf):
            raise EvidenceError(f"no blocks add up to {self}")

    def add(self, block: Pair) -> Means:
        """The evidence after this block.

        Raises:
            EvidenceError: an arm has fewer than two values; merge the block with the next one.
        """
        weight = weight_of(block)
        difference = self.test.harm * weight * (block.candidate.mean - block.stable.mean)
        return self.merge(Means(self.test, difference, variance_of(block), weight, 1))

    def merge(self, other: Means) -> Means:
        """Both states' blocks as one state. Associative and commutative, up to the rounding of float sums."""
        refuse_other(self.test, other.test)
        return Means(
            self.test,
            self.difference + other.difference,
            self.variance + other.variance,
            self.weight + other.weight,
            self.blocks + other.blocks,
        )

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        if not self.blocks:
            return 0.0
        rho = self.test.variance_opt / tuning(2 * self.test.alpha_opt)
        return normal_mixture(self.difference - self.weight * self.test.margin, self.variance, rho)

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """A confidence sequence for the difference of means, harm upwards; None without data.

        (S ± √((V + rho)(ln(1 + V/rho) + 2 ln(1/alpha)))) / Σh, the two-sided normal mixture of the same section, with
        a = alpha in rho. Asymptotic like the test, and for a difference that stays what it is.
        """
        if not self.weight:
            return None
        radius = normal_radius(self.variance, self.test.variance_opt / tuning(self.test.alpha_opt), alpha)
        return (self.difference - radius) / self.weight, (self.difference + radius) / self.weight


def weight_of(block: Pair) -> float:
    """The weight h = n_c n_b / (n_c + n_b)."""
    if not block.comparable:
        raise EvidenceError("a block with fewer than two values in an arm has no variance: merge it with the next one")
    n_c, n_b = block.candidate.count, block.stable.count
    return n_c * n_b / (n_c + n_b)


def variance_of(block: Pair) -> float:
    """The variance h² (s²_c/n_c + s²_b/n_b), with one s² for both arms where either has fewer than 30 values."""
    weight, candidate, stable = weight_of(block), block.candidate, block.stable
    if min(candidate.count, stable.count) < _SMALL:
        return weight * (candidate.squares + stable.squares) / (candidate.count + stable.count - 2)
    return weight * weight * (candidate.variance / candidate.count + stable.variance / stable.count)


def variance_for(first: Pair, blocks: int) -> float:
    """The V to tune a test for, guessed from a first block that is then not judged, for a bake of `blocks` more."""
    return max(blocks, 1) * max(variance_of(first), math.ulp(1.0))


def normal_mixture(s: float, v: float, rho: float) -> float:
    """½ ln(4 rho/(v + rho)) + s²/(2(v + rho)) + ln Φ(s/√(v + rho)): one-sided, harm is s > 0."""
    spread = v + rho
    return 0.5 * math.log(4 * rho / spread) + s * s / (2 * spread) + log_normal_cdf(s / math.sqrt(spread))


def normal_mixture_two_sided(s: float, v: float, rho: float) -> float:
    """½ ln(rho/(v + rho)) + s²/(2(v + rho))."""
    return 0.5 * math.log(rho / (v + rho)) + s * s / (2 * (v + rho))


def normal_radius(v: float, rho: float, alpha: float) -> float:
    """√((v + rho)(ln(1 + v/rho) + 2 ln(1/alpha))): how far |s| may go before the two-sided mixture rejects."""
    return math.sqrt((v + rho) * (math.log1p(v / rho) + 2 * threshold(alpha)))


def normal_radius_one_sided(v: float, rho: float, alpha: float) -> float:
    """How far s may go before the one-sided mixture rejects; the two-sided radius is beyond it."""
    limit = threshold(alpha)
    return last_inside(lambda s: normal_mixture(s, v, rho) < limit, 0.0, normal_radius(v, rho, alpha))
