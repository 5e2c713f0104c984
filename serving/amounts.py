"""Percentages and times as people type them, and as they are shown. Pure.

The steps of a canary are percentages, so a bare number among them is one. A share that stands alone has its unit, here
as in files and over HTTP, for 10 could mean 10 % or ten parts per million. A bare time is refused everywhere: ten of
what?
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from router.policy import WHOLE, check_version, parse_share
from router.stage import LONGEST_S

_PLAIN: Final = re.compile(r"\d{1,3}(\.\d{1,9})?", re.ASCII)
_FRACTION: Final = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})", re.ASCII)
_PAIR: Final = re.compile(r"\s*(\d{1,10})\s*[=:]\s*(.+)", re.ASCII)
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)", re.ASCII)
_ZERO: Final = re.compile(r"0+", re.ASCII)

_SECONDS: Final[Mapping[str, int]] = MappingProxyType({"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1})
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: unit
        for unit, names in {
            "w": "w week weeks",
            "d": "d day days",
            "h": "h hr hrs hour hours",
            "m": "m min mins minute minutes",
            "s": "s sec secs second seconds",
        }.items()
        for name in names.split()
    }
)


def step_of(text: str) -> int:
    """Parts per million from '12.5', which is a percentage, or whatever `share_of` reads.

    Raises:
        ValueError: as there.
    """
    said = text.strip()
    return share_of(f"{said}%" if _PLAIN.fullmatch(said) else said)


def share_of(text: str) -> int:
    """Parts per million from '12.5%', '125000ppm', '1/8' or '0'.

    Raises:
        ValueError: no share, one without its unit, more than all traffic, or finer than one part per million.
    """
    said = text.strip()
    if found := _FRACTION.fullmatch(said):
        return _fraction(said, int(found[1]), int(found[2]))
    return parse_share(said)


def pair_of(text: str) -> tuple[int, int]:
    """(version, parts per million) from '2=12.5%'.

    Raises:
        ValueError: not of that form.
    """
    found = _PAIR.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not of the form VERSION=SHARE, such as 2=50%")
    version = int(found[1])
    check_version(version)
    return version, share_of(found[2])


def seconds_of(text: str) -> int:
    """Whole seconds from '1h30m', '90s', '1.5h', '10 min' or '2 days'.

    Raises:
        ValueError: no time, a part of a second, or more than a year; says which.
    """
    said = text.strip().lower()
    if _ZERO.fullmatch(said):
        return 0
    parts = _PART.findall(said)
    if not parts or _PART.sub("", said).strip() or any(name not in _NAMES for _, name in parts):
        raise ValueError(f"{text!r} is no time: write it like 90s, 10m, 1h30m or 1d (a bare number could be either)")
    total = sum((Decimal(number) * _SECONDS[_NAMES[name]] for number, name in parts), Decimal(0))
    if total != total.to_integral_value():
        raise ValueError(f"{text!r} is no whole number of seconds")
    if total > LONGEST_S:
        raise ValueError(f"{text!r} is longer than {time_of(LONGEST_S)}, the longest time that a plan may hold")
    return int(total)


def time_of(seconds: float) -> str:
    """'1h30m' from 5,400: whole seconds, rounded up, in no more units than it needs."""
    left = -int(-seconds // 1)
    said = ""
    for unit in "dhms":
        count, left = divmod(left, _SECONDS[unit])
        said += f"{count}{unit}" if count else ""
    return said or "0s"


def percent_of(share_ppm: int) -> str:
    """'12.5%' from 125,000: as documents have it, exact."""
    whole, rest = divmod(share_ppm, WHOLE // 100)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + "%"


def _fraction(said: str, above: int, below: int) -> int:
    share = Fraction(above, below) * WHOLE if below else None
    if share is None or share > WHOLE:
        raise ValueError(f"{said!r} is more than all traffic: a share is at most 1/1")
    if share.denominator != 1:
        nearest = percent_of(round(share))
        raise ValueError(f"{said!r} is no whole number of parts per million: {nearest} is the nearest share there is")
    return share.numerator
