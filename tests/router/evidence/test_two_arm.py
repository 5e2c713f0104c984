"""T1 finds what is worse, certifies what is not, stays calm where both arms move, and shows an honest interval."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.odds import exact_ratios
from router.evidence.odds_interval import OddsCurve
from router.evidence.sequential import threshold
from router.evidence.two_arm import Form, OddsTest, Side, TwoArm, grid_of
from tests.router.evidence.states import blocks
from tests.router.evidence.worlds import World, always

EMPTY = TwoArm(OddsTest())


def test_blocks_together_are_blocks_one_by_one() -> None:
    """Blocks of very different size scored in one call, and in chunks."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 3000, (400, 2))
    some = [
        Block.of(candidate=(int(rng.binomial(c, 0.2)), int(c)), stable=(int(rng.binomial(b, 0.2)), int(b)))
        for c, b in sizes
    ]
    together, apart = EMPTY.add(some), EMPTY
    for block in some:
        apart = apart.add([block])
    assert together.logs == pytest.approx(apart.logs, rel=1e-9)
    assert together.seen == apart.seen
    assert together.blocks == apart.blocks == 400


def test_the_totals_and_the_likeliest_ratio_are_there_for_people() -> None:
    """A candidate that fails five times as often is called about that."""
    state = EMPTY.add([Block(50, 140, 1000, 9000)] * 10)
    assert state.seen == Block(500, 1400, 10_000, 90_000)
    assert 4.5 < state.likeliest < 6
    assert state.log_e > threshold(1e-6)


def test_what_both_arms_share_is_no_evidence() -> None:
    """An incident of 30 % errors, the same for both."""
    assert EMPTY.add([Block(300, 3000, 1000, 9000)] * 20).log_e < 0


def test_a_tolerance_forgives_what_it_names() -> None:
    """Twice the errors, where up to three times are tolerated."""
    twice = [Block(10, 55, 1000, 9000)] * 20
    assert EMPTY.add(twice).log_e > threshold(0.01)
    assert TwoArm(OddsTest(3.0)).add(twice).log_e < 0


def test_equal_arms_are_certified_and_worse_ones_are_not() -> None:
    """Non-inferiority at a margin of two."""
    margin = TwoArm(OddsTest(2.0, Side.NOT_WORSE))
    assert margin.add([Block(10, 100, 1000, 9000)] * 10).log_e > threshold(0.05)
    assert margin.add([Block(20, 100, 1000, 8000)] * 10).log_e < threshold(0.05)
    assert margin.add([Block(0, 0, 10**6, 10**6)]).log_e == 0


def test_a_two_sided_test_finds_either_arm() -> None:
    """Whichever is the worse one."""
    equal = TwoArm(OddsTest(side=Side.DIFFERENT))
    assert equal.add([Block(100, 150, 1000, 1000)]).log_e > threshold(0.01)
    assert equal.add([Block(50, 150, 1000, 1000)]).log_e > threshold(0.01)
    assert equal.add([Block(75, 150, 1000, 1000)]).log_e < 0


def test_the_grids_are_those_of_the_design() -> None:
    """48 points above or below the limit, 96 around equality with a gap of 5 % on each side."""
    assert grid_of(OddsTest(2.0))[[0, -1]] == pytest.approx([2.1, 200])
    assert grid_of(OddsTest(2.0, Side.NOT_WORSE))[[0, -1]] == pytest.approx([0.04, 1.9])
    around = grid_of(OddsTest(side=Side.DIFFERENT))
    assert around.size == 96
    assert not np.any((around > 1 / 1.0499) & (around < 1.0499))


@settings(max_examples=60, deadline=None)
@given(st.lists(blocks(), max_size=4))
def test_the_interval_keeps_just_what_is_not_rejected(some: list[Block]) -> None:
    """It holds the likeliest ratio, and narrows as the level rises."""
    curve = OddsCurve().add(some)
    strict, loose = curve.interval(0.01), curve.interval(0.2)
    assert strict.lower <= loose.lower <= loose.likeliest <= loose.upper <= strict.upper


def test_the_interval_covers_the_ratio_at_every_look() -> None:
    """Over 200 rollouts with a look every ten seconds; misses are under the level, as chance lets one say."""
    rng = np.random.default_rng(13)
    rate, factor = 0.02, 3.0
    odds_ratio = (factor * rate / (1 - factor * rate)) / (rate / (1 - rate))
    world = World(base=always(rate), factor=always(factor))
    logs = np.zeros((200, len(OddsCurve().logs)))
    thetas = np.geomspace(0.01, 100.0, 185)
    missed = np.zeros(200, dtype=bool)
    for second in range(0, 300, 10):
        logs += exact_ratios(world.block(rng, 200, second, 10), thetas, 1.0)
        ends = [OddsCurve(tuple(row)).interval(0.1) for row in logs.tolist()]
        missed |= np.array([not end.lower <= odds_ratio <= end.upper for end in ends])
    assert missed.sum() <= 200 * 0.1 + 2.33 * math.sqrt(200 * 0.1 * 0.9)
    assert np.median([end.upper / end.lower for end in ends]) < 4


def test_without_data_every_ratio_is_possible() -> None:
    """From nothing to infinity."""
    interval = OddsCurve().interval(0.05)
    assert (interval.lower, interval.upper) == (0, math.inf)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Block(2, 1, 10, 10),
        lambda: Block(-1, 0, 10, 10),
        lambda: Block(11, 11, 10, 10),
        lambda: Block(0, 11, 10, 10),
        lambda: OddsTest(0.0),
        lambda: OddsTest(math.inf),
        lambda: OddsTest(1.5, Side.DIFFERENT),
        lambda: TwoArm(OddsTest(), (0.0,)),
        lambda: TwoArm(OddsTest(), (math.nan,) * 48),
        lambda: TwoArm(OddsTest(2.0, Side.NOT_WORSE)).add([Block()], Form.FAST),
        lambda: TwoArm(OddsTest(0.5)).add([Block()], Form.FAST),
        lambda: OddsCurve((1.0,)),
        lambda: OddsCurve().interval(1.0),
    ],
)
def test_what_cannot_be_is_refused(refused: Callable[[], object]) -> None:
    """More events than requests, a limit that no ratio has, a form that is not valid."""
    with pytest.raises(EvidenceError):
        refused()
