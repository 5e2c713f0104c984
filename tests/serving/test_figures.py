"""What people are told of a version's requests: sums, differences and quantiles of what gateways count."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.figures import NONE, Figures, bucket_of, figures_from, together, width_of
from serving.gateway.counters import Outcome, Role, Series
from serving.gateway.figures import figures_of

counts = st.integers(0, 1_000)
values = st.builds(Figures, counts, counts, st.dictionaries(st.integers(0, 10**8).map(bucket_of), counts, max_size=6))


@given(values)
def test_figures_come_back_from_their_plain_form(one: Figures) -> None:
    """By way of JSON."""
    assert figures_from(json.loads(json.dumps(one.plain()))) == one


@pytest.mark.parametrize(
    "said",
    [None, 5, [], [1, 2], [1, -1, []], [1, 0, [[33, 5]]], [1, 0, [[2**50, 5]]], [1, 0, [5]], ["1", 0, []], "abc"],
)
def test_what_is_no_figures_is_refused(said: object) -> None:
    """With a ValueError, whatever it is."""
    with pytest.raises(ValueError, match=r"."):
        figures_from(said)


@given(values, values)
def test_what_came_since_is_what_was_added(before: Figures, more: Figures) -> None:
    """Whatever was counted before; and what was counted from nothing again is counted whole."""
    after = before.plus(more)
    since = after.since(before)
    assert (since.attempts, since.errors) == (more.attempts, more.errors)
    assert dict(since.took) == {first: count for first, count in more.took.items() if count}
    assert together([before, more]) == after
    assert NONE.since(Figures(1)) == NONE


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_right_within_its_bucket(micros: list[int], quantile: float) -> None:
    """An eighth of a figure more or less, and a bucket's width where times are as short as a few microseconds."""
    took: dict[int, int] = {}
    for one in micros:
        took[bucket_of(one)] = took.get(bucket_of(one), 0) + 1
    found = Figures(len(micros), 0, took).took_ms(quantile)
    assert found is not None
    wanted = sorted(micros)[min(int(quantile * len(micros)), len(micros) - 1)]
    assert bucket_of(wanted) <= found * 1_000 <= bucket_of(wanted) + width_of(bucket_of(wanted))
    assert width_of(bucket_of(wanted)) <= max(4, wanted / 4)


def test_nothing_has_no_share_and_no_quantile() -> None:
    """Not 0: nobody knows."""
    assert (NONE.error_share, NONE.took_ms(0.5)) == (None, None)
    assert Figures(4, 1).error_share == 0.25


def test_a_gateway_tells_first_attempts_and_copies() -> None:
    """Errors among them; not what stable answered in a candidate's place, not what clients gave up, not load tests."""
    first, shadow, fallback, synthetic = Series(), Series(), Series(), Series()
    for outcome in Outcome:
        first.add(outcome, 0.010)
    shadow.add(Outcome.OK, 0.5)
    fallback.add(Outcome.OK, 0.5)
    synthetic.add(Outcome.SERVER_ERROR, 0.5)
    rows = [
        (None, "m", 2, Role.FIRST, first),
        (None, "m", 3, Role.SHADOW, shadow),
        (None, "m", 2, Role.FIRST, first),
        (None, "m", 1, Role.FALLBACK, fallback),
        (None, "m", 1, Role.SYNTHETIC, synthetic),
    ]
    told = figures_of(rows)
    assert told.keys() == {"m/2", "m/3"}
    assert (told["m/2"].attempts, told["m/2"].errors) == (14, 10)
    assert told["m/2"].took_ms(0.5) == pytest.approx(10, rel=0.2)
    assert told["m/3"].took_ms(0.99) == pytest.approx(500, rel=0.2)
