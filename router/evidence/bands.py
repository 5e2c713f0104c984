"""Bands for a latency distribution, for charts: what the quantiles may be, however often one looks.

Reports, not decisions: they take a distribution that stays what it is, and two of them do not make a test that
survives a ramp. That is what T3 is for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.one_arm import concentration_for
from router.evidence.sequential import threshold
from router.evidence.special import Floats, beta_bernoulli, last_inside, log_gamma_slope


def quantile_ranks(quantile: float, total: int, *, alpha: float, total_opt: float) -> tuple[float, float]:
    """Between which sample quantiles the true one lies, at every n: the ranks over n, lower and upper.

    The distance at which a two-sided beta-binomial mixture around q rejects "q of all values lie below"
    (Howard and Ramdas 2022, Sequential estimation of quantiles, Bernoulli 28, the bound for one quantile). Read
    the two sample quantiles at these ranks. Not valid when the distribution moves or values depend on one another.

    Args:
        quantile: q, between 0 and 1.
        total: n, at least 1.
        alpha: the chance that the band ever misses.
        total_opt: the n at which the band should be narrowest, fixed before the first look.
    """
    if not 0 < quantile < 1 or total < 1:
        raise EvidenceError(f"a band needs a quantile between 0 and 1 and a value at least: {quantile} of {total}")
    limit, weight = threshold(alpha), concentration_for(total_opt)

    def kept(rank: float) -> bool:
        return beta_bernoulli(rank * total, total, quantile, weight) < limit

    return last_inside(kept, quantile, 0.0), last_inside(kept, quantile, 1.0)


def distribution_radius(total: int, alpha: float) -> float:
    """How far the sample's distribution function may be from the true one, at every value and every n.

    0.85 √((ln ln(e n) + 0.8 ln(1612/alpha)) / n) (Howard and Ramdas 2022, Theorem 2, with the constants that Lindon,
    Sanden and Shirikian 2022, arXiv 2205.14762, use). Not valid when the distribution moves.
    """
    threshold(alpha)
    if total < 1:
        raise EvidenceError(f"a band needs one value at least, not {total}")
    return 0.85 * math.sqrt((math.log1p(math.log(total)) + 0.8 * math.log(1612 / alpha)) / total)


def same_quantile(candidate: Sequence[float], stable: Sequence[float], quantile: float, *, total_opt: float) -> float:
    """The log e-value against "both arms have the same q-quantile", at least; two-sided.

    Two mixtures as in `quantile_ranks`, multiplied at the common value that explains both samples best
    (Howard and Ramdas 2022, on A/B tests). Not valid on a ramp or a trend, where pooled samples of the arms come from
    different times: on such nulls it rejects nearly always.

    Args:
        candidate: latencies, shape (n,), n at least 1.
        stable: the same of stable, shape (m,).
        quantile: q, between 0 and 1.
        total_opt: the n per arm at which the test should be sharpest, fixed before the first look.
    """
    if not 0 < quantile < 1 or not len(candidate) or not len(stable):
        raise EvidenceError("two samples and a quantile between 0 and 1 can be compared, nothing else")
    weight = concentration_for(total_opt)
    arms = [np.sort(np.asarray(arm, dtype=np.float64)) for arm in (candidate, stable)]
    common = np.unique(np.concatenate(arms))
    return float(np.min(np.sum([_against(arm, common, quantile, weight) for arm in arms], axis=0)))


def _against(arm: Floats, values: Floats, quantile: float, weight: float) -> Floats:
    """The log e-value of one sorted sample against each value as its quantile, shape of `values`.

    At a value that the sample holds, any rank between "below" and "not above" will do: the kindest counts.
    """
    total = arm.size
    kindest = _kindest_rank(total, quantile, weight)
    below, upto = np.searchsorted(arm, values, "left"), np.searchsorted(arm, values, "right")
    ranks = np.clip(kindest, below, upto)
    score = {rank: beta_bernoulli(rank, total, quantile, weight) for rank in np.unique(ranks).tolist()}
    return np.array([score[rank] for rank in ranks.tolist()])


def _kindest_rank(total: int, quantile: float, weight: float) -> float:
    """The rank, not always whole, at which the mixture has least to say: its derivative in the rank is 0 there."""
    prior, other, odds = weight * quantile, weight * (1 - quantile), math.log(quantile) - math.log1p(-quantile)

    def falling(rank: float) -> bool:
        return log_gamma_slope(prior + rank) - log_gamma_slope(other + total - rank) < odds

    return last_inside(falling, 0.0, float(total))
