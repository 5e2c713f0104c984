"""Claims about simulated rollouts, one row each: what was measured, what it is held against, and whether it holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from router.evidence.special import Floats

SLACK = 1.25
_CHANCE = 0.01


class Row(NamedTuple):
    """One claim: what was measured, what it is held against, and whether it holds."""

    name: str
    measured: str
    bar: str
    holds: bool

    def __str__(self) -> str:
        """One line of a table."""
        return f"{'ok  ' if self.holds else 'FAIL'} {self.name:44} {self.measured:36} {self.bar}"


def lowest(alarms: int, runs: int) -> float:
    """The lower 99 % bound of a rate (Clopper and Pearson 1934), given so many alarms in so many runs."""
    return float(special.betaincinv(alarms, runs - alarms + 1, _CHANCE)) if alarms else 0.0


def false_alarms(name: str, alarms: int, runs: int, alpha: float) -> Row:
    """A row on a null: not more alarms than the level allows, as far as chance lets one say."""
    least = lowest(alarms, runs)
    return Row(name, f"{alarms / runs:.2%} of {runs:,} (above {least:.2%})", f"at most {alpha:.1%}", least <= alpha)


def detection(name: str, alarms: Floats, figure: float, unit: str = "s") -> Row:
    """A row on a harm: the median time to the first alarm."""
    found, median = np.isfinite(alarms).mean(), float(np.median(alarms))
    measured = f"{median:.0f} {unit} ({found:.0%} found)"
    return Row(name, measured, f"{SLACK} x {figure:g} {unit}", median <= SLACK * figure)
