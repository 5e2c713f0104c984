"""Shapes: the nth request is due when so many have been sent, whichever worker asks."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.load.shapes import SHAPES, Shape, how_many, ramp, recorded, spike, steady, timetable
from tests.examples import examples

_RATES = st.lists(st.floats(0, 1_000), min_size=2, max_size=6).map(lambda rates: [*rates[:-1], rates[-1] + 1.0])


@settings(max_examples=examples(60))
@given(_RATES, st.floats(0.5, 100), st.floats(0, 1))
def test_a_request_is_due_when_so_many_have_been_sent(rates: list[float], step: float, part: float) -> None:
    """`due` inverts the sum of the rate: the requests up to that moment are as many as were asked for."""
    shape = Shape(tuple((nth * step, rate) for nth, rate in enumerate(rates)))
    wanted = part * shape.total
    due = shape.due(wanted)
    assert 0 <= due <= shape.seconds
    steps = 2_000
    width = due / steps
    summed = sum(shape.rate((nth + 0.5) * width) for nth in range(steps)) * width
    assert summed == pytest.approx(wanted, rel=1e-2, abs=shape.peak * step / 100)


@settings(max_examples=examples(40))
@given(st.sampled_from(sorted(SHAPES)), st.floats(1, 400), st.floats(1, 10), st.integers(1, 4), st.floats(0.05, 1))
def test_workers_deal_out_every_request_once(
    name: str, rate: float, seconds: float, workers: int, share: float
) -> None:
    """All workers' timetables together have each number once, in the order of when it is due, and within the run."""
    shape = SHAPES[name](rate, seconds)
    each = [list(timetable(shape, share, worker, workers)) for worker in range(workers)]
    all_ = sorted(chain.from_iterable(each))
    assert [number for number, _ in all_] == list(range(how_many(shape, share)))
    dues = [due for _, due in all_]
    assert dues == sorted(dues)
    assert all(0 <= due <= seconds for due in dues)


@pytest.mark.parametrize("share", [0.005, 0.1, 0.3, 0.7, 1.0])
def test_the_last_request_is_counted_as_it_is_sent(share: float) -> None:
    """Where a share of the total ends on a half, rounding decides the same for both."""
    for total in range(1, 400):
        shape = steady(float(total), 1)
        assert how_many(shape, share) == sum(1 for _ in timetable(shape, share))


def test_a_steady_rate_is_even() -> None:
    """At 10 a second a request is due each tenth of a second, the first half a tenth in."""
    assert [due for _, due in timetable(steady(10, 1), 1.0)] == pytest.approx([0.05 + nth / 10 for nth in range(10)])


def test_shapes_have_the_rates_that_their_names_say() -> None:
    """A ramp ends at the rate, a spike is at it in the middle alone, a record is scaled to its busiest stretch."""
    assert (ramp(100, 10).rate(0), ramp(100, 10).rate(5), ramp(100, 10).rate(10)) == (0, 50, 100)
    assert (spike(100, 10).rate(1), spike(100, 10).rate(5), spike(100, 10).rate(9)) == (10, 100, 10)
    day = recorded([1, 4, 2], 100, 20)
    assert [day.rate(at) for at in (0, 10, 20)] == [25, 100, 50]
    assert day.rate(21) == 0


def test_two_points_at_one_moment_are_a_jump() -> None:
    """Nothing is due in no time, and the request after the jump is due after it."""
    shape = Shape(((0, 0), (1, 0), (1, 10), (2, 10)))
    assert shape.due(0) == 0
    assert shape.due(0.5) == pytest.approx(1.05)


@pytest.mark.parametrize(
    "points",
    [((0, 1),), ((1, 1), (2, 1)), ((0, 1), (2, 1), (1, 1)), ((0, 0), (1, 0)), ((0, -1), (1, 1)), ((0, 1), (0, 1))],
)
def test_what_is_no_shape_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    """Too few points, another begin than 0, time that goes back, no requests, a negative rate, no time."""
    with pytest.raises(ValueError, match=r"shape|rate"):
        Shape(points)


def test_a_record_needs_counts() -> None:
    """One count is no course of a day, and neither are zeros."""
    for counts in ([1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="two counts"):
            recorded(counts, 10, 10)
    with pytest.raises(ValueError, match="no part"):
        steady(1, 1).due(2)
