"""A worker's totals come out of the stream as they went in, and anything else is refused in a sentence."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.counters import ANSWERED, Outcome
from serving.totals import (
    ANSWERED_BITS,
    OUTCOMES,
    READER,
    TOOK_SHIFT,
    WHOLE,
    Braked,
    Message,
    SeriesTotals,
    Units,
    UnitSeen,
    message_from,
)
from tests.examples import examples

PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
names = st.text(PRINTABLE, min_size=1, max_size=20)
versions = st.integers(1, 2**31)
totals = st.integers(0, 2**60)
buckets = st.dictionaries(st.integers(0, 1_000), totals, max_size=8)
series = st.builds(
    SeriesTotals, names, versions, names, st.dictionaries(st.sampled_from(OUTCOMES), totals), buckets, buckets,
    st.dictionaries(names, totals, max_size=4),
)  # fmt: skip


@st.composite
def endings(draw: st.DrawFn) -> int:
    """How a unit's attempts ended, and how long the first of them took."""
    outcome, others = draw(st.sampled_from(Outcome)), draw(st.integers(0, 255))
    code: int = 2 * draw(st.integers(0, 900)) + (2 if outcome in ANSWERED else 1)
    mask: int = 1 << outcome | others
    return mask | code << TOOK_SHIFT


@st.composite
def units(draw: st.DrawFn) -> Units:
    """A sample below some threshold."""
    threshold = draw(st.integers(1, WHOLE))
    one = st.builds(UnitSeen, st.integers(0, threshold - 1), versions, st.integers(0, 255) | endings())
    return Units(threshold, tuple(draw(st.lists(one, max_size=5))))


messages = st.builds(
    Message, names, st.integers(0, 2**40), st.lists(series, max_size=3).map(tuple),
    st.dictionaries(names, st.dictionaries(versions, totals, max_size=3), max_size=2),
    st.dictionaries(names, units(), max_size=2),
    st.lists(st.builds(Braked, names, versions, st.floats(0, 4e9), st.floats(0, 1e6)), max_size=2).map(tuple),
    st.booleans(),
)  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**54) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
A_SERIES: Any = ["fraud", 2, "127.0.0.1:9000", {"outcomes": {"ok": 1}, "answered": [[7, 1]], "unanswered": [], "predicted": {}}]  # noqa: E501  # fmt: skip
WELL: dict[str, Any] = {
    "reader": READER, "gateway": "g-1 b00t", "epoch": 7, "series": [A_SERIES], "drawn": {"fraud": {"1": 9, "2": 1}},
    "units": {"fraud": {"threshold": WHOLE, "seen": [[5, 2, 1]]}}, "braked": [["fraud", 2, 1_700_000_000.0, 30.0]],
    "whole": True,
}  # fmt: skip


@settings(max_examples=examples(200))
@given(messages)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    """Whatever a worker can say, the reader is told."""
    assert message_from(message.encode()) == message


def test_the_form_is_the_one_that_is_written_down() -> None:
    """What stands in the stream is this, for readers that are written in another language as well."""
    assert json.loads(message_from(json.dumps(WELL).encode()).encode()) == WELL


@settings(max_examples=examples(300))
@given(st.sampled_from(sorted(WELL)), json_values)
def test_another_value_in_any_place_is_read_or_refused(member: str, value: object) -> None:
    """Nothing but ValueError comes of what somebody else may have written."""
    raw = json.dumps({**WELL, member: value}).encode()
    with contextlib.suppress(ValueError):
        found = message_from(raw)
        assert message_from(found.encode()) == found


