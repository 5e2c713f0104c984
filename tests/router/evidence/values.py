"""Simulated latencies, rewards, pairs and users: what the other tests of evidence watch. One rollout at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from router.evidence.counts import Block
from router.evidence.latency import QUANTILES, Latency, edges, exceedances
from router.evidence.means import Means, MeanTest, variance_for
from router.evidence.pairs import Pairs, slower
from router.evidence.sample_ratio import SampleRatio
from router.evidence.samples import Pair, Sample
from router.evidence.sequential import threshold
from router.evidence.special import Floats
from router.evidence.two_arm import OddsTest, TwoArm
from tests.router.evidence.worlds import HALF_HOUR_S, RAMP

EDGES_MS: Floats = np.geomspace(1.0, 60_000.0, 400)  # buckets of 2.8 %
BLOCK_S = 10
Whole: TypeAlias = NDArray[np.int64]
Slowdown: TypeAlias = Callable[[Generator, Floats], Floats]


def as_they_are(_rng: Generator, latencies: Floats) -> Floats:
    """No slowdown."""
    return latencies


def by(factor: float) -> Slowdown:
    """Every request slower by a factor."""
    return lambda _rng, latencies: latencies * factor


def stalls(rng: Generator, latencies: Floats) -> Floats:
    """One request in fifty 200 ms slower."""
    return latencies + 200.0 * (rng.random(latencies.size) < 0.02)


def latency_alarm(
    rng: Generator,
    slowdown: Slowdown,
    *,
    shared: Callable[[float], float] = lambda _second: 1.0,
    share: Callable[[float], float] = lambda _second: 0.1,
    test: OddsTest | None = None,
    seconds: int = 600,
    alpha: float = 0.01,
) -> float:
    """The second at which T3 first alarms, infinity for never: 100 requests a second, lognormal around 20 ms."""
    state = Latency.against(OddsTest() if test is None else test)
    minute: list[Floats] = []
    for second in range(0, seconds, BLOCK_S):
        sizes = [rng.poisson(100 * BLOCK_S * part) for part in (share(second), 1 - share(second))]
        candidate, stable = (shared(second) * rng.lognormal(math.log(20), 0.5, size) for size in sizes)
        histograms = [_histogram(slowdown(rng, candidate)), _histogram(stable)]
        taus = edges(_whole(np.sum(minute, axis=0)), QUANTILES) if minute else None
        if taus is not None:
            state = state.add(exceedances(_whole(histograms[0]), _whole(histograms[1]), taus))
            if state.log_e >= threshold(alpha):
                return second + BLOCK_S
        minute = [*minute, histograms[0] + histograms[1]][-60 // BLOCK_S :]
    return math.inf


def _histogram(latencies: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(EDGES_MS, latencies), minlength=EDGES_MS.size + 1)
    return np.asarray(counts, dtype=np.float64)


def _whole(counts: Floats) -> list[int]:
    return [int(count) for count in counts]


class Reward(NamedTuple):
    """What the candidate and stable earn: one on average, with a spread of 0.4.

    Attributes:
        rps: requests a second of both arms.
        loss: the part of its reward that the candidate lacks.
        ramp: whether its share climbs while everybody's reward grows by 20 %.
        bernoulli: whether rewards are 0 and 1, half as many ones as the mean says.
    """

    rps: float = 100.0
    loss: float = 0.0
    ramp: bool = False
    bernoulli: bool = False

    def block(self, rng: Generator, second: int) -> Pair:
        """Both arms' rewards in the block that begins at this second."""
        share = RAMP[min(second // 450, 3)] if self.ramp else 0.1
        level = 1 + 0.2 * second / HALF_HOUR_S if self.ramp else 1.0
        draw = _bernoulli if self.bernoulli else _normal
        sizes = [int(rng.poisson(self.rps * BLOCK_S * part)) for part in (share, 1 - share)]
        candidate, stable = zip(sizes, (level * (1 - self.loss), level), strict=True)
        return Pair(draw(rng, *candidate), draw(rng, *stable))


def rewarded(rng: Generator, reward: Reward, alpha: float = 0.01) -> Iterator[tuple[int, Means]]:
    """T4's state at each second at which it has heard more, over half an hour.

    Blocks in which an arm has fewer than two values wait for the next; the first one tunes the test and is left out.
    """
    state, waiting = None, Pair(Sample(), Sample())
    for second in range(0, HALF_HOUR_S, BLOCK_S):
        waiting = waiting.merge(reward.block(rng, second))
        if not waiting.comparable:
            continue
        block, waiting = waiting, Pair(Sample(), Sample())
        if state is None:
            state = Means(MeanTest(variance_for(block, 18), harm=-1, alpha_opt=alpha))
            continue
        state = state.add(block)
        yield second + BLOCK_S, state


def mean_alarm(rng: Generator, reward: Reward, alpha: float = 0.01) -> float:
    """The second at which T4 first alarms, infinity for never."""
    heard = rewarded(rng, reward, alpha)
    return next((second for second, state in heard if state.log_e >= threshold(alpha)), math.inf)


def _normal(rng: Generator, size: int, mean: float) -> Sample:
    """Mean and squares of `size` normal values, drawn directly."""
    if size == 0:
        return Sample()
    squares = 0.16 * rng.chisquare(size - 1) if size > 1 else 0.0
    return Sample(size, float(rng.normal(mean, 0.4 / math.sqrt(size))), float(squares))


def _bernoulli(rng: Generator, size: int, mean: float) -> Sample:
    """Mean and squares of `size` values of 0 and 1, with half the mean as chance."""
    ones = int(rng.binomial(size, mean / 2))
    return Sample(size, ones / size, ones * (size - ones) / size) if size else Sample()


def shadow_alarm(rng: Generator, *, candidate: float, shared: float = 0.0025, own: float = 0.0025) -> float:
    """The pair at which T7 first alarms at 1 %, of 20 000; a look every 100 pairs.

    Errors come half from the request, for both alike, and half from the arm; `candidate` multiplies the arm's half.
    """
    state = Pairs()
    for seen in range(100, 20_001, 100):
        both = rng.random(100) < shared
        bad_c, bad_b = both | (rng.random(100) < own * candidate), both | (rng.random(100) < own)
        worse, better = int(np.sum(bad_c & ~bad_b)), int(np.sum(bad_b & ~bad_c))
        state = state.merge(Pairs(worse, better, 100 - worse - better))
        if state.log_e >= threshold(0.01):
            return seen
    return math.inf


def paired_latency_alarm(rng: Generator, factor: float, tolerance: float) -> float:
    """The pair at which T7 first alarms on latency at 1 %, of 2000; each request has its own cost in both arms."""
    state = Pairs()
    for seen in range(100, 2001, 100):
        cost = rng.lognormal(math.log(20), 0.4, 100)
        candidate, stable = (cost * rng.lognormal(0, 0.3, 100) * f for f in (factor, 1.0))
        state = state.merge(slower(zip(candidate.tolist(), stable.tolist(), strict=True), tolerance))
        if state.log_e >= threshold(0.01):
            return seen
    return math.inf


def sticky_alarms(rng: Generator, *, users: int = 2000, alpha: float = 0.01) -> tuple[bool, bool, bool]:
    """Whether each of three ever alarms, with equal arms, sticky routing and 3 % of users whose requests fail.

    T1 by request; T1 by a user's first error among users at risk; T6 on users.
    """
    on_candidate = rng.random(users) < 0.1
    rates = rng.lognormal(-0.5, 1.0, users) * 0.05 * BLOCK_S
    failing = np.where(rng.random(users) < 0.03, 0.3, 0.002)
    at_risk, known = np.ones(users, dtype=bool), np.zeros(users, dtype=bool)
    requests = firsts = TwoArm(OddsTest())
    units = SampleRatio().begin((1, 9))
    rang = (False, False, False)
    for _ in range(HALF_HOUR_S // BLOCK_S):
        total = rng.poisson(rates)
        errors = rng.binomial(total, failing)
        requests = requests.add([_block(total, errors, on_candidate)])
        exposed = at_risk & (total > 0)
        firsts = firsts.add([_block(exposed.astype(int), (exposed & (errors > 0)).astype(int), on_candidate)])
        new = ~known & (total > 0)
        units = units.add((int(np.sum(new & on_candidate)), int(np.sum(new & ~on_candidate))))
        at_risk, known = at_risk & (errors == 0), known | new
        rang = (
            rang[0] or requests.log_e >= threshold(alpha),
            rang[1] or firsts.log_e >= threshold(alpha),
            rang[2] or units.log_e >= threshold(0.001),
        )
    return rang


def _block(total: Whole, errors: Whole, on_candidate: NDArray[np.bool_]) -> Block:
    def of(arm: NDArray[np.bool_]) -> tuple[int, int]:
        return int(errors[arm].sum()), int(total[arm].sum())

    return Block.of(candidate=of(on_candidate), stable=of(~on_candidate))
