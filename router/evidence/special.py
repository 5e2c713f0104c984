"""Special functions and a root finder, in log space: the one file that knows scipy.

An e-value of a clear regression passes 1e308 within minutes, so nothing here or above ever leaves the logarithm, and
sums of e-values are sums of exponentials about the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

Floats: TypeAlias = NDArray[np.float64]

_HALVINGS = 200
_SMALLEST = 1e-300


def log_sum_exp(values: Floats) -> Floats:
    """The log of Σ exp(v) over the last axis; shape (..., K) to (...). Every row needs one finite value."""
    top = values.max(axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0], dtype=np.float64)


def log_mean_exp(values: Floats) -> float:
    """The log of the mean of exp(v): an equal mixture's log e-value from its members', shape (K,)."""
    top = float(values.max())
    return top + math.log(float(np.exp(values - top).sum()) / values.size)


def log_beta(a: float, b: float) -> float:
    """The log of B(a, b)."""
    return float(special.betaln(a, b))


def log_gamma(values: Floats) -> Floats:
    """The log of Γ, of each value."""
    return np.asarray(special.gammaln(values), dtype=np.float64)


def log_gamma_slope(value: float) -> float:
    """The derivative of ln Γ."""
    return float(special.digamma(value))


def log_normal_cdf(z: float) -> float:
    """The log of Φ(z), accurate far out in the left tail."""
    return float(special.log_ndtr(z))


def beta_bernoulli(events: float, total: float, rate: float, concentration: float) -> float:
    """The log of the Bayes factor of "some rate" against "this rate", for `events` of `total`.

    ln B(kp + x, k(1-p) + n - x) - ln B(kp, k(1-p)) - x ln p - (n-x) ln(1-p), with the Beta prior of mean p and weight
    k: the two-sided beta-binomial mixture of Howard et al. 2021 (Time-uniform, nonparametric, nonasymptotic confidence
    sequences, Ann. Statist. 49, section 3.2), and with two cells the Dirichlet mixture of Lindon and Malek 2022.
    """
    prior, other = concentration * rate, concentration * (1 - rate)
    return (
        log_beta(prior + events, other + total - events)
        - log_beta(prior, other)
        - events * math.log(rate)
        - (total - events) * math.log1p(-rate)
    )


def binomial_surprise(events: int, total: int, rate: float, draw: float) -> float:
    """-ln of the chance of so many events or more, of which ties count only a part: larger is more surprising.

    P(X > x) + (1 - u) P(X = x) for X binomial: a randomised p-value, uniform where the rate is the true one, whatever
    the total (Lehmann and Romano 2005, Testing statistical hypotheses, 3rd ed., section 3.3).

    Args:
        events: x.
        total: n, at least 1.
        rate: between 0 and 1, both included.
        draw: u, uniform on [0, 1).
    """
    at_least = 1.0 if events == 0 else float(special.bdtrc(events - 1, total, rate))
    more = 0.0 if events >= total else float(special.bdtrc(events, total, rate))
    return -math.log(max(more + (1 - draw) * (at_least - more), _SMALLEST))


def binomial_bounds(events: int, total: int, level: float) -> tuple[float, float]:
    """The rates that `events` of `total` leave possible, by Clopper and Pearson 1934: exact, and never too narrow.

    Args:
        events: x.
        total: n; without any, every rate is possible.
        level: the chance that the true rate is within, such as 0.95.
    """
    tail = (1 - level) / 2
    lower = float(special.betaincinv(events, total - events + 1, tail)) if events else 0.0
    upper = float(special.betaincinv(events + 1, total - events, 1 - tail)) if events < total else 1.0
    return lower, upper


def last_inside(inside: Callable[[float], bool], start: float, end: float) -> float:
    """Where `inside`, true at `start`, stops holding on the way to `end`; `end` where it never does.

    Bisection, so the answer is exact only where the property changes once; it errs towards `end`.
    """
    if inside(end):
        return end
    for _ in range(_HALVINGS):
        middle = (start + end) / 2
        if middle in (start, end):
            break
        if inside(middle):
            start = middle
        else:
            end = middle
    return end
