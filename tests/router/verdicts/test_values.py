"""Values are summed without rounding, whatever their order."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.evidence.errors import EvidenceError
from router.evidence.samples import Sample
from router.verdicts.values import FIELDS, LARGEST, Values, billionths, counters, values_from
from tests.examples import examples

VALUE = st.floats(-LARGEST, LARGEST, allow_nan=False)


@given(st.lists(VALUE, max_size=30))
@settings(max_examples=examples(100))
def test_counters_added_up_in_any_order_are_the_sums(values: list[float]) -> None:
    """Every counter is a whole number, so addition has no order."""
    sums: dict[str, int] = {}
    for value in reversed(values):
        for name, part in counters(value).items():
            sums[name] = sums.get(name, 0) + part
    assert set(sums) <= set(FIELDS)
    assert values_from(sums) == Values.of(values)


@given(VALUE)
@settings(max_examples=examples(100))
def test_one_value_fits_into_counters_of_64_bits_nine_billion_times(value: float) -> None:
    """No counter of one value is over a billion."""
    assert all(abs(part) <= 10**9 for part in counters(value).values())


def test_a_value_is_that_of_its_decimals() -> None:
    """Not of the binary fraction next to it; the tenth decimal is rounded, halves to even."""
    assert billionths(0.1) == 100_000_000
    assert billionths(-1e-10) == 0
    assert billionths(2.5e-9) == 2
    assert billionths(1e9) == 10**18


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30))
@settings(max_examples=examples(50))
def test_the_sample_is_that_of_the_values(values: list[int]) -> None:
    """Mean and spread, also where the spread is tiny beside the mean."""
    far = [value / 1000 + 1e6 for value in values]
    found, expected = Values.of(far).sample, Sample.of([value / 1000 for value in values])
    assert found.count == expected.count
    assert found.mean - 1e6 == pytest.approx(expected.mean, abs=1e-6)
    assert found.squares == pytest.approx(expected.squares, rel=1e-6, abs=1e-9)


def test_what_was_added_since_is_the_difference() -> None:
    """And both together are the whole."""
    before, after = Values.of([1.0, 2.0]), Values.of([1.0, 2.0, 0.25])
    assert after.since(before) == Values.of([0.25])
    assert before.plus(Values.of([0.25])) == after
    assert Fraction(after.sum) == Fraction(13, 4)
    assert Values().mean == 0


def test_sums_of_no_values_are_refused() -> None:
    """A count below zero, or squares that are too small for their sum."""
    for wrong in ((-1, 0, 0), (1, 2, 3), (0, 1, 1)):
        with pytest.raises(EvidenceError):
            Values(*wrong)
