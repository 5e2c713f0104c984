"""What a run has to keep: latencies and a share of errors, as people type them. Pure.

`p99=50ms,errors=0.1%`: 99 of 100 requests are answered within 50 ms of when they were due, and at most one in a
thousand fails. A request that got no answer at all is slower than any latency.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,4})?)", re.ASCII)
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(us|ms|s)", re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_FORM = "write it like p99=50ms,errors=0.1% (p50, p99.9, max, errors)"


@dataclass(frozen=True, slots=True)
class Objective:
    """One limit.

    Attributes:
        name: as it was typed: p99, max, errors.
        most: seconds, or for errors a share of 1.
    """

    name: str
    most: float

    @property
    def quantile(self) -> float | None:
        """Of which latency, 0 to 1; None for errors."""
        if self.name == "errors":
            return None
        return 1.0 if self.name == "max" else float(self.name[1:]) / 100

    def shown(self, value: float) -> str:
        """A value of its kind in words."""
        if self.quantile is None:
            return f"{value * 100:.3g} %"
        return in_ms(value)


@dataclass(frozen=True, slots=True)
class Kept:
    """An objective, and what was measured."""

    objective: Objective
    found: float

    @property
    def good(self) -> bool:
        """Whether it was kept; what cannot be measured was not."""
        return self.found <= self.objective.most

    def __str__(self) -> str:
        """The sentence, with both figures."""
        shown = self.objective.shown
        return f"{self.objective.name} is {shown(self.found)}, at most {shown(self.objective.most)}"


def read(text: str) -> tuple[Objective, ...]:
    """The objectives in a text.

    Raises:
        ValueError: it says something else, or one of them twice.
    """
    found = tuple(_one(part.strip()) for part in text.split(","))
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is named twice: {_FORM}")
    return found


def judged(objectives: tuple[Objective, ...], latency_s: Callable[[float], float], errors: float) -> tuple[Kept, ...]:
    """Each objective with what was measured.

    Args:
        objectives: what was asked.
        latency_s: the latency that such a share of requests did not exceed, seconds; infinite for no answer.
        errors: the share of requests that failed, 0 to 1.
    """
    return tuple(
        Kept(one, errors if one.quantile is None else latency_s(one.quantile)) for one in objectives
    )  # fmt: skip


def in_ms(seconds: float) -> str:
    """A latency in words."""
    if math.isnan(seconds):
        return "unknown"
    return "no answer" if math.isinf(seconds) else f"{seconds * 1_000:,.4g} ms"


def _one(part: str) -> Objective:
    name, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals:
        raise ValueError(f"{part!r} is no objective: {_FORM}")
    if name == "errors":
        share = _SHARE.fullmatch(value)
        if not share or float(share[1]) > 100:  # noqa: PLR2004 - per cent
            raise ValueError(f"{value!r} is no share of errors: {_FORM}")
        return Objective(name, float(share[1]) / 100)
    took = _TIME.fullmatch(value)
    if name != "max" and not _QUANTILE.fullmatch(name):
        raise ValueError(f"{name!r} is nothing that is measured: {_FORM}")
    if not took:
        raise ValueError(f"{value!r} is no latency: {_FORM}")
    return Objective(name, float(took[1]) * _SECONDS[took[2]])
