"""What a rollout will take: the planning table of STATS.md, and answers that move the right way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from router.errors import PlanError
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.sequential import threshold
from router.evidence.two_arm import Side
from router.verdicts.planning import Traffic, clean_requests, to_certify, to_detect

SLACK = 1.35  # medians of 300 runs, beside medians of other runs


@pytest.mark.parametrize(
    ("rate", "ratio", "median", "most"),
    [
        (0.001, 2.0, 18_100, 36_300), (0.001, 5.0, 1_560, 3_600), (0.001, 20.0, 201, 349),
        (0.005, 2.0, 3_500, 7_850), (0.005, 5.0, 314, 675), (0.02, 2.0, 901, 1_855), (0.02, 5.0, 87, 170),
    ],
)  # fmt: skip
def test_what_it_takes_to_find_harm(rate: float, ratio: float, median: float, most: float) -> None:
    """The candidate's requests at a share of a tenth and level 1 %, as STATS.md has measured them."""
    needed = to_detect(Traffic(rate, 0.1, ratio), np.random.default_rng(3), alpha=0.01)
    assert 1 / SLACK < needed.median / median < SLACK
    assert 1 / SLACK < needed.most / most < SLACK


@pytest.mark.parametrize(("margin", "median", "most"), [(1.5, 8_562, 22_838), (2.0, 2_738, 6_233), (3.0, 827, 2_023)])
def test_what_it_takes_to_certify(margin: float, median: float, most: float) -> None:
    """Equal arms, level 5 %, half a per cent of errors."""
    needed = to_certify(Traffic(0.005, 0.1), np.random.default_rng(3), beta=0.05, margin=margin)
    assert 1 / SLACK < needed.median / median < SLACK
    assert 1 / SLACK < needed.most / most < SLACK


def test_half_of_the_traffic_takes_twice_the_requests() -> None:
    """There is less of stable to compare with."""
    tenth, half = (
        to_detect(Traffic(0.005, share, 5.0), np.random.default_rng(4), alpha=0.01).median for share in (0.1, 0.5)
    )
    assert 1.4 < half / tenth < 2.8


def test_what_is_tolerated_takes_longer_to_find() -> None:
    """And the same question has the same answer."""
    plain, tolerant, again = (
        to_detect(Traffic(0.005, 0.1, 5.0), np.random.default_rng(5), alpha=0.01, tolerated=tolerated)
        for tolerated in (1.0, 1.5, 1.5)
    )
    assert plain.median < tolerant.median
    assert tolerant == again


def test_clean_requests_are_the_fewest_that_do() -> None:
    """One fewer is not enough, by the very test that judges."""
    needed = clean_requests(0.01, 0.05)
    empty = OneArm(RateTest(0.01, Side.NOT_WORSE))
    assert empty.add(0, needed - 1).log_e < threshold(0.05) <= empty.add(0, needed).log_e
    assert 300 < needed < 350


@pytest.mark.parametrize(
    "given", [(0.0, 0.1, 1.0), (0.01, 1.0, 1.0), (0.01, 0.1, 0.0), (0.01, 0.1, math.inf)], ids=range(4)
)
def test_what_is_no_traffic(given: tuple[float, float, float]) -> None:
    """Is refused in a sentence."""
    with pytest.raises(PlanError):
        Traffic(*given)
    with pytest.raises(PlanError):
        clean_requests(1.0, 0.05)
