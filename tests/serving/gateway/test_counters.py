"""Durations fall into narrow buckets that leave no gap, and what is counted adds up however it is put together."""

from __future__ import annotations

import json
from collections import Counter
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.counters import (
    ANSWERED,
    Durations,
    Ended,
    Outcome,
    Role,
    Series,
    bucket_of,
    lower_edge_us,
    outcome_of,
    stream_counts,
)
from serving.gateway.streaming import StreamWatch
from serving.stream_counts import BOUNDS_S

DAY_US = 86_400 * 1_000_000
micros = st.integers(0, DAY_US) | st.integers(0, 2_000)
attempts = st.lists(st.tuples(st.sampled_from(Outcome), st.floats(0, 120)), max_size=30)


def seconds(of_micros: int) -> float:
    """In the middle of this microsecond, so that no rounding moves it to another."""
    return (of_micros + 0.5) / 1_000_000


def counted(some: list[tuple[Outcome, float]]) -> Series:
    """The series of these attempts."""
    series = Series()
    for outcome, duration in some:
        series.add(outcome, duration)
    return series


@given(st.floats(0, 86_400), st.floats(0, 86_400))
def test_a_longer_duration_never_falls_into_a_lower_bucket(one: float, other: float) -> None:
    """Buckets are in the order of durations."""
    shorter, longer = sorted((one, other))
    assert bucket_of(shorter) <= bucket_of(longer)


@given(micros)
def test_one_microsecond_more_is_the_same_bucket_or_the_next(duration: int) -> None:
    """No bucket is left out."""
    assert bucket_of(seconds(duration + 1)) - bucket_of(seconds(duration)) in {0, 1}


@given(micros)
def test_a_duration_lies_between_its_buckets_edges(duration: int) -> None:
    """From the lower edge of its bucket up to, not including, that of the next."""
    bucket = bucket_of(seconds(duration))
    assert lower_edge_us(bucket) <= duration < lower_edge_us(bucket + 1)


@given(st.integers(0, 600))
def test_a_lower_edge_is_the_first_duration_of_its_bucket(bucket: int) -> None:
    """It lies in the bucket, and a microsecond less does not."""
    edge = lower_edge_us(bucket)
    assert bucket_of(seconds(edge)) == bucket
    assert edge == 0 or bucket_of(seconds(edge - 1)) == bucket - 1


@given(st.integers(0, 600))
def test_a_bucket_is_at_most_a_sixteenth_wide(bucket: int) -> None:
    """A microsecond, or at most 6.25 % of its lower edge."""
    edge = lower_edge_us(bucket)
    assert lower_edge_us(bucket + 1) - edge <= max(1, edge / 16)


@given(attempts)
def test_each_attempt_is_counted_once(some: list[tuple[Outcome, float]]) -> None:
    """Once by its outcome, and once by its duration."""
    series = counted(some)
    assert series.outcomes == [sum(outcome is one for one, _ in some) for outcome in Outcome]
    assert sum(series.answered.values()) + sum(series.unanswered.values()) == len(some)


@given(attempts)
def test_a_duration_without_an_answer_is_no_latency(some: list[tuple[Outcome, float]]) -> None:
    """Attempts that were answered and those that were not are kept apart."""
    series = counted(some)
    assert series.answered == Counter(bucket_of(duration) for outcome, duration in some if outcome in ANSWERED)
    assert series.unanswered == Counter(bucket_of(duration) for outcome, duration in some if outcome not in ANSWERED)


@given(attempts, attempts)
def test_two_series_merge_into_that_of_all(
    some: list[tuple[Outcome, float]], more: list[tuple[Outcome, float]]
) -> None:
    """Merging is the same as having counted all of it in one place, and leaves the other series as it was."""
    ours, theirs = counted(some), counted(more)
    before = theirs.as_dict()
    ours.merge(theirs)
    assert ours.as_dict() == counted(some + more).as_dict()
    assert theirs.as_dict() == before


