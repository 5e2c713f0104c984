"""The drift demo's rows are each in one part, and what happens to them is what is said."""

from __future__ import annotations

import numpy as np

from serving.demo.world import EARLIER, HELD, LATER, TRAINED, turned, world


def test_every_digit_is_in_one_part() -> None:
    """All rows of the data set, each in one part, and none of them twice."""
    parts = world()
    assert [len(part.labels) for part in parts] == [TRAINED, HELD, EARLIER, LATER]
    assert sum(len(part.labels) for part in parts) == 1_797
    rows = np.concatenate([part.pixels for part in parts])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(parts, world(), strict=True))


def test_turned_digits_are_the_same_digits_askew() -> None:
    """Same labels, same range, another picture; a full turn leaves it as it was."""
    before = world().later
    after = turned(before)
    assert np.array_equal(before.labels, after.labels)
    assert (after.pixels.shape, after.pixels.dtype) == (before.pixels.shape, before.pixels.dtype)
    assert 0 <= after.pixels.min() <= after.pixels.max() <= 16
    assert np.abs(after.pixels - before.pixels).mean() > 1
    assert np.allclose(turned(before, 360).pixels, before.pixels, atol=1e-3)
