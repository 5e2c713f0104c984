"""Distances of texts are those of the obvious way, and cost no more than they may."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.keeping.edits import LONGEST, distance, share
from tests.examples import examples

texts = st.text("abcé", max_size=12)


def obvious(one: str, other: str) -> int:
    """The table of Wagner and Fischer, row by row."""
    row = list(range(len(other) + 1))
    for nth, letter in enumerate(one, 1):
        new = [nth]
        for at, their in enumerate(other):
            new.append(min(row[at] + (letter != their), row[at + 1] + 1, new[at] + 1))
        row = new
    return row[-1]


@settings(max_examples=examples(400))
@given(texts, texts)
def test_the_distance_is_that_of_the_obvious_way(one: str, other: str) -> None:
    """For any two texts, whichever comes first."""
    assert distance(one, other) == distance(other, one) == obvious(one, other)


def test_a_share_is_of_the_longer_text() -> None:
    """From 0 for the same, also for nothing, to 1 for nothing in common."""
    assert (share("", ""), share("ab", "ab"), share("ab", "cd"), share("abcd", "abce")) == (0.0, 0.0, 1.0, 0.25)


def test_long_texts_are_counted_to_a_length_and_not_beyond() -> None:
    """The longest that is compared has a distance; one letter more is refused."""
    one = "ab" * (LONGEST // 2)
    assert distance(one, one[1:] + "c") == 2
    with pytest.raises(ValueError, match="not compared by letter"):
        distance(one + "a", "a")
