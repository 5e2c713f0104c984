"""A keeper's totals come out of the stream as they went in, and anything else is refused in a sentence."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.pair_totals import READER, PairMessage, PairTotals, Signs, pair_message_from
from tests.examples import examples

PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
names = st.text(PRINTABLE, min_size=1, max_size=20)
versions = st.integers(1, 2**31 - 1)
totals = st.integers(0, 2**60)
signs = st.builds(Signs, totals, totals, totals)
of_two = st.tuples(totals, totals).map(lambda two: (max(two), min(two)))


@st.composite
def series(draw: st.DrawFn) -> PairTotals:
    """One candidate's pairs, no more of them unlike than compared."""
    compared, disagreed = draw(of_two)
    noise_compared, noise_disagreed = draw(of_two)
    named = draw(st.tuples(names, st.text(PRINTABLE, max_size=9), versions, versions, st.integers(0, 2**40)))
    return PairTotals(
        *named, compared, disagreed, draw(signs), draw(signs), draw(signs), noise_compared, noise_disagreed,
        draw(totals), draw(totals), draw(totals), draw(st.dictionaries(names, totals, max_size=3)),
    )  # fmt: skip


messages = st.builds(
    PairMessage, names, st.lists(series(), max_size=3, unique_by=lambda one: (one.model, one.salt)).map(tuple),
    st.booleans(),
)  # fmt: skip
ONE = PairTotals("fraud", "r1", 1, 2, 7, compared=10, disagreed=1, shed={"full": 3})
SAID = json.loads(PairMessage("gw boot", (ONE,)).encode())


@settings(max_examples=examples(200))
@given(messages)
def test_a_message_comes_back_as_it_was(message: PairMessage) -> None:
    """Whatever a keeper says is read as it was meant."""
    assert pair_message_from(message.encode()) == message


def test_members_of_a_newer_release_are_passed_over_and_its_forms_are_not() -> None:
    """A further member changes nothing; a later form is refused by its number."""
    more = {**SAID, "later": 1, "series": [{**SAID["series"][0], "later": 2}]}
    assert pair_message_from(json.dumps(more).encode()).series == (ONE,)
    with pytest.raises(ValueError, match="later release"):
        pair_message_from(json.dumps({**SAID, "reader": READER + 1}).encode())


@settings(max_examples=examples(300))
@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["reader", "keeper", "series", "model", "errors"]), inner, max_size=4
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_else_is_refused_as_a_bad_value(raw: bytes) -> None:
    """Any bytes are a message or a ValueError, never another failure."""
    with contextlib.suppress(ValueError):
        pair_message_from(raw)


def _with(**changed: Any) -> bytes:  # noqa: ANN401 (any JSON value)
    return json.dumps({**SAID, "series": [{**SAID["series"][0], **changed}]}).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"[" * 200_000, "nested too deeply|Expecting|recursion"),
        (b"[]", "JSON object"),
        (_with(compared=-1), "total"),
        (_with(compared=True), "total"),
        (_with(compared=1.5), "total"),
        (_with(disagreed=11), "more pairs disagree"),
        (_with(stable=0), "a version"),
        (_with(model=""), "a model"),
        (_with(model="m" * 1_000), "a model"),
        (_with(errors=[1, 2, 3]), "damaged"),
        (_with(errors={"worse": -1, "better": 0, "ties": 0}), "total"),
        (_with(shed={"full": -1}), "total"),
        (_with(shed=[1]), "damaged|dictionary|unpack"),
        (json.dumps({**SAID, "series": [*SAID["series"], *SAID["series"]]}).encode(), "told twice"),
        (json.dumps({**SAID, "keeper": 5}).encode(), "a keeper"),
    ],
    ids=range(15),
)  # fmt: skip
def test_damaged_totals_are_refused(raw: bytes, said: str) -> None:
    """A total that is no count, a series that contradicts itself, and what is none."""
    with pytest.raises(ValueError, match=said):
        pair_message_from(raw)
