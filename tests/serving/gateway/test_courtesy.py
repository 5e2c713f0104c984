"""Copies step back where a queue grows, and come forward again one by one; what they keep and read has its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.endpoint import NO_LOAD, Load
from serving.gateway.courtesy import FIRST, MOST, Courtesy, queues
from serving.gateway.shelf import Pace, Shelf
from tests.examples import examples

ended = st.tuples(st.floats(0, 10), st.booleans(), st.integers(1, 300))


@given(st.lists(ended, max_size=200))
@settings(max_examples=examples(100))
def test_there_is_always_room_for_one_and_never_for_all(copies: list[tuple[float, bool, int]]) -> None:
    """Whatever becomes of copies: so a queue that is gone is noticed, and nothing grows without end."""
    courtesy, now = Courtesy(), 0.0
    for took_s, well, in_flight in copies:
        now += took_s
        courtesy.ended(took_s, now, in_flight, well=well)
        assert 1 <= courtesy.limit <= MOST
    assert courtesy.lets(0)
    assert not courtesy.lets(MOST)


def test_copies_that_hang_are_soon_few() -> None:
    """Each round of them halves what may be under way, down to one at a time."""
    courtesy, rounds = Courtesy(), []
    for now in range(10, 100, 10):
        rounds.append(int(courtesy.limit))
        for _ in range(int(courtesy.limit)):  # all of them are late in one tick
            courtesy.ended(10.0, float(now), int(courtesy.limit), well=False)
    assert rounds == [FIRST, 32, 16, 8, 4, 2, 1, 1, 1]


def test_a_queue_is_seen_in_how_long_copies_take() -> None:
    """They used to take 10 ms; when they take 100 there are fewer, and once they do not there are more again."""
    courtesy, now = Courtesy(), 0.0

    def go_on(count: int, took_s: float) -> None:
        nonlocal now
        for _ in range(count):
            now += took_s
            courtesy.ended(took_s, now, int(courtesy.limit), well=True)

    go_on(500, 0.01)
    calm = courtesy.limit
    assert calm >= FIRST
    go_on(10, 0.1)
    crowded = courtesy.limit
    assert crowded < calm / 2
    go_on(2_000, 0.01)
    assert courtesy.limit > 2 * crowded


def test_an_allowance_that_nobody_uses_does_not_grow() -> None:
    """One copy at a time says nothing of what sixty would do."""
    courtesy = Courtesy()
    for now in range(1_000):
        courtesy.ended(0.01, float(now), 1, well=True)
    assert courtesy.limit == FIRST


@pytest.mark.parametrize(
    ("load", "capacity", "crowded"),
    [
        (NO_LOAD, 1, False),
        (Load(0), 1, False),
        (Load(16), 1, False),
        (Load(17), 1, True),
        (Load(40), 16, False),
        (Load(65), 16, True),
        (Load(40, 1_000.0), 1, False),
        (Load(60, 1_000.0), 1, True),
        (Load(3, 10.0), 4, False),
        (Load(5, 10.0), 4, True),
    ],
)
def test_a_queue_is_what_takes_a_moment_to_work_off(load: Load, capacity: int, crowded: bool) -> None:  # noqa: FBT001
    """By the rate that the server was found to have; where nobody knows that, by how much it works on at once."""
    assert queues(load, capacity) is crowded


def test_a_shelf_is_full_at_its_bound() -> None:
    """And has room again for as much as is taken off it."""
    shelf = Shelf(10)
    assert shelf.put(6)
    assert not shelf.put(5)
    assert (shelf.kept, shelf.refused) == (6, 1)
    shelf.take(1)
    assert shelf.put(5)
    assert shelf.kept == 10


@given(st.lists(st.integers(1, 262_144), min_size=1, max_size=100))
@settings(max_examples=examples(100))
def test_reading_keeps_its_pace(sizes: list[int]) -> None:
    """Whoever waits as long as told has read no more than the rate allows, and a burst, and one piece."""
    pace, now = Pace(per_s=1_000_000.0), 0.0
    for size in sizes:
        now += pace.wait_s(size, now)
    assert sum(sizes) <= 1_000_000.0 * now + 2 * 262_144
