"""A block of time comes back from its line, whatever is in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.evidence.errors import EvidenceError
from router.verdicts.moment_form import READER, decode_moment, encode_moment
from router.verdicts.tallies import Moment, Tally
from router.verdicts.units import ALL, Took, UnitBlock
from tests.examples import examples

buckets = st.dictionaries(st.integers(0, 400), st.integers(1, 99), max_size=3)
labels = st.dictionaries(st.text(max_size=8), st.integers(0, 99), max_size=3)
arms = st.dictionaries(st.text(max_size=8), st.builds(Tally, labels, buckets, buckets, labels), max_size=2)
units = st.dictionaries(st.integers(0, ALL - 1), st.frozensets(st.sampled_from(["ok", "late", "broken"])), max_size=3)
took = st.dictionaries(st.integers(0, ALL - 1), st.builds(Took, st.integers(0, 400), st.booleans()), max_size=3)
moments = st.builds(
    Moment,
    st.floats(0, 2e9),
    arms,
    arms,
    st.floats(0, 1, exclude_max=True),
    st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99)),
    st.none() | st.builds(UnitBlock, st.integers(1, ALL), units, units, took),
)


@settings(max_examples=examples(200))
@given(moments)
def test_it_comes_back_from_its_line(moment: Moment) -> None:
    """And is one line, the same one each time."""
    line = encode_moment(moment)
    assert "\n" not in line
    assert decode_moment(line) == moment
    assert encode_moment(decode_moment(line.encode())) == line


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", "null", '{"reader":1}', "[" * 100_000, '{"reader":true}', b"\xff"], ids=range(8)
)
def test_what_is_no_block_is_refused(line: str | bytes) -> None:
    """In a sentence, whatever it is."""
    with pytest.raises(EvidenceError):
        decode_moment(line)


def test_what_is_not_understood_is_refused_as_a_whole() -> None:
    """A newer reader's, one that says more, counts that cannot be."""
    plain = json.loads(encode_moment(Moment(1.0, {"c": Tally({"ok": 1})})))
    for change in ({"reader": READER + 1}, {"more": 1}, {"units": [1]}, {"candidate": {"c": [{"ok": -1}, [], []]}}):
        with pytest.raises(EvidenceError):
            decode_moment(json.dumps({**plain, **change}))
