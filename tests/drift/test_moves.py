"""Sizes that people are told: over coarse cells that hide no more than their share, however few values there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drift.moves import COARSE, Reference
from drift.schema import BINS, CELLS, MISSING, UNSEEN, Floats, Rows
from drift.sketches import Sketch, cut

ROWS = 2_000
counts = st.lists(st.integers(0, 500), min_size=CELLS, max_size=CELLS).filter(any)


def sketch(found: list[list[int]]) -> Sketch:
    """Of features with these counts, all of the same rows in tests."""
    return Sketch(np.array(found, np.int64), sum(found[0]))


def numbers(values: Floats) -> Rows:
    """Rows of this one number."""
    nothing = np.empty((len(values), 0))
    return Rows(values[:, None], nothing.astype(np.uint8), nothing.astype(np.float32))


def moved(before: Floats, after: Floats) -> tuple[float, float]:
    """Total variation and stability index of one number, counted by its own cells."""
    binning = cut(before[:, None])
    ours, theirs = (binning.sketch(numbers(one)) for one in (before, after))
    sizes = Reference.of(ours, 1).sizes(theirs)
    return float(sizes.variation[0]), float(sizes.stability[0])


def holding(**rows: int) -> list[int]:
    """So many rows in each of these cells, of names such as c3."""
    return [rows.get(f"c{cell}", 0) for cell in range(CELLS)]


@given(counts, counts)
@example(holding(c1=98, c3=2), holding(c1=50, c2=48, c3=2))
@example(holding(c5=500, c60=500), holding(c30=500, c60=500))
def test_never_more_than_all_of_it_and_never_much_less(before: list[int], after: list[int]) -> None:
    """Coarse cells keep all rows; what they hide lies within those of several cells, which hold little of before."""
    ours, theirs = sketch([before]), sketch([after])
    reference = Reference.of(ours, 1)
    assert reference.coarse(ours.counts.astype(np.float64)).sum() == pytest.approx(ours.rows)
    told = float(reference.sizes(theirs).variation[0])
    whole = float(np.abs(ours.shares - theirs.shares).sum() / 2)
    assert told <= whole + 1e-9
    held = reference.coarse(reference.shares)[0, :BINS]
    hidden = sum(one for one in held.tolist() if one <= COARSE * held.sum() + 1e-9)
    assert whole - told <= hidden + 1e-9


@given(counts)
def test_levels_and_what_is_missing_keep_their_cells(found: list[int]) -> None:
    """Of a level all of them; of a number the two without order."""
    ours = sketch([found, found])
    coarse = Reference.of(ours, 1).coarse(ours.shares)
    assert coarse[1].tolist() == ours.shares[1].tolist()
    assert coarse[0, [MISSING, UNSEEN]].tolist() == ours.shares[0, [MISSING, UNSEEN]].tolist()


@pytest.mark.parametrize("values", range(2, 8))
def test_a_number_of_few_values_is_told_by_each(values: int) -> None:
    """All rows say the first one where all values were alike often."""
    before = np.arange(ROWS) % values
    assert moved(before * 1.0, np.zeros(ROWS))[0] == pytest.approx(1 - 1 / values, abs=0.01)


def test_values_that_the_reference_lacks_are_told() -> None:
    """Between two of its own, as where it is another arm's answers of one window."""
    ours = sketch([holding(c1=98, c3=2)])
    variation = Reference.of(ours, 1).sizes(sketch([holding(c1=50, c2=48, c3=2)])).variation
    assert variation.tolist() == [pytest.approx(0.48)]


def test_a_number_that_hardly_varied_and_does_now() -> None:
    """Nearly all were 0; a seventh of them is out of the range of before, a little or far."""
    before = np.zeros(ROWS)
    before[:3] = 1.0
    for where in (-0.5, 1.5, -1e6, 1e6):
        after = np.where(np.arange(ROWS) % 7 == 0, where, 0.0)
        variation, stability = moved(before, after)
        assert variation == pytest.approx(1 / 7, abs=0.01), where
        assert stability > 0.25, where


def test_even_cells_make_eight() -> None:
    """A number of many values: as many coarse ones as before, and one on either side of all that was seen."""
    rng = np.random.default_rng(1)
    before = rng.normal(size=ROWS)
    binning = cut(before[:, None])
    reference = Reference.of(binning.sketch(numbers(before)), 1)
    assert np.count_nonzero(reference.coarse(reference.shares)) == 8
    wider = binning.sketch(numbers(3 * rng.normal(size=ROWS)))
    assert np.count_nonzero(reference.coarse(wider.shares)) == 8 + 2
