"""What each test of evidence does by itself in simulated rollouts, held against the figures that it has to meet.

A case averages several tests and pays for copies that begin later; these rows say what each is worth with all of the
level for itself. `make proof-verdicts` prints them below those of the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from router.evidence.sequential import threshold
from router.evidence.special import Floats
from router.evidence.two_arm import OddsTest, Side
from tests.router.evidence import pods, values
from tests.router.evidence.rows import Row, detection, false_alarms
from tests.router.evidence.values import Reward
from tests.router.evidence.worlds import HALF_HOUR_S, HARMS, NULLS, RAMP, World, always, watch

LEVEL = 0.01
_BATCH = 200
_DRIFTING = NULLS["N4 ramp and drift"]
_LATE_S = 600
_COPIES_S = 300
Rows: TypeAlias = Callable[[Generator, int], Iterator[Row]]
"""From a generator and a number of rollouts to the rows."""


def rates(rng: Generator, runs: int) -> Iterator[Row]:
    """T1 where the arms are alike, at three levels, and with restarts."""
    for name, world in NULLS.items():
        peaks = watch(rng, world, runs=runs).peaks
        for alpha in (0.05, 0.01, 0.001):
            yield false_alarms(f"T1 {name}", int(np.sum(peaks >= threshold(alpha))), runs, alpha)
    restarted = watch(rng, _DRIFTING, runs=runs, copies_every_s=_COPIES_S)
    yield false_alarms("T1 restarts, N4", _count(restarted.alarms), runs, LEVEL)


def harms(rng: Generator, runs: int) -> Iterator[Row]:
    """T1 where the candidate fails more often, and with restarts where it begins to."""
    for name, (world, figure) in HARMS.items():
        late = _LATE_S if "minute" in name else 0
        alarms = watch(rng, world, runs=runs // 2, until_alarm=True).alarms - late
        yield detection(f"T1 {name}", alarms, figure)
    world = HARMS["5x from minute 10"][0]
    alarms = watch(rng, world, runs=runs // 2, copies_every_s=_COPIES_S, until_alarm=True).alarms
    yield detection("T1 5x from minute 10, restarts", alarms - _LATE_S, 50)


def margins(rng: Generator, runs: int) -> Iterator[Row]:
    """Non-inferiority: what it takes to certify equal arms, and that a worse candidate is not certified."""
    several = max(runs // 2, 1_000)  # what it takes is spread widely
    for margin, length_s, figure in ((1.5, 10, 8562), (2.0, 5, 2738), (3.0, 2, 827)):
        test, seconds = OddsTest(margin, Side.NOT_WORSE), 4 * HALF_HOUR_S
        watched = watch(
            rng, World(), runs=several, test=test, length_s=length_s, alpha=0.05, seconds=seconds, until_alarm=True
        )
        requests = watched.alarms * 10
        yield detection(f"T1 certifies an odds ratio under {margin:g}", requests, figure, "requests")
    worse = watch(rng, World(factor=always(2.02)), runs=runs, test=OddsTest(2.0, Side.NOT_WORSE), alpha=0.05)
    yield false_alarms("T1 certifies a ratio of 2 as under 2", _count(worse.alarms), runs, 0.05)


def bursts(rng: Generator, runs: int) -> Iterator[Row]:
    """T1 and T9 together where replicas hiccup, and how long that takes to find harm."""

    def both(world: pods.Pods, count: int) -> Floats:
        batches = [pods.alarms(rng, world, min(_BATCH, count - done)) for done in range(0, count, _BATCH)]
        return np.concatenate([np.maximum(t1, t9) for t1, t9 in batches])

    yield false_alarms("T1 and T9, bursts", _count(both(pods.Pods(hiccups_per_hour=2), runs)), runs, LEVEL)
    yield detection("T1 and T9, 5x", both(pods.Pods(factor=5), runs // 5), 90)
    yield detection("T1 and T9, 2x", both(pods.Pods(factor=2), runs // 5), 660)


def latencies(rng: Generator, runs: int) -> Iterator[Row]:
    """T3 where both arms slow down alike, and where the candidate does."""
    few = max(runs // 5, 100)
    same = values.as_they_are
    nulls: Mapping[str, Callable[[], float]] = {
        "T3 stationary": lambda: values.latency_alarm(rng, same),
        "T3 shared slowdown": lambda: values.latency_alarm(rng, same, shared=_incident),
        "T3 ramp and drift": lambda: values.latency_alarm(rng, same, shared=_drift, share=_ramp),
    }
    for name, alarm in nulls.items():
        yield false_alarms(name, _count(_many(alarm, few)), few, LEVEL)
    for name, (slowdown, figure) in _SLOWER.items():
        alarms = np.array([values.latency_alarm(rng, slowdown) for _ in range(few)])
        yield detection(f"T3 {name}", alarms, figure)


def quantities(rng: Generator, runs: int) -> Iterator[Row]:
    """T4 and T7 on their nulls and harms, T6 and T1 by user under sticky routing."""
    few = max(runs // 10, 20)
    nulls: Mapping[str, tuple[Callable[[], float], int]] = {
        "T4 ramp and trend": (lambda: values.mean_alarm(rng, Reward(ramp=True)), runs),
        "T4 ramp and trend, rewards of 0 and 1": (
            lambda: values.mean_alarm(rng, Reward(ramp=True, bernoulli=True)), runs
        ),
        "T4 five requests a second": (lambda: values.mean_alarm(rng, Reward(rps=5)), runs),
        "T7 outcomes": (lambda: values.shadow_alarm(rng, candidate=1), runs // 2),
        "T7 latencies": (lambda: values.paired_latency_alarm(rng, 1.0, 1.0), few),
    }  # fmt: skip
    for name, (alarm, count) in nulls.items():
        yield false_alarms(name, _count(_many(alarm, count)), count, LEVEL)
    yield detection("T4 reward -4 %", _many(lambda: values.mean_alarm(rng, Reward(loss=0.04)), runs // 5), 120)
    yield detection("T7 5x errors", _many(lambda: values.shadow_alarm(rng, candidate=9), few), 600, "pairs")
    sticky = np.array([values.sticky_alarms(rng) for _ in range(few)]).sum(axis=0)
    yield false_alarms("T1 first error of a user, sticky", int(sticky[1]), few, LEVEL)
    yield false_alarms("T6 on users, sticky", int(sticky[2]), few, 0.001)


GROUPS: Mapping[str, Rows] = MappingProxyType({
    "rates": rates, "harms": harms, "margins": margins, "bursts": bursts, "latencies": latencies,
    "quantities": quantities,
})  # fmt: skip

_SLOWER: Mapping[str, tuple[values.Slowdown, float]] = MappingProxyType({
    "+10 %": (values.by(1.1), 80),
    "+25 %": (values.by(1.25), 30),
    "one in fifty +200 ms": (values.stalls, 70),
    "2x": (values.by(2), 20),
})  # fmt: skip


def _many(alarm: Callable[[], float], count: int) -> Floats:
    return np.array([alarm() for _ in range(count)])


def _count(alarms: Floats) -> int:
    return int(np.sum(np.isfinite(alarms)))


def _incident(second: float) -> float:
    return 1.6 if 240 <= second < 360 else 1.0


def _drift(second: float) -> float:
    return 1 + 0.4 * second / 600


def _ramp(second: float) -> float:
    return RAMP[min(int(second // 150), 3)]
