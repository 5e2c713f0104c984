"""Likelihood ratios of a 2-by-2 table over a grid of odds ratios: the arithmetic under T1, T3 and the odds interval.

Given the size of both arms and the number of events, the candidate's events x are Fisher's noncentral hypergeometric
with the odds ratio θ: P(x) ∝ C(n_c, x) C(n_b, m - x) θ^x. Nothing else about the rates is left, which is why shared
incidents, ramps and trends cannot move the test. The exact form uses that law; the fast form puts the binomial with
w = n_c / (n_c + n_b) in its place.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from router.evidence.special import Floats, log_sum_exp

_CELLS = 2_000_000  # of the largest array at once: 16 MB


def fast_ratios(counts: Floats, thetas: Floats, limit: float) -> Floats:
    """The log ratios x ln(θ/θ0) + m ln[(1 - w + θ0 w) / (1 - w + θ w)], w = n_c / (n_c + n_b).

    The ratio of two binomials. At θ0 = 1 its expectation is at most 1, because the hypergeometric lies below the
    binomial in convex order (Hoeffding 1963, Theorem 4), and for θ0 > 1 depletion lowers the candidate's part further
    (held by enumeration in the tests); far below 1 where events are many, so the exact form finds
    more once m / (n_c + n_b) is over 5 %. Not valid for θ0 < 1, where depletion works the other way.

    Args:
        counts: x, m, n_c, n_b, shape (4, B).
        thetas: odds ratios, shape (K,).
        limit: θ0.

    Returns:
        The log ratios, shape (B, K).
    """
    x, m, n_c, n_b = counts
    share = (n_c / np.maximum(n_c + n_b, 1))[:, None]
    spread = np.log1p(share * (limit - 1)) - np.log1p(share * (thetas - 1))
    return cast("Floats", x[:, None] * np.log(thetas / limit) + m[:, None] * spread)


def exact_ratios(counts: Floats, thetas: Floats, limit: float) -> Floats:
    """The log ratios x ln(θ/θ0) - [ln Z(θ) - ln Z(θ0)], Z(θ) = Σ_j C(n_c, j) C(n_b, m - j) θ^j.

    The ratio of two noncentral hypergeometrics (Fisher 1935; Harkness 1965). Its expectation is 1 at θ0
    and, being monotone in x, at most 1 on the side of θ0 away from θ. A block with an empty arm or without events
    gives 0.

    Shapes as in `fast_ratios`. Time and memory grow with K times the largest number of possible tables of a block.
    """
    grid = np.log(np.concatenate(([limit], thetas)))
    x, m, n_c, n_b = counts
    lowest = np.maximum(0.0, m - n_b)
    tables = int(np.max(np.minimum(n_c, m) - lowest, initial=0.0)) + 1
    rows = max(1, _CELLS // (grid.size * tables))
    normal = np.concatenate(
        [
            _log_normalisers(counts[:, start : start + rows], lowest[start : start + rows], grid, tables)
            for start in range(0, max(x.size, 1), rows)
        ]
    )
    return cast("Floats", (x - lowest)[:, None] * (grid[1:] - grid[0]) - (normal[:, 1:] - normal[:, :1]))


def _log_normalisers(counts: Floats, lowest: Floats, log_thetas: Floats, tables: int) -> Floats:
    """The logs of Σ_i w_i θ^i, with w_i the tables' weights relative to the lowest one, shape (B, K).

    Neighbouring weights have a simple ratio, and adding up its logarithm loses no digits to the huge factorials.
    """
    _, m, n_c, n_b = (column[:, None] for column in counts)
    j = lowest[:, None] + np.arange(tables - 1)
    ways = (n_c - j) * (m - j)
    possible = ways > 0
    steps = np.full(j.shape, -np.inf)
    steps[possible] = np.log(ways[possible] / ((j + 1) * (n_b - m + j + 1))[possible])
    steps[np.logical_or.accumulate(~possible, axis=-1)] = -np.inf
    weights = np.concatenate((np.zeros((j.shape[0], 1)), np.cumsum(steps, axis=-1)), axis=-1)
    return log_sum_exp(weights[:, None, :] + np.arange(tables) * log_thetas[:, None])
