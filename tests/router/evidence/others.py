"""The rules that other systems roll back by, re-implemented to be compared with ours in the same simulated worlds.

Rules, not products: what each decides by is modelled from its documentation, on points of a minute where it looks once
a minute and on running totals where it looks every ten seconds.

* Flagger counts the minutes in which the candidate's success rate is under a limit, and rolls back at a number of them.
* Argo Rollouts fails an analysis once more minutes than `failureLimit` miss the condition.
* A query that compares the arms: the candidate's error rate over twice stable's, three minutes of them.
* A one-sided z-test of two proportions, repeated on the running totals.
* GrowthBook's sequential test: an asymptotic confidence sequence (Waudby-Smith et al. 2021) on the running totals.
* Kayenta: a Mann-Whitney test at 98 % of the candidate's minutes against stable's, with a tolerated effect of 25 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from router.evidence.special import Floats
from tests.router.evidence.worlds import HALF_HOUR_S, World

LOOK_S = 10
MINUTE_S = 60
_LOOKS_A_MINUTE = MINUTE_S // LOOK_S
_TUNED_FOR = 5_000
"""Requests that GrowthBook's sequence is tightest at, its default."""
_KAYENTA_LEVEL = 0.98
_KAYENTA_EFFECT = 0.25
_FEWEST_POINTS = 5

Rule: TypeAlias = Callable[[Floats], Floats]
"""From counts (x, m, n_c, n_b) per look, shape (looks, 4, runs), to the second of the first alarm, shape (runs,)."""


def looked_at(rng: Generator, world: World, runs: int, seconds: int = HALF_HOUR_S) -> Floats:
    """What every rule is shown: counts per ten seconds, shape (looks, 4, runs)."""
    return np.array([world.block(rng, runs, float(second), LOOK_S) for second in range(0, seconds, LOOK_S)])


def success_under(limit: float, failures: int) -> Rule:
    """Flagger's and Argo's: so many minutes, in all, in which the candidate's success rate is under the limit."""

    def alarm(counts: Floats) -> Floats:
        x, _, n_c, _ = _minutes(counts)
        return _at_count((n_c > 0) & (x > (1 - limit) * n_c), failures)

    return alarm


def twice_stable(counts: Floats) -> Floats:
    """Three minutes in which the candidate's error rate is over twice stable's."""
    x, m, n_c, n_b = _minutes(counts)
    return _at_count((n_c > 0) & (n_b > 0) & (x * n_b > 2 * (m - x) * n_c), 3)


def repeated_z(alpha: float) -> Rule:
    """The z-test of two proportions, one-sided, on the running totals at every look."""
    bound = float(stats.norm.isf(alpha))

    def alarm(counts: Floats) -> Floats:
        x, m, n_c, n_b = np.cumsum(counts, axis=0).transpose(1, 0, 2)
        pooled = m / (n_c + n_b)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(n_c, 1) + 1 / np.maximum(n_b, 1)))
        apart = x / np.maximum(n_c, 1) - (m - x) / np.maximum(n_b, 1)
        return _first((spread > 0) & (n_c > 0) & (apart > bound * spread), LOOK_S)

    return alarm


def confidence_sequence(alpha: float) -> Rule:
    """GrowthBook's: the difference's sequence lies above zero; formulas and reference numbers in STATS.md, B.4."""

    def alarm(counts: Floats) -> Floats:
        x, m, n_c, n_b = np.cumsum(counts, axis=0).transpose(1, 0, 2)
        p_c, p_b = x / np.maximum(n_c, 1), (m - x) / np.maximum(n_b, 1)
        variance = p_c * (1 - p_c) / np.maximum(n_c, 1) + p_b * (1 - p_b) / np.maximum(n_b, 1)
        return _first((n_c > 0) & (x > 0) & (p_c - p_b > half_width(variance, n_c + n_b, alpha)), LOOK_S)

    return alarm


