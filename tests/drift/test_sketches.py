"""Cells are exact, whatever comes, and counts merge in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from drift.errors import Unfit
from drift.schema import BINS, CELLS, MISSING, UNSEEN, Rows
from drift.sketches import Binning, Sketch, cut
from tests.examples import examples

_NUMBERS = st.floats(width=64, allow_nan=True, allow_infinity=True)
_COUNTS = arrays.arrays(np.int64, (2, CELLS), elements=st.integers(0, 2**40))


def _by_search(binning: Binning, numbers: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    edges = binning.edges[0][~np.isnan(binning.edges[0])]
    cells = np.searchsorted(edges, numbers, side="right")
    with np.errstate(all="ignore"):
        cells[np.isinf(((numbers - binning.center[0]) / binning.spread[0]).astype(np.float32))] = UNSEEN
    cells[np.isnan(numbers)] = MISSING
    return cells


@given(
    reference=arrays.arrays(np.float64, st.integers(1, 300), elements=_NUMBERS),
    live=arrays.arrays(np.float64, st.integers(0, 60), elements=_NUMBERS),
)
@settings(max_examples=examples(160), deadline=None)
def test_a_cell_is_what_a_search_among_the_edges_finds(reference: np.ndarray, live: np.ndarray) -> None:  # type: ignore[type-arg]
    """For any reference and any number, the reference's own and the edges themselves among them."""
    binning = cut(reference[:, None])
    numbers = np.concatenate((live, reference, binning.edges[0]))
    with np.errstate(all="ignore"):
        far = np.abs((numbers - binning.center[0]) / binning.spread[0])
    numbers = numbers[~(far > 1e38) | np.isinf(numbers)]  # where a float32 ends
    assert binning.cells(numbers[:, None])[:, 0].tolist() == _by_search(binning, numbers).tolist()


@given(a=_COUNTS, b=_COUNTS, c=_COUNTS)
@settings(max_examples=examples(100), deadline=None)
def test_counts_merge_in_any_order(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:  # type: ignore[type-arg]
    """Associative, commutative, and a part can be taken out again."""
    x, y, z = (Sketch(counts, 5) for counts in (a, b, c))
    assert np.array_equal(x.merge(y).merge(z).counts, z.merge(y.merge(x)).counts)
    assert np.array_equal(x.merge(y).less(y).counts, a)


def test_sixty_four_cells_hold_about_the_same_of_a_reference() -> None:
    """All but the two outside of its range, which are empty."""
    numbers = np.random.default_rng(2).standard_cauchy((50_000, 1))
    counts = (
        cut(numbers).sketch(Rows(numbers, np.empty((50_000, 0), np.uint8), np.empty((50_000, 0), np.float32))).counts[0]
    )
    assert counts[0] == counts[BINS - 1] == counts[MISSING] == counts[UNSEEN] == 0
    assert counts[1 : BINS - 1].min() > 0.9 * 50_000 / (BINS - 2)
    assert counts[1 : BINS - 1].max() < 1.1 * 50_000 / (BINS - 2)


@pytest.mark.parametrize("constant", [0.0, 7.0, -1e12, 1e-30])
def test_a_constant_feature_has_a_cell_of_its_own(constant: float) -> None:
    """What is below or above is another cell."""
    binning = cut(np.full((100, 1), constant))
    step = max(abs(constant) * 1e-5, 1e-5)
    cells = binning.cells(np.array([[constant - step], [constant], [constant + step]]))[:, 0]
    assert cells.tolist() == [0, 1, 2]


def test_few_distinct_values_have_a_cell_each() -> None:
    """As codes and ratings have them."""
    binning = cut(np.repeat([1.0, 2.0, 5.0], 50)[:, None])
    assert binning.cells(np.array([[0.0], [1.0], [2.0], [5.0], [9.0]]))[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_feature_without_a_single_number_counts_what_is_missing() -> None:
    """All of the reference was NaN: a number that comes is in the one cell that there is."""
    binning = cut(np.full((10, 1), np.nan))
    assert binning.cells(np.array([[np.nan], [3.0]]))[:, 0].tolist() == [MISSING, 0]


def test_counts_of_other_features_do_not_add_up() -> None:
    """A sentence says so."""
    with pytest.raises(Unfit, match="do not add up"):
        Sketch.empty(2).merge(Sketch.empty(3))
