"""What every kind of evidence has in common: it adds up, it starts at nothing, it is never negative nor endless."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from router.evidence.betting import Bets, BoundedTest
from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.events import Events
from router.evidence.latency import Latency
from router.evidence.means import Means, MeanTest
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.pairs import Pairs
from router.evidence.replicas import Replicas
from router.evidence.restarts import Restarts
from router.evidence.sample_ratio import SampleRatio
from router.evidence.sequential import e_value
from router.evidence.two_arm import Form, OddsTest, Side, TwoArm
from tests.examples import examples
from tests.router.evidence import states

EMPTY = [
    TwoArm(OddsTest()),
    TwoArm(OddsTest(2.0, Side.NOT_WORSE)),
    TwoArm(OddsTest(side=Side.DIFFERENT)),
    OneArm(RateTest(0.01)),
    OneArm(RateTest(0.01, Side.NOT_WORSE)),
    Latency.against(OddsTest()),
    Means(MeanTest(1.0)),
    Bets(BoundedTest()),
    Events(OddsTest()),
    SampleRatio(),
    SampleRatio().begin((1, 9)),
    Pairs(),
    Replicas(),
    Restarts((Pairs(),)),
    Restarts((Pairs(), Pairs()), 2),
]

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(150))


def flat(state: object) -> list[Any]:
    """All numbers and names in a state, in order."""
    if is_dataclass(state):
        return [leaf for field in fields(state) for leaf in flat(getattr(state, field.name))]
    return [leaf for one in state for leaf in flat(one)] if isinstance(state, tuple) else [state]


def assert_equal(one: object, other: object) -> None:
    """Equal up to the rounding of sums of floats; whole numbers and names exactly."""
    for a, b in zip(flat(one), flat(other), strict=True):
        assert b == (pytest.approx(a, rel=1e-9, abs=1e-6) if isinstance(a, float) else a)


@calm
@given(states.same(count=2))
def test_merging_is_commutative(two: tuple[Any, Any]) -> None:
    """To the last digit: a + b is b + a in floats too."""
    a, b = two
    assert a.merge(b) == b.merge(a)


@calm
@given(states.same(count=3))
def test_merging_is_associative(three: tuple[Any, Any, Any]) -> None:
    """So gateways and blocks may be summed in any order."""
    a, b, c = three
    assert_equal(a.merge(b).merge(c), a.merge(b.merge(c)))


@calm
@given(states.same(count=1))
def test_log_e_is_finite_and_the_e_value_not_negative(one: tuple[Any]) -> None:
    """Whatever was counted; an odds curve has no e-value of its own."""
    log_e = getattr(one[0], "log_e", 0.0)
    assert math.isfinite(log_e)
    assert 0 <= e_value(log_e) < math.inf


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_no_data_is_no_evidence(empty: Any) -> None:  # noqa: ANN401 - every kind of state
    """Silence is neither a yes nor a no, and adds nothing."""
    assert empty.log_e == pytest.approx(0.0, abs=1e-12)
    assert empty.merge(empty) == empty


def test_a_block_with_an_empty_arm_or_without_events_says_nothing() -> None:
    """In both forms: there is nothing to compare. Nor, in the exact one, where every request is an event."""
    for form in Form:
        for block in (Block(), Block(0, 0, 100, 900), Block(7, 7, 10, 0), Block(0, 7, 0, 10)):
            logs = TwoArm(OddsTest()).add([block], form).logs
            assert max(map(abs, logs)) == pytest.approx(0.0, abs=1e-12)
    everywhere = TwoArm(OddsTest()).add([Block(10, 20, 10, 10)])
    assert everywhere.log_e == pytest.approx(0.0, abs=1e-12)


def test_blocks_of_any_size_overflow_nothing() -> None:
    """A million errors in a day, all of them the candidate's."""
    state = TwoArm(OddsTest())
    for form in Form:
        state = state.add([Block(20_000, 20_000, 20_000, 180_000)] * 50, form)
    assert 1e6 < state.log_e < math.inf
    assert e_value(state.log_e) < math.inf
    assert OneArm(RateTest(0.01), 10**12, 10**12).log_e < math.inf
    assert Pairs(10**12, 0).log_e < math.inf


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TwoArm(OddsTest()), TwoArm(OddsTest(1.5))),
        (OneArm(RateTest(0.01)), OneArm(RateTest(0.02))),
        (Latency.against(OddsTest()), Latency.against(OddsTest(), (0.5,))),
        (Means(MeanTest(1.0)), Means(MeanTest(2.0))),
        (Bets(BoundedTest()), Bets(BoundedTest(0, 1, 0.5))),
        (Events(OddsTest()), Events(OddsTest(1.5))),
        (SampleRatio().begin((1, 9)), SampleRatio().begin((1, 1))),
        (Restarts((Pairs(),)), Restarts((Pairs(), Pairs()))),
    ],
    ids=repr,
)
def test_evidence_against_two_hypotheses_does_not_merge(one: Any, other: Any) -> None:  # noqa: ANN401 - every kind
    """A sum of unlike things would still look like a number."""
    with pytest.raises(EvidenceError):
        one.merge(other)
