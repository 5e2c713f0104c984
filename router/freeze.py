"""Freeze windows: the hours in which no share grows. What takes a version back is never held up by one.

A window is weekly (`fri 16:00` to `mon 08:00`) or has two dates. Time is an argument, in seconds since 1970, and a
window's own clock is a fixed distance from UTC: rules about summer time live in files that change, and a decision
must not depend on which of them a host has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from router.errors import PlanError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = 1_440
_EVERY_WEEK = 10_080
_THURSDAY = 3
"""The weekday of 1 January 1970."""

_FARTHEST_OFFSET = 14 * 60
_LONGEST_NAME = 64
_MOMENT = re.compile(r"(?P<day>mon|tue|wed|thu|fri|sat|sun) (?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)", re.ASCII)
_OFFSET = re.compile(r"(?P<sign>[+-])(?P<hours>[01]\d):(?P<minutes>[0-5]\d)", re.ASCII)
_NUMBERS = MappingProxyType({day: number for number, day in enumerate(DAYS)})


@dataclass(frozen=True, slots=True)
class Weekly:
    """From one moment of each week to another, the second no longer in it.

    Attributes:
        name: what people call it: 'weekend'.
        begins: `fri 16:00`.
        ends: `mon 08:00`.
        utc: the window's distance from UTC: `+00:00`, `-05:30`.
    """

    name: str
    begins: str
    ends: str
    utc: str = "+00:00"

    def __post_init__(self) -> None:
        _check_name(self.name)
        if _minute_of(self.begins) == _minute_of(self.ends):
            raise PlanError(f"the freeze '{self.name}' begins when it ends: it would be empty, or always")
        _offset_of(self.utc)

    def covers(self, now_s: float) -> bool:
        """Whether this moment (seconds since 1970) is in the window."""
        minutes = int(now_s // 60) + _offset_of(self.utc) + _THURSDAY * _EVERY_DAY
        begins = _minute_of(self.begins)
        return (minutes - begins) % _EVERY_WEEK < (_minute_of(self.ends) - begins) % _EVERY_WEEK


@dataclass(frozen=True, slots=True)
class Dated:
    """From one date and time to another, each with its distance from UTC: `2026-12-20T00:00:00+01:00`."""

    name: str
    begins: str
    ends: str

    def __post_init__(self) -> None:
        _check_name(self.name)
        if _second_of(self.begins) >= _second_of(self.ends):
            raise PlanError(f"the freeze '{self.name}' ends before it begins")

    def covers(self, now_s: float) -> bool:
        """Whether this moment (seconds since 1970) is in the window."""
        return _second_of(self.begins) <= now_s < _second_of(self.ends)


Freeze = Weekly | Dated


def frozen_by(freezes: tuple[Freeze, ...], now_s: float) -> Freeze | None:
    """The first window that covers this moment."""
    return next((freeze for freeze in freezes if freeze.covers(now_s)), None)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise PlanError(f"{name!r} is no name of a freeze: it has 1 to {_LONGEST_NAME} printable characters")


def _minute_of(moment: object) -> int:
    found = _MOMENT.fullmatch(moment) if isinstance(moment, str) else None
    if not found:
        raise PlanError(f"{moment!r} is no moment of a week: write it like 'fri 16:00'")
    return _NUMBERS[found["day"]] * _EVERY_DAY + int(found["hour"]) * 60 + int(found["minute"])


def _offset_of(utc: object) -> int:
    found = _OFFSET.fullmatch(utc) if isinstance(utc, str) else None
    minutes = int(found["hours"]) * 60 + int(found["minutes"]) if found else _FARTHEST_OFFSET + 1
    if not found or minutes > _FARTHEST_OFFSET:
        raise PlanError(f"{utc!r} is no distance from UTC: write it like '+01:00'")
    return minutes if found["sign"] == "+" else -minutes


def _second_of(moment: object) -> float:
    try:
        found = datetime.fromisoformat(moment)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is None:
        raise PlanError(f"{moment!r} is no moment with its distance from UTC: write it like 2026-12-20T00:00:00+01:00")
    return found.timestamp()
