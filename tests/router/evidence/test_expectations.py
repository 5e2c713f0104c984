"""While the hypothesis holds, an e-value expects at most one: summed up over everything that may happen."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.evidence.counts import Block
from router.evidence.events import Events
from router.evidence.odds import exact_ratios
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.pairs import Pairs
from router.evidence.replicas import Replicas
from router.evidence.special import Floats, log_gamma
from router.evidence.two_arm import Form, OddsTest, Side, TwoArm, form_for

MARGINS = [(50, 450, 20), (10, 90, 30), (200, 200, 150), (5, 1000, 3)]
FAST = [0.501858, 0.214114, 0.072626, 0.990753]


def chances(n_c: int, n_b: int, m: int, theta: float = 1.0) -> tuple[list[Block], Floats]:
    """All blocks with these margins, and Fisher's noncentral hypergeometric over them, from factorials."""
    x = np.arange(max(0, m - n_b), min(n_c, m) + 1)
    ways = -(log_gamma(x + 1.0) + log_gamma(n_c - x + 1.0) + log_gamma(m - x + 1.0) + log_gamma(n_b - m + x + 1.0))
    weights = ways + x * math.log(theta)
    odds = np.exp(weights - weights.max())
    return [Block(int(one), m, n_c, n_b) for one in x], odds / odds.sum()


def expected(test: OddsTest, margins: tuple[int, int, int], theta: float, form: Form = Form.EXACT) -> float:
    """The expectation of E after one block with these margins, under an odds ratio of theta."""
    blocks, odds = chances(*margins, theta)
    e_values = [math.exp(TwoArm(test).add([block], form).log_e) for block in blocks]
    return float(np.dot(odds, e_values))


@pytest.mark.parametrize(("margins", "fast"), list(zip(MARGINS, FAST, strict=True)))
def test_the_exact_form_expects_one_and_the_fast_form_less(margins: tuple[int, int, int], fast: float) -> None:
    """At equal arms; the exact form also at a tolerated odds ratio, at that ratio."""
    assert expected(OddsTest(), margins, 1.0) == pytest.approx(1.0, abs=1e-9)
    assert expected(OddsTest(1.5), margins, 1.5) == pytest.approx(1.0, abs=1e-9)
    assert expected(OddsTest(), margins, 1.0, Form.FAST) == pytest.approx(fast, abs=1e-6)


@pytest.mark.parametrize("margins", MARGINS)
@pytest.mark.parametrize("theta", [0.2, 0.8, 1.0])
def test_a_better_candidate_expects_less_than_one(margins: tuple[int, int, int], theta: float) -> None:
    """Inside the hypothesis, in every form that is allowed, with and without a tolerance."""
    for limit in (1.0, 1.5):
        for form in Form:
            assert expected(OddsTest(limit), margins, theta * limit, form) <= 1 + 1e-9


@pytest.mark.parametrize("margins", MARGINS)
def test_non_inferiority_expects_one_at_the_margin_and_less_beyond(margins: tuple[int, int, int]) -> None:
    """So a candidate that is worse than the margin is certified with the declared chance at most."""
    test = OddsTest(2.0, Side.NOT_WORSE)
    assert expected(test, margins, 2.0) == pytest.approx(1.0, abs=1e-9)
    assert expected(test, margins, 4.0) <= 1 + 1e-9


@pytest.mark.parametrize("margins", MARGINS)
def test_a_two_sided_test_of_equals_expects_one(margins: tuple[int, int, int]) -> None:
    """Whichever arm is called the candidate."""
    assert expected(OddsTest(side=Side.DIFFERENT), margins, 1.0) == pytest.approx(1.0, abs=1e-9)
    assert expected(OddsTest(side=Side.DIFFERENT), margins, 1.0, Form.FAST) <= 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.data())
def test_any_margins_expect_one(n_c: int, n_b: int, data: st.DataObject) -> None:
    """Also those of an empty arm or of events everywhere, where nothing can be learned."""
    m = data.draw(st.integers(0, n_c + n_b))
    assert expected(OddsTest(), (n_c, n_b, m), 1.0) == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([1.0, 1.2, 2.0, 20.0]), st.data())
def test_the_fast_form_expects_at_most_one(n_c: int, n_b: int, limit: float, data: st.DataObject) -> None:
    """At any margins, at equal arms and at any tolerated odds ratio above."""
    m = data.draw(st.integers(0, n_c + n_b))
    assert expected(OddsTest(limit), (n_c, n_b, m), limit, Form.FAST) <= 1 + 1e-9


def test_the_exact_form_keeps_its_digits_for_large_blocks() -> None:
    """A million requests: the expectation is one where factorials alone would have lost it."""
    blocks, odds = chances(200_000, 800_000, 400)
    counts = np.array([[b.x, b.m, b.n_c, b.n_b] for b in blocks], dtype=float).T
    ratios = np.exp(exact_ratios(counts, np.array([2.0]), 1.0))[:, 0]
    assert float(np.dot(odds, ratios)) == pytest.approx(1.0, abs=1e-6)


def log_binomial(total: int, chance: float) -> Floats:
    """The logs of the chances of 0 to `total`."""
    x = np.arange(total + 1)
    ways = log_gamma(np.array([total + 1.0])) - log_gamma(x + 1.0) - log_gamma(total - x + 1.0)
    return np.asarray(ways + x * math.log(chance) + (total - x) * math.log1p(-chance))


@pytest.mark.parametrize(
    ("total", "chance", "log_e"),
    [
        (20, 0.5, lambda x: Pairs(x, 20 - x).log_e),
        (200, 0.01, lambda x: OneArm(RateTest(0.01), x, 200).log_e),
        (200, 0.01, lambda x: OneArm(RateTest(0.01, Side.NOT_WORSE), x, 200).log_e),
        (40, 0.1, lambda x: Events(OddsTest()).add(x, 40, 0.1).log_e),
        (40, 0.25, lambda x: Events(OddsTest(3.0)).add(x, 40, 0.1).log_e),
        (40, 0.1, lambda x: Events(OddsTest(side=Side.DIFFERENT)).add(x, 40, 0.1).log_e),
    ],
)
def test_counts_of_one_chance_expect_one(total: int, chance: float, log_e: Callable[[int], float]) -> None:
    """T7, both sides of T2, and T5, at the edge of their hypotheses."""
    parts = log_binomial(total, chance) + [log_e(x) for x in range(total + 1)]
    assert float(np.exp(parts).sum()) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("k", "b"), [(1, 9), (1, 1), (3, 5)])
def test_the_rank_of_a_replica_expects_one(k: int, b: int) -> None:
    """Whichever of the replicas is the worst."""
    scores = np.eye(k + b)
    e_values = [math.exp(Replicas().add(row[:k].tolist(), row[k:].tolist(), 0.5).log_e) for row in scores]
    assert float(np.mean(e_values)) == pytest.approx(1.0, abs=1e-9)


def test_the_choice_of_a_form_looks_at_the_margins_only() -> None:
    """And takes the exact one where more than one request in twenty is an event."""
    assert form_for(Block(0, 51, 100, 900)) is Form.EXACT
    assert {form_for(Block(x, 50, 100, 900)) for x in range(51)} == {Form.FAST}
