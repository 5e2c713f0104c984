"""P-values are uniform at best in calm, e-values average one at most, and too few rows are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.calibration import WINDOWS, Cutting, Null, combined, log_average, log_e_of
from drift.errors import Unfit
from tests.examples import examples


@given(st.integers(1, 2_000))
@settings(max_examples=examples(100), deadline=None)
def test_e_values_of_ranks_average_one_at_most(windows: int) -> None:
    """Exactly: a window in calm takes each rank among those of the reference equally often."""
    e = [math.exp(log_e_of((1 + rank) / (1 + windows))) for rank in range(windows + 1)]
    assert sum(e) / len(e) <= 1.0


@pytest.mark.parametrize("draw", ["normal", "exponential", "chisquare"])
def test_e_values_average_one_at_most_with_the_tail(draw: str) -> None:
    """Also where a tail stands for the ranks, over references and windows; two standard errors of doubt."""
    rng = np.random.default_rng(4)
    sample: dict[str, Callable[[int], Any]] = {
        "normal": lambda n: rng.normal(size=n),
        "exponential": lambda n: rng.exponential(size=n),
        "chisquare": lambda n: rng.chisquare(5, n),
    }
    means = []
    for _ in range(60):
        null = Null(sample[draw](WINDOWS), WINDOWS)
        means.append(np.mean([math.exp(log_e_of(null.p_value(float(one)))) for one in sample[draw](200)]))
    assert np.mean(means) - 2 * np.std(means) / math.sqrt(len(means)) <= 1.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(-1e7, 1e7), st.floats(-1e7, 1e7))
@settings(max_examples=examples(200), deadline=None)
def test_a_higher_score_is_never_likelier(scores: list[float], a: float, b: float) -> None:
    """And a p-value is between one in ten times the windows and one."""
    null = Null(np.array(scores), len(scores))
    low, high = sorted((a, b))
    assert 1 / (10 * len(scores)) <= null.p_value(high) <= null.p_value(low) <= 1


def test_several_p_values_keep_the_level_of_one() -> None:
    """Independent ones, and the same one three times; three standard errors of doubt."""
    rng = np.random.default_rng(5)
    for drawn in (rng.random((40_000, 3)), np.repeat(rng.random((40_000, 1)), 3, axis=1)):
        rate = np.mean([combined(one) <= 0.05 for one in drawn.tolist()])
        assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(drawn))
    assert combined([1.0, 1.0]) == 1.0


def test_the_average_of_e_values_is_their_average() -> None:
    """In logs, far beyond what a float holds."""
    assert log_average([math.log(2), math.log(4)]) == pytest.approx(math.log(3))
    assert log_average([800.0, -800.0]) == pytest.approx(800 - math.log(2))
    assert log_average([]) == 0.0


@pytest.mark.parametrize(
    ("rows", "size", "ordered", "said"),
    [
        (99, 10, False, "takes? 100"),
        (900, 500, False, "take 1,000"),
        (1_900, 100, True, "19 independent windows"),
        (1_000, 1, False, "no distribution"),
    ],
    ids=["rows", "two windows", "independent", "window of one"],
)
def test_too_little_is_refused_with_what_it_takes(rows: int, size: int, ordered: bool, said: str) -> None:  # noqa: FBT001 - a case
    """Calm cannot be known from a handful of windows."""
    with pytest.raises(Unfit, match=said):
        Cutting(rows, size, ordered)


def test_windows_are_neighbours_where_rows_have_an_order() -> None:
    """From the first row to the last; drawn with replacement where they have none."""
    ordered = list(Cutting(2_000, 100, ordered=True).windows())
    assert (ordered[0], ordered[-1], len(ordered)) == (slice(0, 100), slice(1_900, 2_000), WINDOWS)
    drawn = list(Cutting(2_000, 100, ordered=False).windows())
    assert len(drawn) == WINDOWS
    assert all(isinstance(one, np.ndarray) and len(one) == 100 for one in drawn)


def test_scores_that_are_no_numbers_are_no_calm() -> None:
    """Nor are none."""
    for scores in ([], [1.0, math.nan]):
        with pytest.raises(Unfit):
            Null(np.array(scores), 1)
