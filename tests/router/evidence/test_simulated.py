"""In simulated rollouts with a look after every block, levels hold where the arms are alike and harm is found in time.

Seeded and short; `make proof-verdicts` is the same with the runs that a claim takes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from router.evidence.sequential import threshold
from tests.router.evidence import pods, values
from tests.router.evidence.rows import SLACK, detection, false_alarms
from tests.router.evidence.values import Reward
from tests.router.evidence.worlds import HARMS, NULLS, World, watch

RUNS = 200


@pytest.mark.parametrize("world", NULLS.values(), ids=NULLS)
def test_anytime_p_values_are_valid(world: World) -> None:
    """At every level at once: stationary, a shared incident, little traffic, ramp and drift, near the limit."""
    peaks = watch(np.random.default_rng(17), world, runs=RUNS, length_s=20).peaks
    for alpha in (0.2, 0.1, 0.05, 0.01):
        assert false_alarms("T1", int(np.sum(peaks >= threshold(alpha))), RUNS, alpha).holds


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_found_in_time(name: str) -> None:
    """The median is within 1.25 times of what is asked for."""
    world, figure = HARMS[name]
    late = 600 if "minute" in name else 0
    alarms = watch(np.random.default_rng(18), world, runs=RUNS // 2, until_alarm=True).alarms - late
    assert np.median(alarms) <= SLACK * figure


def test_copies_keep_the_level_and_find_the_late() -> None:
    """One copy every five minutes."""
    rng = np.random.default_rng(19)
    quiet = watch(rng, NULLS["N4 ramp and drift"], runs=RUNS, length_s=30, copies_every_s=300)
    assert false_alarms("restarts", int(np.sum(np.isfinite(quiet.alarms))), RUNS, 0.01).holds
    late = watch(rng, HARMS["5x from minute 10"][0], runs=50, copies_every_s=300, until_alarm=True)
    assert np.median(late.alarms) - 600 <= SLACK * 50


def test_bursts_fool_requests_and_not_ranks() -> None:
    """Replicas that hiccup: T1 alone alarms in a third of the rollouts, with T9 in hardly any."""
    t1, t9 = pods.alarms(np.random.default_rng(20), pods.Pods(hiccups_per_hour=2), 100)
    assert np.isfinite(t1).mean() > 0.2
    assert false_alarms("both", int(np.sum(np.isfinite(np.maximum(t1, t9)))), 100, 0.01).holds


def test_a_slower_candidate_is_found_and_a_slower_hour_is_not() -> None:
    """T3 on a shared slowdown of 60 %, on a ramp with a drift, and on a quarter more latency."""
    rng = np.random.default_rng(21)
    shared = [
        values.latency_alarm(rng, values.as_they_are, shared=lambda s: 1.6 if s >= 240 else 1.0) for _ in range(10)
    ]
    assert false_alarms("T3", int(np.sum(np.isfinite(shared))), 10, 0.01).holds
    slow = np.array([values.latency_alarm(rng, values.by(1.25)) for _ in range(15)])
    assert detection("T3", slow, 30).holds


def test_a_worse_mean_is_found_and_a_trend_is_not() -> None:
    """T4 on a ramp with a trend, and on a loss of 4 %."""
    rng = np.random.default_rng(22)
    trend = [values.mean_alarm(rng, Reward(ramp=True)) for _ in range(100)]
    assert false_alarms("T4", int(np.sum(np.isfinite(trend))), 100, 0.01).holds
    assert detection("T4", np.array([values.mean_alarm(rng, Reward(loss=0.04)) for _ in range(60)]), 120).holds


def test_users_are_the_unit_where_routing_sticks() -> None:
    """By request a few poisonous users look like a bad candidate; by their first error they do not."""
    rng = np.random.default_rng(23)
    rang = np.array([values.sticky_alarms(rng) for _ in range(15)]).sum(axis=0)
    assert rang[0] >= 1
    assert rang[1] == rang[2] == 0


def test_a_row_fails_only_beyond_chance() -> None:
    """The bound is Clopper and Pearson's: 8 of 200 are too many at 1 %, 5 are not."""
    assert not false_alarms("x", 8, 200, 0.01).holds
    assert false_alarms("x", 5, 200, 0.01).holds
    assert not detection("x", np.array([math.inf, math.inf, 1.0]), 100).holds
