"""Traffic as it was described: what is drawn has its rates, and nothing changes within a block."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import PlanError
from router.verdicts.described import HICCUP_ERRORS, Described, Drawn, Incident, Manner, Shares
from router.verdicts.tallies import Tally, together
from serving.gateway.counters import bucket_of
from tests.examples import examples


def drawn(described: Described, seconds: float) -> tuple[Tally, Tally]:
    """All that happens in so many seconds, as one block."""
    moment = Drawn(described, np.random.default_rng(5)).moment(0.0, seconds, Shares(0.1, 0.9))
    return together(moment.candidate.values()), together(moment.stable.values())


def test_counts_are_those_that_were_described() -> None:
    """Requests by share, errors by version, each within five standard deviations."""
    candidate, stable = drawn(Described(100.0, Manner(0.005), Manner(0.02)), 10_000.0)
    for tally, requests, rate in ((candidate, 100_000, 0.02), (stable, 900_000, 0.005)):
        assert abs(tally.total - requests) < 5 * math.sqrt(requests)
        assert abs(tally.of(("server_error",)) - requests * rate) < 5 * math.sqrt(requests * rate)


def test_latencies_fall_into_the_buckets_of_gateways() -> None:
    """Half of them at or under the bucket of the median, ninety-nine in a hundred under that of e^(2.33 s) times it."""
    _, stable = drawn(Described(100.0, Manner(0.005, median_ms=20.0, spread=0.5)), 5_000.0)
    for milliseconds, over in ((20.0, 0.5), (20.0 * math.exp(2.3263 * 0.5), 0.01)):
        slow, known = stable.slower_than(bucket_of(milliseconds / 1_000))
        lower, _ = stable.slower_than(bucket_of(milliseconds / 1_000) - 1)
        noise = 5 * math.sqrt(over / known)
        assert slow / known - noise <= over <= lower / known + noise


def test_bursts_hit_one_replica() -> None:
    """At their most, each is ill for twenty seconds in every sixty at least, and nobody by more than 30 %."""
    described = Described(100.0, Manner(0.0), replicas=(2, 3), hiccups_per_hour=180.0)
    moment = Drawn(described, np.random.default_rng(6)).moment(0.0, 10.0, Shares(0.5, 0.5))
    assert set(moment.candidate) == {"c0", "c1"}
    assert set(moment.stable) == {"s0", "s1", "s2"}
    rates = [one.of(("server_error",)) / one.total for one in (*moment.candidate.values(), *moment.stable.values())]
    assert max(rates) < HICCUP_ERRORS + 0.15
    assert len({round(rate, 3) for rate in rates}) > 1


def test_an_incident_and_an_onset_are_edges() -> None:
    """Blocks are cut there; the candidate is good before, and both fail in between."""
    bad = Described(10.0, Manner(0.0), Manner(0.2), onset_s=60.0, incident=Incident(0.5, 100.0, 20.0))
    assert bad.changes_s == (60.0, 100.0, 120.0)
    assert [bad.candidate_at(second).errors for second in (0.0, 59.9, 60.0)] == [0.0, 0.0, 0.2]
    assert [bad.shared_at(second) for second in (99.0, 100.0, 119.9, 120.0)] == [0.0, 0.5, 0.5, 0.0]
    assert bad.good.candidate == bad.stable
    assert bad.good.changes_s == (100.0, 120.0)


@given(st.floats(0.01, 500), st.floats(0.001, 1), st.floats(0.1, 1_000), st.integers(0, 2**32 - 1))
@settings(max_examples=examples(30), deadline=None)
def test_whatever_is_drawn_adds_up(rps: float, share: float, seconds: float, seed: int) -> None:
    """Every answered request has a latency, no more failed than there were, and a version without a share has none."""
    moment = Drawn(Described(rps), np.random.default_rng(seed)).moment(0.0, seconds, Shares(share, 0.0))
    assert not moment.stable
    for tally in moment.candidate.values():
        assert sum(tally.answered.values()) == tally.total
        assert 0 <= tally.of(("server_error",)) <= tally.total
    assert 0 <= moment.draw < 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"rps": 0.0}, {"rps": math.nan}, {"rps": 1.0, "replicas": (0, 1)}, {"rps": 1.0, "onset_s": -1.0},
        {"rps": 1.0, "hiccups_per_hour": 500.0}, {"rps": 1.0, "incident": Incident(2.0, 0.0, 1.0)},
    ],
    ids=range(6),
)  # fmt: skip
def test_what_is_no_traffic(wrong: dict[str, object]) -> None:
    """Is refused in a sentence, as is a version that fails more than always or answers in no time."""
    with pytest.raises(PlanError):
        Described(**wrong)  # type: ignore[arg-type]  # that is what is tried
    for errors, median_ms, spread in ((1.5, 20.0, 0.5), (0.1, 0.0, 0.5), (0.1, 20.0, 0.0)):
        with pytest.raises(PlanError):
            Manner(errors, median_ms, spread)
