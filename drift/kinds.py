"""What one value in the `drift` section takes: shares, durations, addresses, each with the words for a wrong one.

Every check here ends in the same kind of sentence, 'it takes …': whoever reads settings puts the key before it. Which
key takes which kind is left to `drift.settings`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, SecretStr

from drift.sampling import WHOLE

OURSELVES: Final = "self"
"""In the place of a webhook's address: the rollback target of this very installation."""

FEWEST_LEARNED: Final = 2_000
"""Live requests of which a baseline is learned, at least: twenty windows of a hundred rows."""

_MOST_PAUSES: Final = 32
_LONGEST_NAME: Final = 64
_SHARE: Final = re.compile(r"(?P<number>\d{1,7}(\.\d{1,6})?)\s*(?P<unit>%|ppm)")


def _number(low: float, high: float) -> BeforeValidator:
    """A number between the two; digits in quotes will do, since the environment has nothing else."""

    def check(value: object) -> float:
        try:
            found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not low <= found <= high:
            raise ValueError(f"it takes a number from {low:g} to {high:g}")
        return found

    return BeforeValidator(check)


def _whole(low: int, high: int) -> BeforeValidator:
    """A whole number between the two; digits in quotes will do."""

    def check(value: object) -> int:
        found = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise ValueError(f"it takes a whole number from {low} to {high}")
        return found

    return BeforeValidator(check)


def _share(value: object) -> int:
    """Parts per million, of what has a unit: a bare number could mean anything."""
    found = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    ppm = Decimal(found["number"]) * (10_000 if found["unit"] == "%" else 1) if found else Decimal(-1)
    if not 0 <= ppm <= WHOLE or ppm != ppm.to_integral_value():
        raise ValueError("it takes a share of 0% to 100%, such as 10% or 100000ppm, in whole parts per million")
    return int(ppm)


def _switch(value: object) -> bool:
    said = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(said, bool):
        raise ValueError("it takes true or false")  # noqa: TRY004 - pydantic lets a TypeError through
    return said


def _orderly(matches: Callable[[str], bool], allowed: str) -> BeforeValidator:
    def check(value: object) -> object:
        said = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(said, str) or not matches(said):
            raise ValueError(f"it takes {allowed}")
        return value

    return BeforeValidator(check)


def _enough(value: int) -> int:
    if 0 < value < FEWEST_LEARNED:
        raise ValueError(f"it takes 0 (never), or {FEWEST_LEARNED:,} and more")
    return value


def _bounded(pauses: tuple[float, ...]) -> tuple[float, ...]:
    if not 1 <= len(pauses) <= _MOST_PAUSES:
        raise ValueError(f"it takes 1 to {_MOST_PAUSES} pauses in seconds, such as [5, 30, 120]")
    return pauses


def _is_hook(value: str) -> bool:
    return value == OURSELVES or _is_http(value)


def _is_http(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _is_server(value: str) -> bool:
    """Nothing of it is secret: it is shown where an encoder does not answer."""
    try:
        parts = urlsplit(value)
        bare = parts.username is None and parts.password is None and not parts.query and not parts.fragment
    except ValueError:
        return False
    return bare and parts.scheme in {"http", "https"} and bool(parts.hostname)


Switch = Annotated[bool, BeforeValidator(_switch)]
Rows = Annotated[int, _whole(2, 1_000_000)]
LearnRows = Annotated[int, _whole(0, 1_000_000), AfterValidator(_enough)]
Windows = Annotated[int, _whole(1, 1_000)]
Share = Annotated[int, BeforeValidator(_share), PlainSerializer("{}ppm".format, str, when_used="json")]
SampleRate = Annotated[float, _number(0.001, 1e12)]
StreamSize = Annotated[int, _whole(65_536, 2**40)]
Seconds = Annotated[float, _number(1, 604_800)]
Days = Annotated[float, _number(0.001, 36_500)]
CapturedBytes = Annotated[int, _whole(0, 2**32)]
Pauses = Annotated[tuple[Annotated[float, _number(0.05, 604_800)], ...], AfterValidator(_bounded)]
Variation = Annotated[float, _number(0, 1)]
Port = Annotated[int, _whole(0, 65_535)]
Host = Annotated[str, _orderly(lambda said: bool(said.strip()), "the address of an interface, such as 127.0.0.1")]
File = Annotated[str, _orderly(lambda said: bool(said.strip()), "the path of a file that holds a secret")]
Url = Annotated[SecretStr, _orderly(_is_hook, "http://host/path or https://…, or self for our own rollback target")]
ServerUrl = Annotated[str, _orderly(_is_server, "http://host:port or https://…, without a user or a password")]
ServerName = Annotated[str, _orderly(lambda said: bool(said.strip()), "a name for the server")]
NameOfModel = Annotated[str, _orderly(lambda said: bool(said.strip()), "the name of a model")]
HookName = Annotated[
    str, _orderly(lambda said: len(said) <= _LONGEST_NAME and said.isprintable(), "a name of up to 64 characters")
]
