"""A freeze covers the hours that it names, in its own distance from UTC, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import PlanError
from router.freeze import DAYS, Dated, Weekly, frozen_by

WEEKEND = Weekly("weekend", "fri 16:00", "mon 08:00")
HOLIDAYS = Dated("holidays", "2026-12-20T00:00:00+01:00", "2027-01-02T00:00:00+01:00")

moments = st.tuples(st.sampled_from(DAYS), st.integers(0, 23), st.integers(0, 59))


def said(moment: tuple[str, int, int]) -> str:
    """'fri 16:00'."""
    return f"{moment[0]} {moment[1]:02}:{moment[2]:02}"


def minute(moment: tuple[str, int, int]) -> int:
    """Of the week, from Monday."""
    return DAYS.index(moment[0]) * 1_440 + moment[1] * 60 + moment[2]


@given(moments, moments, st.integers(-14 * 60, 14 * 60), st.integers(0, 4_000_000_000))
def test_a_weekly_freeze_covers_what_the_calendar_says(
    begins: tuple[str, int, int], ends: tuple[str, int, int], offset: int, now_s: int
) -> None:
    """Judged by the standard library's calendar, minute by minute of the week, around its end as well."""
    if begins == ends:
        return
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    freeze = Weekly("x", said(begins), said(ends), f"{sign}{hours:02}:{minutes:02}")
    local = datetime.fromtimestamp(now_s, UTC).astimezone(timezone(timedelta(minutes=offset)))
    now = local.weekday() * 1_440 + local.hour * 60 + local.minute
    first, last = minute(begins), minute(ends)
    assert freeze.covers(now_s) is (first <= now < last if first < last else now >= first or now < last)


def test_a_dated_freeze_covers_from_one_moment_to_another() -> None:
    """The second no longer in it."""
    begins = datetime(2026, 12, 19, 23, tzinfo=UTC).timestamp()
    ends = datetime(2027, 1, 1, 23, tzinfo=UTC).timestamp()
    assert [HOLIDAYS.covers(at) for at in (begins - 1, begins, ends - 1, ends)] == [False, True, True, False]


def test_the_first_freeze_that_covers_is_named() -> None:
    """Or none is."""
    friday = datetime(2026, 12, 25, 20, tzinfo=UTC).timestamp()
    assert frozen_by((WEEKEND, HOLIDAYS), friday) is WEEKEND
    assert frozen_by((HOLIDAYS, WEEKEND), friday) is HOLIDAYS
    assert frozen_by((WEEKEND, HOLIDAYS), datetime(2026, 12, 2, tzinfo=UTC).timestamp()) is None
    assert frozen_by((), friday) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"begins": "Fri 16:00"},
        {"begins": "fri 24:00"},
        {"begins": "fri"},
        {"begins": None},
        {"ends": "fri 16:00"},
        {"utc": "Z"},
        {"utc": "+14:01"},
        {"utc": None},
    ],
)
def test_a_weekly_freeze_that_cannot_be_is_not_built(fields: dict[str, str]) -> None:
    """No such moment, no such distance, or empty."""
    with pytest.raises(PlanError):
        Weekly(**{"name": "x", "begins": "fri 16:00", "ends": "mon 08:00", **fields})


@pytest.mark.parametrize(
    "fields", [{"name": "x" * 65}, {"begins": "2026-12-20"}, {"ends": "2026-12-20T00:00:00+01:00"}, {"ends": None}]
)
def test_a_dated_freeze_that_cannot_be_is_not_built(fields: dict[str, str]) -> None:
    """A moment without its distance from UTC could mean several."""
    with pytest.raises(PlanError):
        Dated(**{"name": "x", "begins": HOLIDAYS.begins, "ends": HOLIDAYS.ends, **fields})
