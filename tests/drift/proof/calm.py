"""False alarms on windows without drift, and windows until a shift is found: STATS.md's table (A.3), at A = 1000.

Thirty features, normal and independent, windows of 200 rows. Everything goes through a `Watch` as the sidecar has it:
gate, single features and rows as wholes, with the floor below which nothing is worth an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from drift import window as windows
from drift.alarm import Rules
from drift.baseline import Baseline, Order, made
from drift.tables import Table
from drift.watch import Watch
from registry.models import ModelName, VersionNumber

FEATURES: Final = 30
ROWS: Final = 200
REFERENCE: Final = 10_000
PER_REFERENCE: Final = 100
"""Windows without drift, one after the other, of one reference."""

_MINUTE_S = 60.0
_DAY_S = 86_400.0
_LONGEST = 400

A_1000: Final = Rules(days=1_000 * _MINUTE_S / _DAY_S, window_s=_MINUTE_S, layers=1)
"""One false alarm of each layer in a thousand windows."""


@dataclass(frozen=True)
class Shift:
    """Of the mean of some features.

    Attributes:
        deviations: by how much.
        features: how many move.
        windows: until A.3's e-SR row found it.
    """

    deviations: float
    features: int
    windows: float

    def __str__(self) -> str:
        return f"{self.deviations:g} sd on {self.features}"


SHIFTS: Final = (Shift(0.1, 5, 35.9), Shift(0.25, 1, 7.3), Shift(0.25, 5, 3.8), Shift(0.1, 30, 7.5))


class Seen(NamedTuple):
    """What one reference's streams showed.

    Attributes:
        null: windows without drift.
        alarms: episodes among them.
        delays: windows until each shift was found, at A = 1000.
        usual: the same at the default budget.
    """

    null: int
    alarms: int
    delays: Mapping[Shift, int]
    usual: Mapping[Shift, int]


def seen(seed: int) -> Seen:
    """One reference, its null windows, and each shift once."""
    rng = np.random.default_rng(seed)
    order = Order(ModelName("normal"), VersionNumber(1), window_rows=ROWS, seed=seed % 2**31)
    baseline = made(order, _table(rng.normal(size=(REFERENCE, FEATURES))), None, 0.0)
    watch, usual = Watch.usual(baseline, A_1000), Watch.usual(baseline)
    return Seen(
        PER_REFERENCE,
        _episodes(watch, rng),
        {shift: _delay(watch, rng, shift) for shift in SHIFTS},
        {shift: _delay(usual, rng, shift) for shift in SHIFTS},
    )


def _episodes(watch: Watch, rng: Generator) -> int:
    standing, found = watch.start(), set()
    for at in range(PER_REFERENCE):
        heard = watch.hear(standing, _window(watch.baseline, rng.normal(size=(ROWS, FEATURES)), at))
        standing = heard.standing
        found |= {finding.episode for finding in heard.findings}
    return len(found)


def _delay(watch: Watch, rng: Generator, shift: Shift) -> int:
    """Windows until the first finding, the last one among them."""
    standing = watch.start()
    for at in range(1, _LONGEST + 1):
        rows = rng.normal(size=(ROWS, FEATURES))
        rows[:, : shift.features] += shift.deviations
        heard = watch.hear(standing, _window(watch.baseline, rows, at))
        standing = heard.standing
        if heard.findings:
            return at
    return _LONGEST


def _window(baseline: Baseline, rows: NDArray[np.float64], at: int) -> windows.Window:
    return windows.folded_in(baseline, _table(rows), None, np.arange(len(rows), dtype=np.uint64), at * _MINUTE_S)


def _table(rows: NDArray[np.float64]) -> Table:
    return Table({"x": rows})


def deviation(values: list[int]) -> float:
    """The standard error of their mean."""
    return float(np.std(values) / math.sqrt(max(len(values), 1)))