@settings(max_examples=examples(200))
@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    """Nor of what is not even JSON."""
    with pytest.raises(ValueError, match=r"."):
        message_from(raw)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reader": READER + 1}, "later release"),
        ({"reader": True}, "later release"),
        ({"gateway": ""}, "a gateway"),
        ({"epoch": -1}, "an epoch"),
        ({"epoch": True}, "an epoch"),
        ({"drawn": {"fraud": {"x": 1}}}, "x"),
        ({"drawn": {"fraud": {"1": -1}}}, "a total"),
        ({"units": {"fraud": {"threshold": 0, "seen": []}}}, "a threshold"),
        ({"units": {"fraud": {"threshold": 5, "seen": [[5, 1, 0]]}}}, "a unit's hash"),
        ({"units": {"fraud": {"threshold": 9, "seen": [[5, 1, -1]]}}}, "how a unit's attempts ended"),
        ({"units": {"fraud": {"threshold": 9, "seen": [[5, 1, 1 << 19]]}}}, "how a unit's attempts ended"),
        ({"units": {"fraud": {"threshold": 9, "seen": [[5, 1, 2 << TOOK_SHIFT]]}}}, "no attempt that ended so"),
        ({"units": {"fraud": {"threshold": 9, "seen": [[5, 1, 64 | 2 << TOOK_SHIFT]]}}}, "no attempt that ended so"),
        ({"units": {"fraud": {"threshold": 9, "seen": [[5, 1, 1 | 1 << TOOK_SHIFT]]}}}, "no attempt that ended so"),
        ({"units": {"fraud": {"threshold": 9, "seen": [[5, 1, True]]}}}, "how a unit's attempts ended"),
        ({"units": {"fraud": {"threshold": 9, "seen": [[5, 1, 1, 9]]}}}, "damaged"),
        ({"braked": [["fraud", 2, -1.0, 30.0]]}, "no time"),
        ({"series": [[*A_SERIES[:3], {**A_SERIES[3], "outcomes": {"fine": 1}}]]}, "no way for an attempt to end"),
        ({"series": [[*A_SERIES[:3], {**A_SERIES[3], "answered": [[7, 1], [7, 2]]}]]}, "told twice"),
        ({"series": [["fraud", 0, *A_SERIES[2:]]]}, "a version"),
        ({"series": [A_SERIES[:3]]}, "damaged"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(change: dict[str, Any], words: str) -> None:
    """The sentence names the part that is damaged."""
    with pytest.raises(ValueError, match=words):
        message_from(json.dumps(WELL | change).encode())


def test_members_of_a_newer_release_are_passed_over() -> None:
    """A gateway that is brought up to date first says more, and is understood all the same."""
    assert message_from(json.dumps({**WELL, "moods": [1]}).encode()) == message_from(json.dumps(WELL).encode())


def test_deep_nesting_is_refused() -> None:
    """As any other damage, without exhausting the stack."""
    with pytest.raises(ValueError, match=r"nested too deeply|JSON object"):
        message_from(b"[" * 100_000 + b"]" * 100_000)


def test_outcomes_have_the_names_and_the_places_that_gateways_count_by() -> None:
    """A bit of a mask is the number of the gateway's own outcome, also where that is an answer."""
    assert tuple(one.name.lower() for one in sorted(Outcome)) == OUTCOMES
    assert {one for one in Outcome if 1 << one & ANSWERED_BITS} == ANSWERED


@given(st.sets(st.sampled_from(Outcome)))
def test_a_mask_names_how_attempts_ended(ended: set[Outcome]) -> None:
    """Each bit by its name."""
    mask = sum(1 << one for one in ended)
    assert UnitSeen(1, 1, mask).outcomes == {one.name.lower() for one in ended}


@given(st.sampled_from(Outcome), st.integers(0, 900))
def test_an_ending_says_how_long_it_took(outcome: Outcome, bucket: int) -> None:
    """Beside the mask, in the same number."""
    code = 2 * bucket + (2 if outcome in ANSWERED else 1)
    seen = UnitSeen(1, 1, 1 << outcome | code << TOOK_SHIFT)
    assert (seen.mask, seen.took) == (1 << outcome, (bucket, outcome in ANSWERED))
    assert UnitSeen(1, 1, 1 << outcome).took is None
