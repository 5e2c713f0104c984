"""Copies that start later find what begins later, and cost what was set aside for them."""

from __future__ import annotations

import math
from itertools import product

import pytest

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.pairs import Pairs
from router.evidence.restarts import MOST_COPIES, Restarts
from router.evidence.two_arm import OddsTest, TwoArm

WORSE, BETTER = Pairs(1), Pairs(0, 1)


@pytest.mark.parametrize("planned", [0, 3])
def test_whatever_happens_the_expectation_stays_one(planned: int) -> None:
    """Over all outcomes of nine fair pairs, with a copy started after every third."""
    e_values = []
    for outcomes in product([WORSE, BETTER], repeat=9):
        state = Restarts((Pairs(),), planned)
        for index, outcome in enumerate(outcomes):
            state = state.begin(Pairs()) if index in {3, 6} else state
            state = state.add(outcome)
        e_values.append(math.exp(state.log_e))
    assert math.fsum(e_values) / 2**9 == pytest.approx(1.0, abs=1e-9)


def test_stopping_early_does_not_help() -> None:
    """The average over the copies started so far would expect 1.25 here: stop if copy one won, else go on."""
    e_values = []
    for first, second in product([WORSE, BETTER], repeat=2):
        state = Restarts((Pairs(),)).add(first)
        if state.log_e <= 0:
            state = state.begin(Pairs()).add(second)
        e_values.append(math.exp(state.log_e))
    assert math.fsum(e_values) / 4 == pytest.approx(1.0, abs=1e-9)


def test_a_late_regression_is_found_sooner_with_a_late_copy() -> None:
    """After an hour in which the candidate was the better one."""
    empty = TwoArm(OddsTest())
    good, bad = empty.add([Block(2, 20, 1000, 5000)] * 20), empty.add([Block(15, 35, 1000, 5000)] * 2)
    alone = good.merge(bad)
    with_copies = Restarts((good,)).begin(empty).add(bad)
    assert alone.log_e < 0 < math.log(100) < with_copies.log_e


def test_all_copies_started_together_are_one_test() -> None:
    """A number fixed beforehand, all of them from the start: nothing is set aside."""
    state = Restarts((Pairs(), Pairs()), 2).add(Pairs(5, 1))
    assert state.log_e == pytest.approx(Pairs(5, 1).log_e)


def test_copies_not_started_yet_count_one() -> None:
    """One of four, and the first of an open number, which holds three quarters of the capital."""
    e_value = math.exp(Pairs(10).log_e)
    assert math.exp(Restarts((Pairs(10),), 4).log_e) == pytest.approx((e_value + 3) / 4)
    assert math.exp(Restarts((Pairs(10),)).log_e) == pytest.approx((3 * e_value + 1) / 4)


def test_the_number_of_copies_is_bounded() -> None:
    """One more than planned or kept is not started; none at all is refused."""
    planned = Restarts((Pairs(), Pairs()), 2)
    assert planned.full
    assert planned.begin(Pairs()) is planned
    state = Restarts((Pairs(),))
    for _ in range(100):
        state = state.begin(Pairs())
    assert len(state.copies) == MOST_COPIES
    for copies, number in (((), 0), ((Pairs(), Pairs()), 1), ((Pairs(),), MOST_COPIES + 1)):
        with pytest.raises(EvidenceError):
            Restarts(copies, number)
