"""Numbers in documents: whole or not, within bounds that may be left out, and never one that is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.schema import mistakes

RATE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
RATIO = {"type": "number", "minimum": 1, "maximum": 1_000, "description": "an odds ratio from 1 to 1,000"}


@given(st.floats() | st.integers() | st.integers(-2, 2))
def test_a_number_is_taken_exactly_within_its_bounds(value: float) -> None:
    """The bounds of a rate are none of it, those of a ratio are; what is not finite is no number."""
    assert (not list(mistakes(RATE, value))) is (math.isfinite(value) and 0 < value < 1)
    assert (not list(mistakes(RATIO, value))) is (math.isfinite(value) and 1 <= value <= 1_000)


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], math.nan, math.inf])
def test_what_is_no_number_is_refused_once(value: object) -> None:
    """By its kind, and not by its bounds as well."""
    assert len(list(mistakes(RATE, value))) == 1


def test_a_number_that_no_float_holds_is_compared_all_the_same() -> None:
    """Documents may hold whole numbers of any length."""
    [said] = mistakes(RATIO, 10**400)
    assert said.endswith("it is an odds ratio from 1 to 1,000")
    [said] = mistakes(RATE, -(10**400), at="harm")
    assert said.endswith("it is number between 0 and 1")
