"""Simulated rollouts for the tests of evidence: worlds that make blocks, many runs at once, from a given generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator

from router.evidence.odds import exact_ratios
from router.evidence.sequential import threshold
from router.evidence.special import Floats, log_sum_exp
from router.evidence.two_arm import OddsTest, grid_of

Rate: TypeAlias = Callable[[float], float]

HALF_HOUR_S = 1800
RAMP = (0.01, 0.05, 0.25, 0.5)


def always(value: float) -> Rate:
    """The same at every second."""
    return lambda _second: value


_TENTH, _HALF_PERCENT, _SAME = always(0.1), always(0.005), always(1.0)


@dataclass(frozen=True)
class World:
    """Two arms behind one router: rates as functions of the second since the start.

    Attributes:
        rps: requests per second of both arms together.
        share: the candidate's share of them.
        base: stable's error rate.
        factor: the candidate's error rate over stable's.
    """

    rps: float = 100.0
    share: Rate = _TENTH
    base: Rate = _HALF_PERCENT
    factor: Rate = _SAME

    def block(self, rng: Generator, runs: int, second: float, length_s: float) -> Floats:
        """One block of each run: x, m, n_c, n_b, shape (4, runs)."""
        middle = second + length_s / 2
        share, base = self.share(second), self.base(middle)
        n_c = rng.poisson(self.rps * share * length_s, runs)
        n_b = rng.poisson(self.rps * (1 - share) * length_s, runs)
        x = rng.binomial(n_c, min(1.0, base * self.factor(second)))
        return np.array([x, x + rng.binomial(n_b, base), n_c, n_b], dtype=np.float64)


NULLS = {
    "N1 stationary": World(),
    "N2 shared incident": World(base=lambda second: 0.05 if 600 <= second < 780 else 0.005),
    "N3 five requests a second": World(rps=5.0),
    "N4 ramp and drift": World(
        share=lambda second: RAMP[min(int(second // 450), 3)], base=lambda second: 0.002 + 0.008 * second / HALF_HOUR_S
    ),
    "N5 near the limit": World(base=always(0.008)),
}

HARMS = {  # with the median seconds to detect that STATS.md asks for
    "2x": (World(factor=always(2.0)), 350),
    "5x": (World(factor=always(5.0)), 40),
    "10x": (World(factor=always(10.0)), 20),
    "half of all": (World(factor=always(100.0)), 10),
    "5x from minute 10": (World(factor=lambda second: 5.0 if second >= 600 else 1.0), 140),
    "10x at five a second": (World(rps=5.0, factor=always(10.0)), 190),
}


class Watched(NamedTuple):
    """What became of the runs: the peak of log E, and the second of the first alarm (infinity for none)."""

    peaks: Floats
    alarms: Floats


def watch(
    rng: Generator,
    world: World,
    *,
    runs: int,
    test: OddsTest | None = None,
    length_s: float = 10.0,
    seconds: float = HALF_HOUR_S,
    alpha: float = 0.01,
    copies_every_s: float | None = None,
    until_alarm: bool = False,
) -> Watched:
    """T1 over many simulated rollouts, one look after every block.

    With `copies_every_s` it is the mixture of restarts, with a number of copies fixed beforehand.
    """
    test = OddsTest() if test is None else test
    grid = grid_of(test)
    copies = 1 if copies_every_s is None else int(np.ceil(seconds / copies_every_s))
    logs = np.zeros((copies, runs, grid.size))
    peaks, alarms = np.zeros(runs), np.full(runs, np.inf)
    for second in np.arange(0.0, seconds, length_s):
        counts = world.block(rng, runs, second, length_s)
        speaks = np.flatnonzero(counts[1])
        started = 1 if copies_every_s is None else int(second // copies_every_s) + 1
        if speaks.size:
            logs[:started, speaks] += exact_ratios(counts[:, speaks], grid, test.limit)
        each = log_sum_exp(logs) - np.log(grid.size)
        log_e = log_sum_exp(each.T) - np.log(copies)
        peaks = np.maximum(peaks, log_e)
        alarms = np.where(np.isinf(alarms) & (log_e >= threshold(alpha)), second + length_s, alarms)
        if until_alarm and np.isfinite(alarms).all():
            break
    return Watched(peaks, alarms)
