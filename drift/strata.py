"""Hours of the week as strata: what is calm on a Monday morning need not be calm on a Sunday night.

A stratum is a block of neighbouring hours on days of one kind: all days alike, Monday to Friday and the weekend apart,
or each day of the week by itself. Hours are those of a local clock, for people live by theirs. Blocks are as long as
it takes for each to have been seen on several days and to hold many windows, so they are narrow where traffic is heavy
and wide where there is little of it. Whether the hours differ at all is `drift.measuring`'s to find out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache, cached_property
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from drift.errors import Unfit
from drift.schema import CELLS, Codes, Floats

Whole = NDArray[np.int64]

HOURS: Final = 168
"""Of a week, the first one Monday's after midnight."""

FEWEST_DAYS: Final = 5
"""On which a stratum was seen: what is left of one day's oddities in the mean of so many is small."""

FEWEST_WINDOWS: Final = 10
"""Of rows that a stratum holds: what it is known by errs a tenth as much as a window at most."""

MOST: Final = 48
"""Strata of one side."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of all their counts: with many features there are fewer of them."""

DEFAULT_ZONE: Final = "UTC"

_KINDS: Final = (((0, 7),), ((0, 5), (5, 7)), tuple((day, day + 1) for day in range(7)))
_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_MINUTE_S: Final = 60  # clocks of all zones are set at whole minutes
_FIRST_WEEKDAY: Final = 3  # 1970 began on a Thursday
_LAST_S: Final = 253_402_214_400.0  # of the year 9999, a day before its end
_MOST_NAMED: Final = 4


class Read(NamedTuple):
    """What a clock shows.

    Attributes:
        days: since 1970, shape as the moments'.
        hours: of the week, 0 to 167.
    """

    days: Whole
    hours: Whole


@dataclass(frozen=True, slots=True)
class Clock:
    """A local clock.

    Attributes:
        zone: its IANA name, such as Europe/Vienna.

    Raises:
        Unfit: this machine knows no such zone.
    """

    zone: str = DEFAULT_ZONE

    def __post_init__(self) -> None:
        _zone(self.zone)

    def read(self, at_s: Floats) -> Read:
        """What it shows at these moments, seconds since 1970; of those that no calendar has, the nearest it has."""
        seconds = np.floor(np.clip(at_s, 0.0, _LAST_S)).astype(np.int64)
        minutes, where = np.unique(seconds // _MINUTE_S, return_inverse=True)
        zone = _zone(self.zone)
        ahead = np.array([_ahead_s(zone, one * _MINUTE_S) for one in minutes.tolist()], np.int64)
        local = seconds + ahead[where.reshape(seconds.shape)]
        days = local // _DAY_S
        return Read(days, (days + _FIRST_WEEKDAY) % 7 * 24 + local % _DAY_S // _HOUR_S)


@dataclass(frozen=True)
class Strata:
    """The hours of the week, cut.

    Attributes:
        clock: whose hours.
        of_hour: the stratum of each, shape (HOURS,); all from 0 to the highest one occur.

    Raises:
        Unfit: it is no such cut, or none at all.
    """

    clock: Clock
    of_hour: Codes

    def __post_init__(self) -> None:
        found = np.unique(self.of_hour)
        if self.of_hour.shape != (HOURS,) or not 1 < found.size <= MOST or found[-1] != found.size - 1:
            raise Unfit(f"A week of {HOURS} hours is cut into 2 to {MOST} strata, numbered from 0.")

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.of_hour.max()) + 1

    def of(self, at_s: Floats) -> Codes:
        """The stratum of each moment, seconds since 1970."""
        return np.asarray(self.of_hour[self.clock.read(at_s).hours], np.uint8)

    def counted(self, at_s: Floats) -> Whole:
        """How many of these moments each stratum has, shape (count,)."""
        return np.bincount(self.of(at_s), minlength=self.count).astype(np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Such as 'Monday to Friday 9-12'."""
        week = self.of_hour.reshape(7, 24)
        return tuple(_named(week == stratum) for stratum in range(self.count))

    def words(self, rows: Whole) -> str:
        """These rows by stratum in words: 'Monday to Friday 9-12 (80%), …, Europe/Vienna'; '' for none."""
        total = int(rows.sum())
        if not total:
            return ""
        most = [at for at in np.argsort(-rows, kind="stable")[:_MOST_NAMED].tolist() if rows[at]]
        named = [f"{self.names[at]} ({rows[at] / total:.0%})" for at in most]
        others = int((rows > 0).sum()) - len(most)
        return ", ".join([*named, *([f"{others} more"] if others else []), self.clock.zone])


def cuts(clock: Clock, read: Read, size: int, features: int) -> Iterator[Strata]:
    """The ways in which a reference can be cut, the coarsest first; none where it has too few rows or days.

    Args:
        clock: whose hours.
        read: what it showed at each row, shape (rows,).
        size: rows of a window.
        features: of a row.
    """
    days, hours = read
    there, row_of = np.unique(days, return_inverse=True)  # few, though one row's date may be of the year 9999
    seen = np.zeros((len(there), 24), np.int64)
    np.add.at(seen, (row_of.reshape(days.shape), hours % 24), 1)
    weekdays = (there + _FIRST_WEEKDAY) % 7
    least = fewest_rows(len(days), size, features)
    for kind in _KINDS:
        groups = [_blocks(seen[(weekdays >= first) & (weekdays < end)], least) for first, end in kind]
        if all(groups) and sum(map(len, groups)) > 1:
            yield Strata(clock, _codes(kind, groups))


def fewest_rows(rows: int, size: int, features: int) -> int:
    """How many a stratum must have: windows enough, and so many that there are not too many strata."""
    most = min(MOST, MOST_BYTES // (features * CELLS * 8))
    return max(FEWEST_WINDOWS * size, -(-rows // most) if most else rows)


def _blocks(seen: Whole, least: int) -> list[int]:
    """The hours at which blocks begin; what is left at the end belongs to the last one. None where one takes more.

    Args:
        seen: rows of each hour of each day that has any, shape (days, 24).
        least: rows that a block has.
    """
    begins, begin = [], 0
    for end in range(1, 25):
        block = seen[:, begin:end]
        if block.sum() >= least and block.any(axis=1).sum() >= FEWEST_DAYS:
            begins.append(begin)
            begin = end
    return begins


def _codes(kind: tuple[tuple[int, int], ...], groups: list[list[int]]) -> Codes:
    codes, before = np.zeros((7, 24), np.uint8), 0
    for (first, end), begins in zip(kind, groups, strict=True):
        codes[first:end] = before + np.searchsorted(begins, np.arange(24), side="right") - 1
        before += len(begins)
    return codes.reshape(HOURS)


def _named(here: NDArray[np.bool_]) -> str:
    """Of one stratum's hours, shape (7, 24)."""
    days, hours = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
    first, last = _NAMES[days[0]], _NAMES[days[-1]]
    named = first if first == last else "daily" if days.size == len(_NAMES) else f"{first} to {last}"
    return f"{named} {hours[0]}-{hours[-1] + 1}"


def _ahead_s(zone: tzinfo, at_s: int) -> int:
    """By how much that zone's clock is ahead of UTC's."""
    ahead = datetime.fromtimestamp(at_s, zone).utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds())


@cache
def _zone(name: str) -> tzinfo:
    if name == DEFAULT_ZONE:  # which takes no file of zones
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise Unfit(f"{name!r:.80} is no time zone that this machine knows; it may lack tzdata.") from error
