"""Hours of the week are those of a local clock, and the week is cut where each part has days and rows enough."""

from __future__ import annotations

import math
import tracemalloc
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.errors import Unfit
from drift.strata import FEWEST_DAYS, HOURS, MOST, MOST_BYTES, Clock, Strata, cuts, fewest_rows
from tests.examples import examples

_ZONES = ("UTC", "Europe/Vienna", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")
_MONDAY_S = datetime(2024, 3, 4, tzinfo=UTC).timestamp()
_DAY_S = 86_400.0


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=20), st.sampled_from(_ZONES))
@settings(max_examples=examples(200), deadline=None)
def test_a_clock_shows_what_people_see(moments: list[float], zone: str) -> None:
    """In every zone, in summer and in winter, and through the nights in which clocks are set."""
    days, hours = Clock(zone).read(np.array(moments))
    local = [datetime.fromtimestamp(math.floor(one), ZoneInfo(zone)) for one in moments]
    assert hours.tolist() == [one.weekday() * 24 + one.hour for one in local]
    assert days.tolist() == [one.toordinal() - datetime(1970, 1, 1, tzinfo=UTC).toordinal() for one in local]


def test_moments_that_no_calendar_has_are_read_all_the_same() -> None:
    """Whatever a request says of its time."""
    assert Clock("Asia/Tokyo").read(np.array([1e300, np.inf, -5.0])).hours.shape == (3,)


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../UTC", "Europe", "a\0b"])
def test_a_zone_that_nobody_knows_is_refused(zone: str) -> None:
    """With what may be missing."""
    with pytest.raises(Unfit, match="no time zone that this machine knows"):
        Clock(zone)


def _moments(seed: int, days: int, per_day: int) -> np.ndarray:  # type: ignore[type-arg]
    """Busy by day, quiet by night."""
    rng = np.random.default_rng(seed)
    hours = rng.triangular(0, 14, 24, days * per_day)
    return np.asarray(np.sort(_MONDAY_S + rng.integers(0, days, days * per_day) * _DAY_S + hours * 3_600))


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 400), st.integers(2, 60), st.integers(1, 600))
@settings(max_examples=examples(100), deadline=None)
def test_every_part_of_a_cut_week_has_days_and_rows_enough(
    seed: int, days: int, per_day: int, size: int, features: int
) -> None:
    """However few rows there are; hours of one part are neighbours, and the coarsest cut comes first."""
    at_s = _moments(seed, days, per_day)
    least, before = fewest_rows(len(at_s), size, features), 0
    for strata in cuts(Clock(), Clock().read(at_s), size, features):
        counted, codes = strata.counted(at_s), strata.of(at_s)
        assert counted.sum() == len(at_s)
        assert counted.min() >= least >= 10 * size
        assert strata.count * features * 66 * 8 <= MOST_BYTES
        assert all(np.unique(at_s[codes == at] // _DAY_S).size >= FEWEST_DAYS for at in range(strata.count))
        assert all(np.diff(day).min() >= 0 for day in strata.of_hour.astype(int).reshape(7, 24))
        kinds = len(np.unique(strata.of_hour.reshape(7, 24), axis=0))
        assert kinds > before
        before = kinds


def test_a_day_far_off_takes_no_more_than_its_rows() -> None:
    """Of the year 9999: the days between are not counted, and the week is cut as it was."""
    at_s = _moments(1, 21, 500)
    far = Clock().read(np.append(at_s, 253_000_000_000.0))
    tracemalloc.start()
    try:
        found = list(cuts(Clock(), far, 20, 3))
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()
    usual = list(cuts(Clock(), Clock().read(at_s), 20, 3))
    assert len(found) == len(usual) == 2
    assert [one.of_hour.tolist() for one in found] == [one.of_hour.tolist() for one in usual]


def test_the_more_rows_the_narrower_the_parts() -> None:
    """Four days are none; a week's days alike; three weeks with weekends; six with each day by itself."""
    kinds = {
        days: [
            len(np.unique(one.of_hour.reshape(7, 24), axis=0))
            for one in cuts(Clock(), Clock().read(_moments(1, days, 2_000)), 20, 3)
        ]
        for days in (4, 7, 21, 42)
    }
    assert kinds == {4: [], 7: [1], 21: [1, 2], 42: [1, 2, 7]}


def test_parts_are_named_as_people_name_them() -> None:
    """Days and hours; the rarest of a window together, with the zone."""
    codes = np.zeros((7, 24), np.uint8)
    codes[:5, 9:17], codes[:5, 17:], codes[5:, :12], codes[5:, 12:], codes[:5, :9] = 1, 2, 3, 4, 0
    strata = Strata(Clock("Europe/Vienna"), codes.reshape(HOURS))
    assert strata.names == (
        "Monday to Friday 0-9", "Monday to Friday 9-17", "Monday to Friday 17-24", "Saturday to Sunday 0-12",
        "Saturday to Sunday 12-24",
    )  # fmt: skip
    assert strata.words(np.array([0, 30, 10, 0, 0])) == (
        "Monday to Friday 9-17 (75%), Monday to Friday 17-24 (25%), Europe/Vienna"
    )
    assert strata.words(np.array([1, 5, 4, 3, 2])).endswith("Saturday to Sunday 12-24 (13%), 1 more, Europe/Vienna")
    assert not strata.words(np.zeros(5, np.int64))


def test_one_day_and_all_days_are_named_so() -> None:
    """Not as from Monday to Monday, nor to Sunday."""
    codes = np.zeros((7, 24), np.uint8)
    codes[:, 12:] = 1
    assert Strata(Clock(), codes.reshape(HOURS)).names == ("daily 0-12", "daily 12-24")
    codes = np.repeat(np.arange(7, dtype=np.uint8), 24)
    assert Strata(Clock(), codes).names[3] == "Thursday 0-24"


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros(HOURS, np.uint8),
        np.arange(24, dtype=np.uint8),
        np.arange(HOURS, dtype=np.uint8),
        np.full(HOURS, 3, np.uint8),
    ],
    ids=["one part", "a day", "too many", "not from 0"],
)
def test_a_cut_that_is_none_is_refused(codes: np.ndarray) -> None:  # type: ignore[type-arg]
    """A baseline's bytes may say anything."""
    with pytest.raises(Unfit, match=f"2 to {MOST} strata"):
        Strata(Clock(), codes)
