"""What keepers leave in the store comes back as it was, adds up, and is refused where it is something else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.diffs import MOST_BYTES, MOST_CONFUSED, Diff, KeptPair, OutputDiff, SegmentDiff, diff_from, merged
from serving.pair_totals import PairTotals
from tests.examples import examples
from tests.serving.test_pair_totals import series

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
counts = st.integers(0, 2**40)
split = st.tuples(counts, counts).map(lambda two: SegmentDiff(max(two), min(two)))
outputs = st.builds(
    OutputDiff, counts, counts, st.dictionaries(names, counts, max_size=2), st.floats(0, 1e300),
    st.dictionaries(st.tuples(names, names), counts, max_size=3),
)  # fmt: skip
shown = st.dictionaries(
    names, st.fixed_dictionaries({"datatype": st.just("FP32"), "values": st.lists(counts, max_size=2)})
)
pairs = st.builds(
    KeptPair, names, st.floats(0, 2**33), counts, st.sampled_from(["http", "grpc"]), st.floats(0, 1e9),
    st.dictionaries(names, names, max_size=2), shown, shown, shown, shown,
)  # fmt: skip
diffs = st.builds(
    Diff, series(), st.floats(0, 2**33), st.floats(0, 2**33), st.dictionaries(names, outputs, max_size=3),
    st.dictionaries(names, st.dictionaries(names, split, max_size=3), max_size=2),
    st.lists(pairs, max_size=3, unique_by=lambda one: one.request_id).map(tuple), st.just(20),
    st.dictionaries(names, counts, max_size=2),
)  # fmt: skip
ONE = Diff(PairTotals("m", "s", 1, 2, 3, 10, 4), 1.0, 2.0, {"y": OutputDiff(10, 4)}, {"h": {"a": SegmentDiff(5, 4)}})


@settings(max_examples=examples(120), deadline=None)
@given(diffs)
def test_a_diff_comes_back_as_it_was(diff: Diff) -> None:
    """Through the store's bytes, and alone it adds up to itself."""
    again = diff_from(diff.encode())
    assert again == diff
    assert merged([diff]).totals == diff.totals


@settings(max_examples=examples(80), deadline=None)
@given(diffs, diffs)
def test_two_diffs_add_up(one: Diff, other: Diff) -> None:
    """Every count, whichever comes first."""
    both = merged([one, other])
    assert both.totals.compared == one.totals.compared + other.totals.compared
    assert both.totals.errors.worse == one.totals.errors.worse + other.totals.errors.worse
    assert both.outputs == merged([other, one]).outputs
    assert sum(of.compared for of in both.outputs.values()) == sum(
        of.compared for diff in (one, other) for of in diff.outputs.values()
    )
    assert both.segments == merged([other, one]).segments


def test_what_is_too_long_is_left_out_from_the_end() -> None:
    """The counts stay, and the worst pairs go last."""
    large = {"y": {"datatype": "BYTES", "shape": [1], "values": ["x" * 4_000], "cut": True}}
    worst = tuple(KeptPair(f"r{n}", 1.0, 1, "http", 100.0 - n, {}, {}, large, large, large) for n in range(100))
    raw = replace(ONE, worst=worst, keep=100).encode()
    kept = diff_from(raw).worst
    assert len(raw) <= MOST_BYTES
    assert kept == worst[: len(kept)]
    assert len(kept) > 15
    confused = {(str(n), "x"): n for n in range(100)}
    (output,) = diff_from(replace(ONE, outputs={"y": OutputDiff(9, 9, {}, 0.0, confused)}).encode()).outputs.values()
    assert (len(output.confused), next(iter(output.confused))) == (MOST_CONFUSED, ("99", "x"))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"[]", b"{}", b"[" * 200_000, b'{"reader":2}', b'{"reader":"1"}',
        json.dumps({**json.loads(ONE.encode()), "worst": [1]}).encode(),
        json.dumps({**json.loads(ONE.encode()), "outputs": {"y": 1}}).encode(),
        json.dumps({**json.loads(ONE.encode()), "segments": {"h": {"a": [1]}}}).encode(),
        json.dumps({**json.loads(ONE.encode()), "totals": {}}).encode(),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_damaged_is_refused(raw: bytes) -> None:
    """As a bad value, whatever it is."""
    with pytest.raises(ValueError, match=r"."):
        diff_from(raw)
