"""What one detector says of one window; and what a detector is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from drift.errors import Unfit
from drift.schema import Break
from drift.window import Window


class Layer(StrEnum):
    """What is looked at, the cheapest first."""

    SCHEMA = "schema"
    UNIVARIATE = "univariate"
    MULTIVARIATE = "multivariate"
    PREDICTION = "prediction"
    ARMS = "arms"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Moved:
    """A feature that moved.

    Attributes:
        feature: its name.
        score: how far it lies out: standard deviations of calm windows, or what the detector ranks by.
        variation: total variation from the reference, 0 to 1.
        stability: population stability index.
    """

    feature: str
    score: float
    variation: float
    stability: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a detector says of a window.

    Attributes:
        layer: what it looks at.
        statistic: what it measures, in a word.
        value: of the statistic.
        threshold: the value that one calm window in twenty exceeds; for people, not for the alarm.
        p_value: of this window alone, 0 to 1.
        log_e: the log e-value: the evidence that alarms add up.
        features: those that moved, the farthest first.
        breaks: what is certain without statistics.
        waiting: why nothing was measured; empty where it was.
    """

    layer: Layer
    statistic: str
    value: float = 0.0
    threshold: float = 0.0
    p_value: float = 1.0
    log_e: float = 0.0
    features: tuple[Moved, ...] = ()
    breaks: tuple[Break, ...] = ()
    waiting: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.p_value <= 1 or math.isnan(self.log_e):
            raise Unfit(f"A p-value is between 0 and 1 and evidence is a number, not {self.p_value} and {self.log_e}.")


class Detector(Protocol):
    """Fitted to a baseline by its own constructor or `fit`; keeps nothing of what it sees."""

    @property
    def layer(self) -> Layer:
        """What it looks at."""

    def evaluate(self, window: Window) -> Reading:
        """How surprising this window is; a sentence in `waiting` where that cannot be said."""

    def worth(self, window: Window) -> bool:
        """Whether what these rows show is large enough that anybody should hear of it."""


def too_few(layer: Layer, statistic: str, rows: int, wanted: int) -> Reading:
    """A window that is too small for what is known of calm ones."""
    said = f"It has {rows:,} rows, and what calm looks like is known of {wanted:,}."
    return Reading(layer, statistic, waiting=said)
