"""T3: a threshold from the minute before turns "slower" into an event."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evidence.bands import distribution_radius, quantile_ranks, same_quantile
from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.latency import QUANTILES, Latency, edges, exceedances
from router.evidence.sequential import threshold
from router.evidence.two_arm import OddsTest, Side

histograms = st.lists(st.integers(0, 50), min_size=5, max_size=5)


@given(histograms, st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_tau_leaves_at_most_its_share_above(pooled: list[int], quantile: float) -> None:
    """And is the first bucket that does."""
    taus = edges(pooled, (quantile,))
    if taus is None:
        assert sum(pooled) == 0
        return
    total, tau = sum(pooled), taus[0]
    assert sum(pooled[: tau + 1]) >= quantile * total
    assert sum(pooled[:tau]) < quantile * total


def test_an_empty_minute_gives_no_threshold() -> None:
    """So the block after it is not judged."""
    assert edges([0, 0, 0]) is None
    assert edges([]) is None


@given(histograms, histograms, st.integers(0, 4))
def test_exceedances_count_what_lies_above_the_edge(candidate: list[int], stable: list[int], tau: int) -> None:
    """Of each arm, among all of its requests."""
    (block,) = exceedances(candidate, stable, (tau,))
    assert block == Block.of(
        candidate=(sum(candidate[tau + 1 :]), sum(candidate)), stable=(sum(stable[tau + 1 :]), sum(stable))
    )


def test_the_e_value_is_the_average_over_the_quantiles() -> None:
    """A candidate that only stalls is found by the p99 alone."""
    stall = [Block(500, 5000, 1000, 9000), Block(100, 1000, 1000, 9000), Block(60, 150, 1000, 9000)]
    state = Latency.against(OddsTest()).add(stall)
    each = [math.exp(test.log_e) for test in state.tests]
    assert state.log_e == pytest.approx(math.log(sum(each) / 3))
    assert state.tests[0].log_e < 0 < threshold(0.01) < state.log_e


def test_a_margin_is_scored_exactly_at_every_quantile() -> None:
    """The fast form is not valid there."""
    block = Block(1, 10, 100, 900)
    certified = Latency.against(OddsTest(1.5, Side.NOT_WORSE)).add([block] * 3)
    assert certified.tests[0] == certified.tests[2]
    found = Latency.against(OddsTest()).add([block] * 3)
    assert found.tests[0] == found.tests[1] != found.tests[2]


def test_what_has_no_common_edges_is_refused() -> None:
    """Histograms of two shapes, a quantile that is none, a test too few, a block too few."""
    with pytest.raises(EvidenceError):
        exceedances([1, 2], [1, 2, 3], (0,))
    with pytest.raises(EvidenceError):
        Latency.against(OddsTest(), (0.5, 1.0))
    with pytest.raises(EvidenceError):
        Latency(QUANTILES, ())
    with pytest.raises(ValueError, match="shorter"):
        Latency.against(OddsTest()).add([Block()])


def test_bands_narrow_with_their_samples() -> None:
    """Ranks stay within 0 and 1, also for a p99 of a handful."""
    few, many = (quantile_ranks(0.99, total, alpha=0.05, total_opt=1000) for total in (10, 10_000))
    assert 0 <= few[0] < many[0] < 0.99 < many[1] < few[1] <= 1
    assert distribution_radius(10_000, 0.05) < distribution_radius(100, 0.05)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.sampled_from(QUANTILES))
def test_a_sample_has_the_same_quantiles_as_itself(values: list[float], quantile: float) -> None:
    """Ties and all: nothing speaks against equality."""
    assert same_quantile(values, values, quantile, total_opt=100) <= 0


def test_two_quantiles_far_apart_are_told_apart() -> None:
    """Whichever is the slower arm, and alike in both orders."""
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 1, 300).tolist(), rng.normal(1, 1, 300).tolist()
    assert same_quantile(one, other, 0.5, total_opt=300) > threshold(0.001)
    assert same_quantile(one, other, 0.5, total_opt=300) == same_quantile(other, one, 0.5, total_opt=300)


def test_a_band_of_nothing_is_refused() -> None:
    """No values, no quantile."""
    for refused in (
        lambda: quantile_ranks(1.0, 10, alpha=0.05, total_opt=10),
        lambda: quantile_ranks(0.5, 0, alpha=0.05, total_opt=10),
        lambda: distribution_radius(0, 0.05),
        lambda: same_quantile([], [1.0], 0.5, total_opt=10),
    ):
        with pytest.raises(EvidenceError):
            refused()