@given(attempts)
def test_a_series_says_all_of_it_as_json(some: list[tuple[Outcome, float]]) -> None:
    """Outcomes by name without the zeros, and bucket and count in the order of buckets."""
    series = counted(some)
    said = json.loads(json.dumps(series.as_dict()))
    assert said["outcomes"] == Counter(outcome.name.lower() for outcome, _ in some)
    assert said["answered"] == sorted(map(list, series.answered.items()))
    assert said["unanswered"] == sorted(map(list, series.unanswered.items()))


@pytest.mark.parametrize("code", [*HTTPStatus, 299, 599, 600, 999])
def test_every_status_code_has_an_outcome(code: int) -> None:
    """503 is the model's own 'not now', other 5xx are errors, 4xx is the client's, and the rest went well."""
    expected = Outcome.OK if code < 400 else Outcome.CLIENT_ERROR if code < 500 else Outcome.SERVER_ERROR
    assert outcome_of(code) is (Outcome.UNAVAILABLE if code == HTTPStatus.SERVICE_UNAVAILABLE else expected)
    assert outcome_of(code) in ANSWERED


def test_roles_and_outcomes_index_lists() -> None:
    """Their values are places in a list, from 0 without a gap."""
    assert [role.value for role in Role] == list(range(len(Role)))
    assert [outcome.value for outcome in Outcome] == list(range(len(Outcome)))


watches = st.lists(
    st.tuples(st.sampled_from(Ended), st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 90))))
)


def relayed(some: list[tuple[Ended, list[tuple[int, bool, float]]]]) -> Series:
    """A series with these streams: how each ended, and its events with the pauses between them."""
    series = Series()
    for how, reads in some:
        watch, now = StreamWatch(0.0), 0.0
        for events, failed, pause_s in reads:
            now += pause_s
            watch.saw(events, now, errors=int(failed and events > 0))
        series.add_stream(watch, how)
    return series


@given(watches, watches)
def test_streams_merge_into_those_of_all(
    some: list[tuple[Ended, list[tuple[int, bool, float]]]], more: list[tuple[Ended, list[tuple[int, bool, float]]]]
) -> None:
    """Of two replicas as of one, and a series without streams says nothing of any."""
    ours, theirs = relayed(some), relayed(more)
    ours.merge(theirs)
    assert ours.as_dict() == relayed(some + more).as_dict()
    assert ("streams" in ours.as_dict()) is bool(some or more)


@given(watches)
def test_what_is_told_of_streams_is_what_was_counted(some: list[tuple[Ended, list[tuple[int, bool, float]]]]) -> None:
    """Nothing is lost on the way to a histogram, and what took longer is in a later bucket."""
    series = relayed(some)
    told = stream_counts([(None, "a/b", 2, Role.FIRST, series), (None, "a/b", 2, Role.FIRST, Series())])
    if not some:
        assert told == ()
        return
    (one,) = told
    assert (one.of, one.role) == ("a/b/2", "first")
    assert sum(one.ended.values()) == len(some)
    assert series.streams is not None
    for counts, durations in ((one.first, series.streams.first), (one.gaps, series.streams.gaps)):
        assert sum(counts) == sum(durations.buckets.values())
    assert sum(one.first) + sum(one.gaps) == one.events


@pytest.mark.parametrize("bound", range(len(BOUNDS_S)))
def test_a_bound_belongs_to_its_bucket(bound: int) -> None:
    """As Prometheus has it: less or equal. What is clearly longer is in the next one."""
    durations = Durations()
    durations.add(BOUNDS_S[bound])
    durations.add(BOUNDS_S[bound] * 1.1, 2)
    assert durations.told()[bound : bound + 2] == (1, 2)


def test_ends_index_a_list() -> None:
    """From 0 without a gap."""
    assert [how.value for how in Ended] == list(range(len(Ended)))
