"""Windows merge in any order to the same bytes, and stay small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift import window as windows
from drift.errors import Damaged, Unfit
from drift.tables import Table
from drift.window import KEPT, Window
from tests.drift import samples
from tests.examples import examples

_WINDOWS = st.builds(
    lambda seed, rows, at: samples.calm(seed, rows, float(at)),
    st.integers(0, 10_000),
    st.integers(0, 60),
    st.integers(0, 1_000),
)


@given(_WINDOWS, _WINDOWS, _WINDOWS)
@settings(max_examples=examples(40), deadline=None)
def test_windows_merge_in_any_order(a: Window, b: Window, c: Window) -> None:
    """Associative and commutative, to the byte; the empty window changes nothing."""
    assert a.merge(b).merge(c).blob() == c.merge(a).merge(b).blob() == a.merge(b.merge(c)).blob()
    assert a.merge(b).blob() == b.merge(a).blob()
    assert a.merge(windows.empty(samples.baseline(), a.first_s)).blob() == a.blob()


@given(_WINDOWS)
@settings(max_examples=examples(40), deadline=None)
def test_a_window_comes_back_from_its_bytes(window: Window) -> None:
    """With its rows, its keys and its breaks."""
    assert windows.read(window.blob()).blob() == window.blob()


def test_rows_that_come_in_pieces_make_the_same_counts() -> None:
    """Whether a batch is folded in at once or row by row; sums differ by their rounding alone."""
    rng = np.random.default_rng(3)
    table, answers, keys = samples.inputs(rng, 40), samples.outputs(rng, 40), samples.keys(40)
    whole = windows.folded_in(samples.baseline(), table, answers, keys, 0.0)
    pieces = windows.empty(samples.baseline(), 0.0)
    for at in range(40):
        one = slice(at, at + 1)
        pieces = pieces.merge(windows.folded_in(samples.baseline(), table.part(one), answers.part(one), keys[one], 0.0))
    assert np.array_equal(pieces.inputs.sketch.counts, whole.inputs.sketch.counts)
    assert np.array_equal(pieces.inputs.keys, whole.inputs.keys)
    assert np.abs(pieces.inputs.sums - whole.inputs.sums).max() < 2**30 * 1e-4


def test_the_rows_that_are_kept_are_bounded() -> None:
    """Those with the smallest keys, of all that ever came."""
    many = samples.calm(1, 3 * KEPT)
    assert len(many.inputs.kept) == len(many.inputs.keys) == KEPT
    assert many.inputs.keys.max() < np.median(samples.keys(3 * KEPT, 1))
    assert len(many.blob()) < 300_000


def test_breaks_are_kept_by_merging_and_by_bytes() -> None:
    """Each once."""
    broken = samples.folded(Table({"x": np.ones((2, 4)), "more": np.ones(2)}), None)
    both = broken.merge(samples.calm(1)).merge(broken)
    assert [one.column for one in windows.read(both.blob()).breaks] == ["country", "image", "price", "more"]


def test_windows_of_other_baselines_do_not_merge() -> None:
    """Their cells are others."""
    other = windows.Window("0" * 64, samples.calm(1).inputs, samples.calm(1).outputs, 0.0, 0.0)
    with pytest.raises(Unfit, match="do not merge"):
        samples.calm(1).merge(other)


def test_it_is_full_by_rows_and_by_time() -> None:
    """Both, whichever comes later."""
    window = samples.calm(1, 10, 0.0).merge(samples.calm(2, 10, 60.0))
    assert window.is_full(20, 60.0)
    assert not window.is_full(21, 60.0)
    assert not window.is_full(20, 61.0)


def test_bytes_that_are_none_are_refused() -> None:
    """Such as a baseline's, or a window's with an array missing."""
    for broken in (samples.baseline().blob, b"", samples.calm(1).blob().replace(b"inputs/keys", b"inputs/kees")):
        with pytest.raises(Damaged):
            windows.read(broken)


def test_as_many_keys_as_rows() -> None:
    """Else nobody knows which request was which."""
    table = samples.inputs(np.random.default_rng(1), 3)
    with pytest.raises(Unfit, match="as many keys"):
        windows.folded_in(samples.baseline(), table, None, samples.keys(4), 0.0)
