"""One arm's rate, its interval, and events without denominators."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.events import Events, rate_ratio_interval
from router.evidence.one_arm import OneArm, RateTest, rate_interval
from router.evidence.sequential import threshold
from router.evidence.two_arm import Form, OddsTest, Side, TwoArm
from tests.router.evidence.states import part

CEILING = RateTest(0.01, Side.NOT_WORSE)


def test_a_clean_candidate_passes_under_a_ceiling_of_one_percent_after_about_300_requests() -> None:
    """328 of them at level 5 %: a perfect candidate beside a perfect stable does not wait for ever."""
    needed = next(n for n in range(1, 1000) if OneArm(CEILING, 0, n).log_e >= threshold(0.05))
    assert needed == 328


def test_the_two_sides_see_opposite_things() -> None:
    """A rate over the limit speaks for one and against the other."""
    assert OneArm(RateTest(0.01), 30, 1000).log_e > threshold(0.001)
    assert OneArm(CEILING, 30, 1000).log_e < 0
    assert OneArm(CEILING, 1, 5000).log_e > threshold(0.001)
    assert OneArm(RateTest(0.01), 1, 5000).log_e < 0


@given(part(2_000), st.sampled_from([0.01, 0.05]))
def test_the_interval_of_a_rate_holds_what_was_seen(counted: tuple[int, int], alpha: float) -> None:
    """And lies between 0 and 1, ends included."""
    events, total = counted
    lower, upper = rate_interval(events, total, alpha=alpha, total_opt=1000)
    assert 0 <= lower <= (events / total if total else 0) <= upper <= 1
    assert upper > lower


def test_the_interval_covers_the_rate_at_every_look() -> None:
    """Over 400 streams with a look after every hundred requests; misses are under the level, as chance lets one say."""
    rng = np.random.default_rng(11)
    misses = 0
    for _ in range(400):
        seen = rng.binomial(100, 0.03, 20).cumsum()
        ends = [rate_interval(int(x), 100 * n, alpha=0.1, total_opt=1000) for n, x in enumerate(seen, 1)]
        misses += any(not lower <= 0.03 <= upper for lower, upper in ends)
    assert misses <= 400 * 0.1 + 2.33 * math.sqrt(400 * 0.1 * 0.9)


def test_rare_events_say_the_same_with_and_without_denominators() -> None:
    """T5 is T1's fast form with the share in place of the counts."""
    without = Events(OddsTest()).add(5, 10, 0.1)
    assert without.log_e == pytest.approx(TwoArm(OddsTest()).add([Block(5, 10, 1000, 9000)], Form.FAST).log_e)
    assert (without.x, without.m) == (5, 10)


@given(part(500), st.floats(0.01, 0.99))
def test_the_interval_of_a_rate_ratio_holds_a_guess(counted: tuple[int, int], share: float) -> None:
    """It is never empty, and without events it is everything."""
    x, m = counted
    lower, upper = rate_ratio_interval(x, m, share, 0.05)
    assert lower < upper
    assert m or (lower, upper) == (-50, 50)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: RateTest(0.0),
        lambda: RateTest(1.0),
        lambda: RateTest(0.1, Side.DIFFERENT),
        lambda: OneArm(RateTest(0.1), 5, 4),
        lambda: OneArm(RateTest(0.1), -1, 4),
        lambda: rate_interval(5, 4, alpha=0.05, total_opt=10),
        lambda: rate_interval(1, 4, alpha=0.0, total_opt=10),
        lambda: rate_interval(1, 4, alpha=0.05, total_opt=0),
        lambda: Events(OddsTest()).add(5, 4, 0.1),
        lambda: Events(OddsTest()).add(1, 4, 0.0),
        lambda: Events(OddsTest()).add(1, 4, 1.0),
        lambda: Events(OddsTest(), (1.0,)),
        lambda: Events(OddsTest(), x=2, m=1),
    ],
)
def test_what_cannot_be_counted_is_refused(refused: Callable[[], object]) -> None:
    """With a sentence, before it is a number."""
    with pytest.raises(EvidenceError):
        refused()
