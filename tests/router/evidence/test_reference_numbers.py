"""Every number that an oracle or an enumeration gave, to the digits that it was given with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from router.evidence.bands import distribution_radius, quantile_ranks, same_quantile
from router.evidence.betting import Bets, BoundedTest
from router.evidence.counts import Block
from router.evidence.events import equal_rates, rate_ratio_interval
from router.evidence.means import normal_mixture, normal_mixture_two_sided, normal_radius, normal_radius_one_sided
from router.evidence.one_arm import OneArm, RateTest, concentration_for, rate_interval, tuning
from router.evidence.pairs import Pairs
from router.evidence.pooled import difference_of, half_width, tuned_rho
from router.evidence.sample_ratio import Phase
from router.evidence.samples import Pair, Sample
from router.evidence.special import beta_bernoulli
from router.evidence.two_arm import Form, OddsTest, TwoArm

CLOSE = 1e-6
FIVE_DIGITS = 1e-5


def test_the_normal_mixtures_are_those_of_confseq() -> None:
    """One- and two-sided, the bound and the mixture itself, with its rho."""
    rho = 100 / tuning(2 * 0.05)
    assert rho == pytest.approx(15.800634906850535, rel=CLOSE)
    assert normal_radius_one_sided(100, rho, 0.05) == pytest.approx(27.660708830694603, rel=CLOSE)
    assert normal_radius(100, 100 / tuning(0.05), 0.05) == pytest.approx(30.35208990376253, rel=CLOSE)
    assert normal_mixture(30, 100, rho) == pytest.approx(3.580569603558775, rel=CLOSE)
    assert normal_mixture_two_sided(30, 100, 100 / tuning(0.05)) == pytest.approx(2.901375010405018, rel=CLOSE)


@pytest.mark.parametrize(
    ("events", "total", "alpha", "interval"),
    [
        (5, 1000, 0.05, (0.0006280297513, 0.0146769117418)),
        (50, 1000, 0.05, (0.0314986837043, 0.0734112781051)),
        (0, 1000, 0.01, (0.0, 0.00632823424222)),
    ],
)
def test_the_interval_of_a_rate_is_that_of_confseq(
    events: int, total: int, alpha: float, interval: tuple[float, float]
) -> None:
    """Three rates, one without any event."""
    assert rate_interval(events, total, alpha=alpha, total_opt=1000) == pytest.approx(interval, rel=CLOSE)


def test_the_beta_binomial_mixture_is_that_of_confseq() -> None:
    """At s = 20, v = 90, g = 0.1, h = 0.9, which is 120 events of 1000 at a rate of 0.1."""
    assert beta_bernoulli(120, 1000, 0.1, concentration_for(1000)) == pytest.approx(0.703202656637302, rel=CLOSE)


@pytest.mark.parametrize(
    ("quantile", "total", "band"),
    [
        (0.5, 1_000, (0.452050, 0.547950)),
        (0.99, 1_000, (0.978612, 0.997647)),
        (0.5, 10_000, (0.484825, 0.515175)),
        (0.99, 10_000, (0.986798, 0.992836)),
    ],
)
def test_the_ranks_of_a_quantile_are_those_of_confseq(quantile: float, total: int, band: tuple[float, float]) -> None:
    """Median and p99, at two sizes."""
    assert quantile_ranks(quantile, total, alpha=0.05, total_opt=total) == pytest.approx(band, abs=FIVE_DIGITS)


def test_the_band_of_a_distribution_has_its_radius() -> None:
    """At two sizes and levels."""
    assert distribution_radius(1_000, 0.05) == pytest.approx(0.08656912837667055, rel=CLOSE)
    assert distribution_radius(10_000, 0.005) == pytest.approx(0.030016242455229474, rel=CLOSE)


@pytest.mark.parametrize(("quantile", "p_value"), [(0.5, 4.7504307e-6), (0.9, 1.57837506e-52), (0.99, 1.44529767e-6)])
def test_the_comparison_of_two_quantiles_is_that_of_confseq(quantile: float, p_value: float) -> None:
    """A sample and the same 20 % slower."""
    values = np.arange(1, 2001) / 2000
    log_e = same_quantile(values.tolist(), (1.2 * values).tolist(), quantile, total_opt=2000)
    assert math.exp(-log_e) == pytest.approx(p_value, rel=CLOSE)


@pytest.mark.parametrize(
    ("counts", "weights", "p_value"),
    [
        ((150, 850), (1, 9), 5.1852009745e-05),
        ((510, 490), (1, 1), 2.77105109410),
        ((5250, 4750), (1, 1), 4.2225374181e-05),
    ],
)
def test_the_sample_ratio_is_that_of_savvi(counts: tuple[int, int], weights: tuple[int, int], p_value: float) -> None:
    """The inverse of the Bayes factor, which a p-value cuts at 1."""
    assert math.exp(-Phase(weights, counts).log_e) == pytest.approx(p_value, rel=CLOSE)


@pytest.mark.parametrize(
    ("concentration", "tenth", "half"),
    [
        (10, 7.0116417967e-05, 1.2161523e-04),
        (1_000, 2.3761116e-03, 3.8324853e-05),
        (10_000, 0.3076961671, 0.0027274785),
    ],
)
def test_the_sample_ratio_follows_its_concentration(concentration: float, tenth: float, half: float) -> None:
    """The same two counts under weaker and stronger priors; the last is that of ssrm-test."""
    assert math.exp(-beta_bernoulli(150, 1_000, 0.1, concentration)) == pytest.approx(tenth, rel=CLOSE)
    assert math.exp(-beta_bernoulli(5_250, 10_000, 0.5, concentration)) == pytest.approx(half, rel=CLOSE)


def test_events_without_denominators_are_those_of_savvi() -> None:
    """20 of 80 events at a share of a tenth: the p-value and the interval of the log rate ratio."""
    assert math.exp(-equal_rates(20, 80, 0.1)) == pytest.approx(0.0382262, rel=1e-5)
    assert rate_ratio_interval(20, 80, 0.1, 0.05) == pytest.approx((0.0225283, 2.0129167), abs=1e-4)


def test_the_pooled_difference_is_that_of_gbstats() -> None:
    """Two arms of 5000 with means 10.0 and 10.2 and a variance of 4, and the widths at other sizes."""
    arms = Pair(Sample(5000, 10.2, 20_000.0), Sample(5000, 10.0, 20_000.0))
    report = difference_of(arms, alpha=0.05, total_opt=5000)
    assert report.difference == pytest.approx(0.2, rel=CLOSE)
    assert (report.lower, report.upper) == pytest.approx((0.07752866349923464, 0.3224713365007639), rel=CLOSE)
    assert report.p_value == pytest.approx(3.218685518094801e-05, rel=CLOSE)
    assert (report.upper - report.lower) / 2 == pytest.approx(0.12247133650076467, rel=CLOSE)
    rho = tuned_rho(0.05, 5000)
    assert rho == pytest.approx(0.03984006677137368, rel=CLOSE)
    assert half_width(1_000, 1.0, rho=rho, alpha=0.05) == pytest.approx(0.10637547006557503, rel=CLOSE)
    assert half_width(10_000, 1.0, rho=rho, alpha=0.05) == pytest.approx(0.030614772188674172, rel=CLOSE)
    strict = half_width(10_000, 1.0, rho=tuned_rho(0.01, 5000), alpha=0.01)
    assert strict == pytest.approx(0.035956047991328746, rel=CLOSE)


@pytest.mark.parametrize(
    ("block", "fast", "exact", "tolerant"),
    [
        (Block(5, 10, 1000, 9000), 57.6994, 58.2302, 12.4477),
        (Block(5, 10, 5000, 5000), 0.174581, 0.174652, 0.114104),
        (Block(3, 3, 1000, 9000), 256.391, 256.806, 112.460),
        (Block(2, 2, 100, 9900), 447.119, 447.746, 326.381),
        (Block(20, 40, 1000, 9000), 1.2823e8, 1.48276e8, 313421),
        (Block(10, 10, 5000, 5000), 421.916, 423.495, 81.7291),
    ],
)
def test_one_block_gives_the_enumerated_e_value(block: Block, fast: float, exact: float, tolerant: float) -> None:
    """T1 in both forms, and the exact one with a tolerated odds ratio of 1.5."""
    empty = TwoArm(OddsTest())
    assert math.exp(empty.add([block], Form.FAST).log_e) == pytest.approx(fast, rel=FIVE_DIGITS)
    assert math.exp(empty.add([block]).log_e) == pytest.approx(exact, rel=FIVE_DIGITS)
    assert math.exp(TwoArm(OddsTest(1.5)).add([block]).log_e) == pytest.approx(tolerant, rel=FIVE_DIGITS)


def test_merging_two_states_is_processing_all_blocks() -> None:
    """Three blocks of the fast form, together and one by one."""
    blocks = [Block(2, 5, 100, 900), Block(0, 3, 50, 450), Block(4, 6, 200, 1800)]
    empty = TwoArm(OddsTest())
    apart = [empty.add([block], Form.FAST) for block in blocks]
    expected = pytest.approx(3.8803868276968103, rel=CLOSE)
    assert empty.add(blocks, Form.FAST).log_e == expected
    assert apart[0].merge(apart[1]).merge(apart[2]).log_e == expected


def test_one_arm_pairs_and_bets_give_the_enumerated_e_values() -> None:
    """T2 at a limit of 1 %, T7, and a hundred bets on 0.1."""
    assert math.exp(OneArm(RateTest(0.01), 20, 1000).log_e) == pytest.approx(4.05556, rel=CLOSE)
    assert math.exp(OneArm(RateTest(0.01), 30, 1000).log_e) == pytest.approx(34596.3, rel=CLOSE)
    assert math.exp(Pairs(15, 5).log_e) == pytest.approx(6.47716, rel=CLOSE)
    assert math.exp(Pairs(10, 0).log_e) == pytest.approx(179.472, rel=CLOSE * 2)
    assert math.exp(Bets(BoundedTest()).add([0.1] * 100).log_e) == pytest.approx(410.07, rel=CLOSE * 2)
