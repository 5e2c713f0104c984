"""Traffic as people describe it on a command line, for planning and for simulation. Pure.

Rates and shares have their unit (0.5%), times too (20ms, 10m); how many times worse is a bare number, or like 5x.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from router.policy import WHOLE
from router.verdicts.described import Described, Incident, Manner
from serving.amounts import seconds_of, share_of

USUALLY_WORSE: Final = 5.0
"""How many times stable's errors a bad candidate has, where nobody says how bad it is."""
SELDOM: Final = 0.001
"""The rate of errors that is counted with where none was seen."""
_NINETY_NINTH: Final = 2.3263
"""Standard deviations from the median to the 99th percentile."""
_NARROWEST: Final = 0.05
_WIDEST: Final = 3.0
_TIMES: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*[x×]?", re.ASCII)  # noqa: RUF001 - people type it
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(us|ms|s)", re.ASCII)
_MS: Final = MappingProxyType({"us": 0.001, "ms": 1.0, "s": 1_000.0})
_REPLICAS: Final = re.compile(r"(\d{1,4})\s*[,+/]\s*(\d{1,4})", re.ASCII)

_Value = TypeVar("_Value")


class Known(NamedTuple):
    """What is known of a model's traffic now.

    Attributes:
        rps: requests per second, of all versions.
        errors: the part of stable's that failed.
        median_ms: half of stable's answers came within this; None where that is not known.
        p99_ms: the same of ninety-nine in a hundred.
    """

    rps: float
    errors: float
    median_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Typed:
    """What followed the options, None where one was not given; the names are those of the options."""

    rps: float | None = None
    errors: str | None = None
    candidate_errors: str | None = None
    latency: str | None = None
    p99: str | None = None
    slower: str | None = None
    replicas: str | None = None
    bursts: float | None = None
    incident: str | None = None
    onset: str | None = None

    @property
    def complete(self) -> bool:
        """Whether nobody has to be asked how much traffic there is."""
        return self.rps is not None and self.errors is not None


def known_from(typed: Typed, known: Known | None) -> Known:
    """What was typed, and for the rest what is known.

    Raises:
        ValueError: a value cannot be read, or neither says how much traffic there is.
    """
    rps, errors = typed.rps, None if typed.errors is None else named("--errors", rate_of, typed.errors)
    if rps is not None and not 0 < rps < math.inf:
        raise ValueError(f"--rps: {rps:g} is no number of requests per second above 0")
    if known is None and (rps is None or errors is None):
        raise ValueError("say how much traffic there is, with --rps and --errors, or which model to ask about")
    rest = known or Known(0.0, 0.0)
    median = rest.median_ms if typed.latency is None else named("--latency", milliseconds_of, typed.latency)
    p99 = rest.p99_ms if typed.p99 is None else named("--p99", milliseconds_of, typed.p99)
    return Known(rest.rps if rps is None else rps, rest.errors if errors is None else errors, median, p99)


def described(typed: Typed, known: Known) -> Described:
    """The traffic that is to be simulated.

    Raises:
        ValueError: a value cannot be read, or no traffic is like that.
    """
    stable = _manner(typed, known)
    candidate = stable
    if typed.candidate_errors is not None:
        candidate = replace(candidate, errors=named("--candidate-errors", rate_of, typed.candidate_errors))
    if typed.slower is not None:
        candidate = replace(candidate, median_ms=stable.median_ms * named("--slower", times_of, typed.slower))
    if typed.candidate_errors is None and typed.slower is None:
        candidate = replace(candidate, errors=min(0.95, stable.errors * USUALLY_WORSE))
    return Described(
        known.rps,
        stable,
        candidate,
        replicas=(1, 1) if typed.replicas is None else named("--replicas", replicas_of, typed.replicas),
        onset_s=0.0 if typed.onset is None else float(named("--onset", seconds_of, typed.onset)),
        hiccups_per_hour=typed.bursts or 0.0,
        incident=None if typed.incident is None else named("--incident", incident_of, typed.incident),
    )


def _manner(typed: Typed, known: Known) -> Manner:
    """How stable answers; where only half of its latency is known, the usual spread."""
    usual = Manner()
    median = usual.median_ms if known.median_ms is None else known.median_ms
    if known.p99_ms is None or known.median_ms is None:
        return Manner(known.errors, median)
    if typed.p99 is not None and known.p99_ms <= median:
        raise ValueError(f"--p99: it is above the median of {median:g} ms")
    spread = math.log(max(known.p99_ms / median, 1.0)) / _NINETY_NINTH
    return Manner(known.errors, median, min(max(spread, _NARROWEST), _WIDEST))


def rate_of(text: str) -> float:
    """A part of all requests from '0.5%' or '1/200'.

    Raises:
        ValueError: no share, or all of them.
    """
    rate = share_of(text) / WHOLE
    if not 0 < rate < 1:
        raise ValueError(f"{text!r} is not a part of the requests: it is above 0% and below 100%")
    return rate


def times_of(text: str) -> float:
    """How many times as much, from '5', '5x' or '1.25'.

    Raises:
        ValueError: no number above 0.
    """
    found = _TIMES.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is not how many times as much: write it like 5x or 1.25")
    return float(found[1])


def milliseconds_of(text: str) -> float:
    """Milliseconds from '20ms', '1.5s' or '800us'.

    Raises:
        ValueError: no duration above 0.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is no duration: write it like 20ms, 1.5s or 800us")
    return float(found[1]) * _MS[found[2]]


def replicas_of(text: str) -> tuple[int, int]:
    """How many the candidate and stable have, from '1,9'.

    Raises:
        ValueError: not of that form, or none.
    """
    found = _REPLICAS.fullmatch(text.strip())
    if not found or not int(found[1]) or not int(found[2]):
        raise ValueError(f"{text!r} is not how many replicas the candidate and stable have: write it like 1,9")
    return int(found[1]), int(found[2])


def incident_of(text: str) -> Incident:
    """An incident of both versions from '5%,10m,3m': its errors, when it begins, and how long it lasts.

    Raises:
        ValueError: not of that form.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:  # noqa: PLR2004 - what an incident has
        raise ValueError(f"{text!r} is no incident: write its errors, its begin and its length, like 5%,10m,3m")
    return Incident(rate_of(parts[0]), float(seconds_of(parts[1])), float(seconds_of(parts[2])))


def known_of(versions: Mapping[str, Known], rps: float) -> Known:
    """What is known of a model: its rate, and how the version answers that is asked most, which is stable."""
    busiest = max(versions.values(), key=lambda one: one.rps)
    return busiest._replace(rps=rps)


def named(option: str, read: Callable[[str], _Value], text: str) -> _Value:
    """What it reads; a refusal names the option."""
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
