"""What gateways counted, put together: nothing is lost, and an attempt without an answer is slow or unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.verdicts.tallies import Moment, Tally, arms_joined, durations, joined, together

counts = st.dictionaries(st.integers(0, 40), st.integers(0, 5), max_size=4)
names = st.sampled_from(["ok", "client_error", "server_error", "unavailable", "refused", "broken", "late", "cancelled"])
tallies = st.builds(Tally, st.dictionaries(names, st.integers(0, 9), max_size=4), counts, counts)
arms = st.dictionaries(st.sampled_from("abc"), tallies, max_size=3)


@given(st.lists(tallies, max_size=4))
def test_nothing_is_lost(several: list[Tally]) -> None:
    """Totals and durations of several are the sums of theirs, in any order."""
    whole = together(several)
    assert whole.total == sum(one.total for one in several)
    assert sum(durations(whole).values()) == sum(sum(durations(one).values()) for one in several)
    assert whole.of({"late"}) == sum(one.of({"late"}) for one in several)
    assert together(reversed(several)).slower_than(7) == whole.slower_than(7)


@given(arms, arms)
def test_arms_are_joined_by_replica(first: dict[str, Tally], then: dict[str, Tally]) -> None:
    """Each replica keeps what it did in either block."""
    both = arms_joined(first, then)
    assert both.keys() == first.keys() | then.keys()
    assert {n: one.total for n, one in both.items()} == {
        n: first.get(n, Tally()).total + then.get(n, Tally()).total for n in both
    }


def test_an_attempt_without_an_answer_is_slow_once_it_has_outlived_a_limit() -> None:
    """Before it, nobody knows: it counts neither as slow nor as quick."""
    tally = Tally({"ok": 3, "late": 2}, {10: 2, 20: 1}, {15: 1, 30: 1})
    assert tally.slower_than(12) == (3, 5)
    assert tally.slower_than(20) == (1, 4)
    assert tally.slower_than(40) == (0, 3)


def test_a_client_that_goes_away_says_nothing_of_the_version() -> None:
    """It is no outcome; everything else is."""
    assert Tally({"ok": 1, "cancelled": 7, "refused": 2}).total == 3


def test_a_moment_counts_events_by_arm() -> None:
    """Over all replicas."""
    candidate = {"c0": Tally({"ok": 5, "late": 1}), "c1": Tally({"ok": 4})}
    moment = Moment(1.0, candidate, {"s0": Tally({"ok": 8, "late": 2})})
    assert moment.events({"late"}) == Block.of(candidate=(1, 10), stable=(2, 10))
    assert joined(moment, Moment(2.0, candidate)).events({"late"}) == Block.of(candidate=(2, 20), stable=(2, 10))
    assert joined(moment, Moment(2.0, candidate)).ended_s == 2.0


def test_totals_that_run_backwards_are_refused() -> None:
    """They are another gateway's, and would falsify a block."""
    with pytest.raises(EvidenceError, match="counts from 0 up"):
        Tally({"ok": -1})
