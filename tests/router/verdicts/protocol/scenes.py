"""What a candidate and stable do in a simulated rollout, block by block, as a case hears it.

Nothing here knows what a verdict is. Rates come from the worlds that the tests of evidence have, replicas from their
pods; paces and users are made here, request by request.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator

from router.evidence.special import Floats
from router.verdicts.tallies import Moment, Tally
from tests.router.evidence.pods import PODS, Pods
from tests.router.evidence.values import Slowdown, as_they_are, by, stalls
from tests.router.evidence.worlds import HALF_HOUR_S, RAMP, World

BLOCK_S = 10
"""How long a block is, seconds: decisions every ten seconds, as the protocol has it."""
TEN_MINUTES_S = 600
_RPS = 100
_MEDIAN_MS = 20.0
_SPREAD = 0.5
_HUNDRED = 100

BySecond: TypeAlias = Callable[[float], float]


class Step(NamedTuple):
    """One block, and the shares of candidate and stable under which it was heard."""

    shares: tuple[int, int]
    moment: Moment


def rates(rng: Generator, world: World) -> Iterator[Step]:
    """Half an hour of errors, of one replica each; units were drawn one for each request."""
    for second in range(0, HALF_HOUR_S, BLOCK_S):
        x, m, n_c, n_b = world.block(rng, 1, float(second), BLOCK_S)[:, 0].astype(int).tolist()
        arms = {"c": ended(x, n_c)}, {"s": ended(m - x, n_b)}
        heard = Moment(float(second + BLOCK_S), *arms, draw=float(rng.random()), units=(n_c, n_b))
        yield Step(_shares(world.share(second)), heard)


def pods(rng: Generator, world: Pods) -> Iterator[Step]:
    """Half an hour of errors, of ten replicas of which one is the candidate's."""
    total, errors = (part[:, 0].astype(int) for part in world.seconds(rng, 1, HALF_HOUR_S))
    for second in range(0, HALF_HOUR_S, BLOCK_S):
        until = second + BLOCK_S
        n, x = total[second:until].sum(axis=0).tolist(), errors[second:until].sum(axis=0).tolist()
        one, others = ({str(pod): ended(x[pod], n[pod]) for pod in part} for part in (range(1), range(1, PODS)))
        units = n[0], sum(n[1:])
        yield Step((1, PODS - 1), Moment(float(until), one, others, float(rng.random()), units))


@dataclass(frozen=True)
class Pace:
    """How long requests take, a hundred a second of both arms, around 20 ms.

    Attributes:
        slowdown: what the candidate does to its own.
        shared: the factor of both arms, by second.
        share: the candidate's part, by second.
        noise: the spread of a second's shared factor, whose logarithm remembers 0.99 of the second before.
    """

    slowdown: Slowdown = as_they_are
    shared: BySecond = lambda _second: 1.0
    share: BySecond = lambda _second: 0.1
    noise: float = 0.0

    def factors(self, rng: Generator) -> Floats:
        """Of both arms, for each second of ten minutes."""
        shared = np.array([self.shared(float(second)) for second in range(TEN_MINUTES_S)])
        return np.asarray(shared * np.exp(_remembering(rng, self.noise, TEN_MINUTES_S)))


def paced(rng: Generator, pace: Pace) -> Iterator[Step]:
    """Ten minutes of answers, all of them good, of one replica each."""
    factors = pace.factors(rng)
    for second in range(0, TEN_MINUTES_S, BLOCK_S):
        share = pace.share(second)
        candidate, stable = (_latencies(rng, factors, second, _RPS * part) for part in (share, 1 - share))
        heard = {"c": _timed(pace.slowdown(rng, candidate))}, {"s": _timed(stable)}
        units = candidate.size, stable.size
        yield Step(_shares(share), Moment(float(second + BLOCK_S), *heard, draw=float(rng.random()), units=units))


PACE_NULLS: Mapping[str, Pace] = MappingProxyType({
    "stationary": Pace(),
    "shared slowdown of 60 %": Pace(shared=lambda s: 1.6 if 240 <= s < 360 else 1.0),
    "ramp and drift": Pace(
        shared=lambda s: 1 + 0.4 * s / TEN_MINUTES_S, share=lambda s: RAMP[min(int(s // 150), 3)]
    ),
    "shared noise": Pace(noise=0.15),
})  # fmt: skip

PACE_HARMS: Mapping[str, tuple[Pace, float]] = MappingProxyType({  # with the median seconds to detect of STATS.md
    "+10 %": (Pace(by(1.1)), 80),
    "+25 %": (Pace(by(1.25)), 30),
    "one in fifty +200 ms": (Pace(stalls), 70),
    "2x slower": (Pace(by(2)), 20),
})  # fmt: skip


def _shares(share: float) -> tuple[int, int]:
    return round(share * _HUNDRED), _HUNDRED - round(share * _HUNDRED)


def ended(failed: int, total: int) -> Tally:
    """So many requests, of which so many failed."""
    return Tally({"ok": total - failed, "server_error": failed})


def _remembering(rng: Generator, spread: float, length: int, memory: float = 0.99) -> Floats:
    """A stationary autoregression of order one, shape (length,); zeros for no spread."""
    values, news = np.zeros(length), rng.normal(0, spread * math.sqrt(1 - memory**2), length)
    values[0] = rng.normal(0, spread)
    for at in range(1, length):
        values[at] = memory * values[at - 1] + news[at]
    return values


def _latencies(rng: Generator, factors: Floats, second: int, rps: float) -> Floats:
    """One arm's in one block, milliseconds, shape (requests,)."""
    size = int(rng.poisson(rps * BLOCK_S))
    at = rng.integers(second, second + BLOCK_S, size)
    return np.asarray(factors[at] * rng.lognormal(math.log(_MEDIAN_MS), _SPREAD, size))


def _timed(latencies_ms: Floats) -> Tally:
    """In log-linear buckets, sixteen to each power of two of microseconds, as gateways count."""
    micros = (latencies_ms * 1_000).astype(np.int64)
    shift = np.maximum(np.floor(np.log2(np.maximum(micros, 1))).astype(np.int64) - 4, 0)
    return Tally({"ok": len(micros)}, Counter((shift * 16 + (micros >> shift)).tolist()))
