"""A daily rhythm without drift, and night's rows at noon: by a baseline that tells hours apart and one that does not.

Two features of three follow the hour (`tests.drift.hours`), windows are neighbours of three minutes each, and all of it
goes through a `Watch` as the sidecar has it. Both baselines are calibrated on windows of neighbours.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from drift.alarm import Rules
from drift.baseline import Baseline
from drift.watch import Watch
from drift.window import Window
from tests.drift import hours

PER_REFERENCE: Final = 600
"""Windows of one reference, one after the other: thirty hours."""

_PER_HOUR = 600
_WINDOW_S = hours.ROWS * hours.HOUR_S / _PER_HOUR
_LIVE_S = hours.MONDAY_S + 28 * hours.DAY_S
_LONGEST = 400

A_1000: Final = Rules(days=1_000 * _WINDOW_S / hours.DAY_S, window_s=_WINDOW_S, layers=1)
"""One false alarm of each layer in a thousand windows."""


class Seen(NamedTuple):
    """What one reference's streams showed.

    Attributes:
        null: windows without drift.
        apart: episodes among them where hours are told apart.
        alike: and where they are not.
        delay: windows until night's rows at noon were found where hours are told apart.
        alike_delay: and where they are not, counted from noon on.
    """

    null: int
    apart: int
    alike: int
    delay: int
    alike_delay: int


def seen(seed: int) -> Seen:
    """One reference, its null windows, and the shift."""
    apart, alike = (hours.baseline(strata=strata, seed=seed, per_hour=_PER_HOUR) for strata in (None, False))
    return Seen(PER_REFERENCE, _episodes(apart, seed), _episodes(alike, seed), _delay(apart, seed), _delay(alike, seed))


def _episodes(baseline: Baseline, seed: int) -> int:
    rng, watch, found = np.random.default_rng([seed, 1]), Watch.usual(baseline, A_1000), set()
    standing = watch.start()
    for at in range(PER_REFERENCE):
        heard = watch.hear(standing, _window(baseline, rng, _LIVE_S + at * _WINDOW_S))
        standing = heard.standing
        found |= {finding.episode for finding in heard.findings}
    return len(found)


def _delay(baseline: Baseline, seed: int) -> int:
    """Windows from noon on, each like that of nine hours before, until the first finding."""
    rng, watch = np.random.default_rng([seed, 2]), Watch.usual(baseline, A_1000)
    standing, noon_s = watch.start(), _LIVE_S + 12 * hours.HOUR_S
    for at in range(_LONGEST):
        at_s = noon_s + at * _WINDOW_S
        heard = watch.hear(standing, _window(baseline, rng, at_s, at_s - 9 * hours.HOUR_S))
        standing = heard.standing
        if heard.findings:
            return at + 1
    return _LONGEST


def _window(baseline: Baseline, rng: Generator, at_s: float, like_s: float | None = None) -> Window:
    return hours.window(baseline, rng, at_s, as_at_s=like_s, per_hour=_PER_HOUR)
