"""Rows that have a rhythm of days: what the tests of strata share."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from drift import window as windows
from drift.baseline import Baseline, Order, made
from drift.tables import Table
from drift.window import Window
from registry.models import ModelName, VersionNumber

ROWS: Final = 30
"""Of a window."""

PER_HOUR: Final = 60
DAYS: Final = 14
DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
MONDAY_S: Final = datetime(2024, 3, 4, tzinfo=UTC).timestamp()
"""When the reference begins."""

Floats = NDArray[np.float64]


def rhythm(rng: Generator, at_s: Floats, *, swing: float = 2.0) -> dict[str, NDArray[Any]]:
    """A load that is high by day and low by night, a size that knows no time, and a level that is of the day."""
    hours = at_s % DAY_S / HOUR_S
    height = swing * np.sin(2 * np.pi * (hours - 9) / 24)
    by_day = rng.random(len(at_s)) < 0.5 + 0.2 * height / 2
    return {
        "load": rng.normal(size=len(at_s)) + height,
        "size": rng.normal(size=len(at_s)),
        "kind": np.where(by_day, "shop", "batch").astype(object),
    }


def moments(first_s: float, rows: int, per_hour: int = PER_HOUR) -> Floats:
    """So many, evenly spaced."""
    return first_s + np.arange(rows) * HOUR_S / per_hour


def reference(
    rng: Generator, *, swing: float = 2.0, days: int = DAYS, weekend: float = 0.0, per_hour: int = PER_HOUR
) -> Table:  # fmt: skip
    """Rows of so many days; on Saturdays and Sundays the load is higher by that."""
    at_s = moments(MONDAY_S, days * 24 * per_hour, per_hour)
    columns = rhythm(rng, at_s, swing=swing)
    columns["load"] = columns["load"] + weekend * ((at_s - MONDAY_S) // DAY_S % 7 >= 5)
    return Table({**columns, "at": at_s}).by_time("at")


@cache
def baseline(*, strata: bool | None = None, seed: int = 1, per_hour: int = PER_HOUR) -> Baseline:
    """Of the reference."""
    rng = np.random.default_rng(seed)
    order = Order(ModelName("rhythm"), VersionNumber(1), window_rows=ROWS, strata=strata)
    return made(order, reference(rng, per_hour=per_hour), None, 0.0)


def window(
    of: Baseline, rng: Generator, first_s: float, *, as_at_s: float | None = None, rows: int = ROWS,
    per_hour: int = PER_HOUR,
) -> Window:  # fmt: skip
    """Rows from that moment on, like those of another moment where one is given."""
    at_s = moments(first_s, rows, per_hour)
    like_s = at_s if as_at_s is None else moments(as_at_s, rows, per_hour)
    keys = rng.integers(0, 2**63, rows, dtype=np.uint64)
    return windows.folded_in(of, Table(rhythm(rng, like_s)), None, keys, at_s)
