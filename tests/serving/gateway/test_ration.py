"""A shadow gets no more copies than its budget allows, whenever requests come and however often policies change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.policy import Shadow
from serving.gateway.ration import Dropped, Ration

_times = st.lists(st.integers(0, 200), min_size=1, max_size=200).map(
    lambda gaps: [sum(gaps[: n + 1]) / 1_000 for n in range(len(gaps))]
)


@given(st.integers(1, 50), _times)
def test_no_stretch_of_time_has_more_than_the_rate_and_a_tenth_of_a_second(rate: int, times: list[float]) -> None:
    """Over every stretch from one copy to another, with the bucket that the module states."""
    ration = Ration()
    sent = [now for now in times if ration.take(Shadow(2, max_per_s=rate), now) is None]
    for nth, start in enumerate(sent):
        for count, end in enumerate(sent[nth:], start=1):
            assert count <= rate * (end - start) + max(1.0, rate * 0.1) + 1e-6


@given(st.integers(1, 100), st.integers(1, 5), st.integers(1, 9))
def test_a_rate_is_used_up_but_for_the_time_to_the_next_request(rate: int, seconds: int, often: int) -> None:
    """Where requests come so many times as often as copies may go out, each copy waits for the next of them at most."""
    ration = Ration()
    moments = [number / (rate * often) for number in range(seconds * rate * often)]
    sent = sum(ration.take(Shadow(2, max_per_s=rate), now) is None for now in moments)
    assert sent >= rate * seconds * often / (often + 1) - 1


def test_a_change_of_policy_is_no_new_allowance() -> None:
    """The bucket outlives the policy: another rate goes on from what is left."""
    ration = Ration()
    assert [ration.take(Shadow(2, max_per_s=20), 1.0) for _ in range(3)] == [None, None, Dropped.RATE]
    assert ration.take(Shadow(2, max_per_s=30), 1.0) is Dropped.RATE
    assert ration.take(Shadow(2, max_per_s=30), 1.04) is None


def test_without_a_budget_nothing_is_refused() -> None:
    """And nothing is remembered that a later budget would hold against it."""
    ration = Ration()
    assert {ration.take(Shadow(2), 1.0) for _ in range(1_000)} == {None}
    assert ration.take(Shadow(2, max_per_s=1), 1.0) is None


def test_copies_under_way_are_counted_against_their_limit_first() -> None:
    """A copy that has no room uses up no token."""
    ration, shadow = Ration(), Shadow(2, max_per_s=1, max_in_flight=1)
    ration.in_flight = 1
    assert ration.take(shadow, 1.0) is Dropped.IN_FLIGHT
    ration.in_flight = 0
    assert [ration.take(shadow, now) for now in (1.0, 1.5, 2.0)] == [None, Dropped.RATE, None]


@given(st.lists(st.sampled_from(Dropped)))
def test_what_was_dropped_is_counted_by_reason(dropped: list[Dropped]) -> None:
    """Each once."""
    ration = Ration()
    for why in dropped:
        ration.drop(why, "")
    assert sum(ration.dropped.values()) == len(dropped)
    assert all(ration.dropped[why] == dropped.count(why) for why in dropped)


def test_a_tally_is_of_one_shadow() -> None:
    """What was offered is what was sent and what was not, by salt; only the latest salts are remembered."""
    ration = Ration()
    for _ in range(3):
        ration.offer("r1")
    ration.offer("r2")
    ration.drop(Dropped.QUEUE, "r1")
    ration.drop(Dropped.QUEUE, "unheard")
    assert (ration.tallies["r1"].offered, ration.tallies["r1"].sent) == (3, 2)
    assert ration.tallies["r1"].shed == {Dropped.QUEUE: 1}
    assert ration.tallies["r2"].sent == 1
    assert ration.dropped == {Dropped.QUEUE: 2}
    for number in range(100):
        ration.offer(f"s{number}")
    assert len(ration.tallies) == 64
    assert "s99" in ration.tallies