def half_width(variance: Floats, n: Floats, alpha: float) -> Floats:
    """How far GrowthBook's confidence sequence of a difference reaches to either side.

    Args:
        variance: of the difference.
        n: requests of both arms.
        alpha: the chance that it ever misses.
    """
    doubled = -2 * np.log(alpha)
    rho = np.sqrt((doubled + np.log(doubled + 1)) / _TUNED_FOR)
    inner = n * rho**2 + 1
    return np.asarray(np.sqrt(n * variance * 2 * inner / (n * rho) ** 2 * np.log(np.sqrt(inner) / alpha)))


def mann_whitney(every_min: int) -> Rule:
    """Kayenta's: the minutes so far of one arm against those of the other, looked at every so many minutes."""

    def alarm(counts: Floats) -> Floats:
        x, m, n_c, n_b = _minutes(counts)
        of_c, of_b = x / np.maximum(n_c, 1), (m - x) / np.maximum(n_b, 1)
        alarms = np.full(x.shape[1], np.inf)
        for minute in range(max(every_min, _FEWEST_POINTS), len(x) + 1, every_min):
            tolerated = of_b[:minute] * (1 + _KAYENTA_EFFECT)
            p = stats.mannwhitneyu(of_c[:minute], tolerated, alternative="greater", axis=0).pvalue
            over = p < (1 - _KAYENTA_LEVEL) / 2
            alarms = np.where(np.isinf(alarms) & over, minute * MINUTE_S, alarms)
        return alarms

    return alarm


class Other(NamedTuple):
    """A rule, and what STATS.md, B.3, has measured of it, in the order of `NULLS` and `HARMS`.

    Attributes:
        rule: as it is re-implemented here.
        false: rollbacks of a sound candidate in half an hour, per cent.
        seconds: median time to detect; infinity for never.
    """

    rule: Rule
    false: tuple[float, ...]
    seconds: tuple[float, ...]


OTHERS: Mapping[str, Other] = MappingProxyType({
    "Flagger, threshold 1": Other(success_under(0.99, 1), (82.9, 100, 98.8, 99.5, 100), ()),
    "Flagger, threshold 5": Other(success_under(0.99, 5), (2.5, 46.7, 42.3, 58.4, 95), (600, 300, 300, 300, 300, 360)),
    "Flagger, threshold 10": Other(success_under(0.99, 10), (0, 0, 0.6, 1, 32.8), (1200, 600, 600, 600, 600, 720)),
    "Argo, failureLimit 3": Other(success_under(0.95, 4), (0, 0, 0, 0, 0), (np.inf, np.inf, 480, 240, np.inf, 480)),
    "query: over 2 x stable": Other(twice_stable, (45.6, 38.3, 81.1, 45.2, 12.3), (360, 180, 180, 180, 120, 240)),
    "z-test, 5 %": Other(repeated_z(0.05), (41.1, 41.8, 33, 100, 39.9), ()),
    "z-test, 1 %": Other(repeated_z(0.01), (18.1, 17.4, 19.2, 100, 15.5), (90, 20, 10, 10, 80, 40)),
    "GrowthBook, 5 %": Other(confidence_sequence(0.05), (0, 0.2, 0, 98, 0.3), (395, 60, 30, 10, 140, 460)),
    "Kayenta, each 5 minutes": Other(mann_whitney(5), (0.5, 0.5, 0, 0, 0.5), (600, 300, 300, 300, 1200, 900)),
    "Kayenta, each minute": Other(mann_whitney(1), (2, 1.2, 0, 0, 2), (480, 300, 300, 300, 1080, 480)),
})  # fmt: skip


def _minutes(counts: Floats) -> Floats:
    """Looks summed into minutes: shape (4, minutes, runs)."""
    looks, kinds, runs = counts.shape
    summed = counts.reshape(looks // _LOOKS_A_MINUTE, _LOOKS_A_MINUTE, kinds, runs).sum(axis=1)
    return np.asarray(summed.transpose(1, 0, 2), dtype=np.float64)


def _at_count(failed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], count: int) -> Floats:
    return _first(np.cumsum(failed, axis=0) >= count, MINUTE_S)


def _first(over: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], length_s: int) -> Floats:
    """The second at which it first holds, infinity for never."""
    at = (np.argmax(over, axis=0) + 1.0) * length_s
    return np.where(over.any(axis=0), at, np.inf)
