"""T4: means by block, bets on bounded values, and the report of two pooled means."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evidence.betting import Bets, BoundedTest
from router.evidence.errors import EvidenceError
from router.evidence.means import Means, MeanTest, variance_for, variance_of
from router.evidence.pooled import difference_of
from router.evidence.samples import Pair, Sample
from router.evidence.sequential import threshold

values = st.lists(st.floats(-1e3, 1e3), max_size=8)


def block_of(rng: np.random.Generator, candidate: float, stable: float, size: int = 50) -> Pair:
    """A block of normal values with these means."""
    return Pair(Sample.of(rng.normal(candidate, 1, size)), Sample.of(rng.normal(stable, 1, 9 * size)))


@given(values, values, values)
def test_samples_add_up_to_the_sample_of_all(a: list[float], b: list[float], c: list[float]) -> None:
    """In any grouping, with empty ones among them."""
    together = Sample.of(a + b + c)
    for merged in (
        Sample.of(a).merge(Sample.of(b)).merge(Sample.of(c)),
        Sample.of(a).merge(Sample.of(b).merge(Sample.of(c))),
    ):
        assert merged.count == together.count
        assert merged.mean == pytest.approx(together.mean, abs=1e-9)
        assert merged.squares == pytest.approx(together.squares, rel=1e-9, abs=1e-6)


def test_a_loss_is_found_and_a_gain_is_not() -> None:
    """Harm is less reward here, and more cost there."""
    rng = np.random.default_rng(2)
    blocks = [block_of(rng, -0.3, 0.0) for _ in range(30)]
    reward, cost = Means(MeanTest(1000, harm=-1)), Means(MeanTest(1000, harm=1))
    for block in blocks:
        reward, cost = reward.add(block), cost.add(block)
    assert reward.log_e > threshold(0.001)
    assert cost.log_e < 0
    interval = reward.interval(0.01)
    assert interval is not None
    assert 0 < interval[0] < 0.3 < interval[1]


def test_a_trend_of_both_arms_is_no_evidence() -> None:
    """While the candidate's share climbs with it, which fools a comparison of pooled means."""
    rng = np.random.default_rng(3)
    state, pooled = Means(MeanTest(1000)), Pair(Sample(), Sample())
    for step in range(40):
        level, size = step / 10, 5 + 5 * step
        block = Pair(Sample.of(rng.normal(level, 1, size)), Sample.of(rng.normal(level, 1, 210 - size)))
        state, pooled = state.add(block), pooled.merge(block)
    assert state.log_e < threshold(0.05)
    assert difference_of(pooled, alpha=0.05, total_opt=5000).p_value < 1e-6


def test_a_margin_forgives_what_it_names() -> None:
    """A cost that is 0.3 higher, where 0.5 is tolerated."""
    rng = np.random.default_rng(4)
    strict, tolerant = Means(MeanTest(1000)), Means(MeanTest(1000, margin=0.5))
    for _ in range(30):
        block = block_of(rng, 0.3, 0.0)
        strict, tolerant = strict.add(block), tolerant.add(block)
    assert tolerant.log_e < 0 < threshold(0.01) < strict.log_e


def test_small_blocks_share_one_estimate_of_the_spread() -> None:
    """Under 30 values in an arm; from there on each arm has its own."""
    small = Pair(Sample(5, 0.0, 4.0), Sample(45, 0.0, 440.0))
    assert variance_of(small) == pytest.approx(4.5 * 444 / 48)
    large = Pair(Sample(50, 0.0, 49.0), Sample(450, 0.0, 4490.0))
    assert variance_of(large) == pytest.approx(45 * 45 * (1 / 50 + 10 / 450))
    assert variance_for(large, 10) == pytest.approx(10 * variance_of(large))
    assert variance_for(Pair(Sample(2), Sample(2)), 10) > 0


def test_a_block_too_small_for_a_spread_waits_for_the_next() -> None:
    """It is refused alone and welcome together."""
    one = Pair(Sample.of([1.0]), Sample.of([1.0, 2.0]))
    state = Means(MeanTest(1.0))
    with pytest.raises(EvidenceError):
        state.add(one)
    assert state.add(one.merge(one)).blocks == 1


def test_without_data_there_is_no_interval() -> None:
    """And no difference to report."""
    assert Means(MeanTest(1.0)).interval(0.05) is None
    with pytest.raises(EvidenceError):
        difference_of(Pair(Sample(), Sample()), alpha=0.05, total_opt=100)


def test_constant_values_differ_or_do_not() -> None:
    """A spread of zero is no error."""
    same = Pair(Sample(5, 1.0), Sample(5, 1.0))
    assert difference_of(same, alpha=0.05, total_opt=100).p_value == 1
    apart = Pair(Sample(5, 2.0), Sample(5, 1.0))
    assert difference_of(apart, alpha=0.05, total_opt=100).p_value == 0


@given(st.lists(st.floats(-1, 1), max_size=20))
def test_bets_come_in_any_order(some: list[float]) -> None:
    """The capital is a product."""
    one = Bets(BoundedTest()).add(some)
    other = Bets(BoundedTest()).add(reversed(some))
    assert one.logs == pytest.approx(other.logs, abs=1e-9)
    assert one.count == len(some)


def test_bets_expect_at_most_one_under_the_hypothesis() -> None:
    """Two outcomes that balance at the mean, over all sequences of ten; less where the mean is lower."""
    test = BoundedTest(-1.0, 1.0, 0.0)
    for chance, least in ((0.5, 1 - 1e-9), (0.4, 0.0)):
        total = 0.0
        for up in range(11):
            ways = math.comb(10, up) * chance**up * (1 - chance) ** (10 - up)
            total += ways * math.exp(Bets(test).add([1.0] * up + [-1.0] * (10 - up)).log_e)
        assert least <= total <= 1 + 1e-9


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Bets(BoundedTest()).add([1.1]),
        lambda: Bets(BoundedTest()).add([math.nan]),
        lambda: BoundedTest(0, 1, 1),
        lambda: BoundedTest(-math.inf, 1, 0),
        lambda: MeanTest(0.0),
        lambda: MeanTest(1.0, math.nan),
        lambda: MeanTest(1.0, harm=0),
        lambda: MeanTest(1.0, alpha_opt=0.5),
        lambda: Means(MeanTest(1.0), math.inf),
        lambda: Means(MeanTest(1.0), 0.0, -1.0),
        lambda: Sample.of([math.nan]),
        lambda: Sample(-1),
    ],
)
def test_what_has_no_mean_is_refused(refused: Callable[[], object]) -> None:
    """Values out of bounds, bounds out of order, sums that nothing adds up to."""
    with pytest.raises(EvidenceError):
        refused()
