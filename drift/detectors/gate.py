"""The schema gate: what is certain without statistics, and rates of what is missing, never seen, or out of range.

A column that is gone, new, of another shape or of another kind is an event, whatever its rows hold. The rates are held
against the highest that a calm window had, and a tolerance, by mixtures of likelihood ratios over odds (T2 of the
rollouts' evidence, Robbins 1970), one for each feature and rate, averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, Self

import numpy as np

from drift.baseline import Baseline
from drift.moves import outside
from drift.reading import Layer, Moved, Reading
from drift.schema import Floats
from drift.side import Side
from drift.window import Half, Window

TOLERANCE: Final = 0.01
"""Added to the highest rate of calm windows."""

CERTAIN: Final = 700.0
"""The log e-value of what is certain: the last power of e that a float holds with room to spare."""

WHAT: Final = ("missing", "unseen", "out of range")

_NAME: Final = "rates"
_LEVEL: Final = 0.05
_MOST_TOLD: Final = 10


class _Grid(NamedTuple):
    """Log ratios of one row that is, and of one that is not, shape (features, rates, 48)."""

    yes: Floats
    no: Floats


@dataclass(frozen=True)
class _Rates:
    """Of one side."""

    side: Side

    @cached_property
    def limits(self) -> Floats:
        """The rates that are tolerated, shape (features, 3)."""
        return np.clip(self.side.calm.rates + TOLERANCE, 1e-6, 0.999)

    @cached_property
    def grid(self) -> _Grid:
        """Odds of 1.05 to 1000 times the tolerated ones."""
        odds = (self.limits / (1 - self.limits))[..., None] * np.geomspace(1.05, 1000.0, 48)
        rates, limits = odds / (1 + odds), self.limits[..., None]
        return _Grid(np.log(rates / limits), np.log1p(-rates) - np.log1p(-limits))

    def log_es(self, half: Half) -> Floats:
        """Of each feature and rate, shape (features, 3); 0 without rows."""
        hits, rows = self.hits(half), half.sketch.rows
        out = np.full(hits.shape, -math.inf if rows else 0.0)
        over = hits > rows * self.limits  # below the limit e is at most 1, and counted as 0: that loses little
        x = hits[over][:, None]
        logs = x * self.grid.yes[over] + (rows - x) * self.grid.no[over]
        out[over] = np.logaddexp.reduce(logs, axis=1) - math.log(logs.shape[1])
        return out

    def hits(self, half: Half) -> Floats:
        """How many rows, shape (features, 3)."""
        return np.asarray(outside(half.sketch, len(self.side.schema.numeric), self.side.tops), np.float64)


@dataclass(frozen=True)
class Gate:
    """Of a baseline's inputs and outputs."""

    inputs: _Rates
    outputs: _Rates | None

    @property
    def layer(self) -> Layer:
        """The schema."""
        return Layer.SCHEMA

    @classmethod
    def fit(cls, baseline: Baseline) -> Self:
        """Of both sides."""
        return cls(_Rates(baseline.inputs), None if baseline.outputs is None else _Rates(baseline.outputs))

    def evaluate(self, window: Window) -> Reading:
        """Breaks, or how far rates exceed what is tolerated. Any number of rows will do."""
        log_es = np.concatenate([rates.log_es(half).reshape(-1) for rates, half in self._sides(window)])
        log_e = float(np.logaddexp.reduce(log_es) - math.log(log_es.size))
        p_value = min(1.0, math.exp(-max(log_e, 0.0)))
        features = self._moved(window) if p_value <= _LEVEL else ()
        if window.breaks:
            return Reading(self.layer, "schema", 1.0, 0.0, 0.0, CERTAIN, features, window.breaks)
        value = max((one.score for one in features), default=0.0)
        return Reading(self.layer, _NAME, value, 0.0, p_value, max(log_e, -CERTAIN), features)

    def worth(self, window: Window) -> bool:
        """Whether a rate is over what is tolerated, or the schema broken."""
        return bool(window.breaks) or any(
            (rates.hits(half) > half.sketch.rows * rates.limits).any() for rates, half in self._sides(window)
        )

    def is_of_outputs(self, window: Window) -> bool:
        """Whether rates of the outputs are exceeded, and none of the inputs; a broken schema is nobody's rates."""
        over = [bool((rates.log_es(half) > 0).any()) for rates, half in self._sides(window)]
        return not window.breaks and over == [False, True]

    def _sides(self, window: Window) -> list[tuple[_Rates, Half]]:
        pairs = [(self.inputs, window.inputs)]
        if self.outputs is not None and window.outputs is not None:
            pairs.append((self.outputs, window.outputs))
        return pairs

    def _moved(self, window: Window) -> tuple[Moved, ...]:
        """Features by how far a rate exceeds what is tolerated; the score is the rate, the rate's kind in the name."""
        found = []
        for rates, half in self._sides(window):
            hits, log_es = rates.hits(half), rates.log_es(half)
            sizes = rates.side.expected(half.strata).sizes(half.sketch)
            for feature, kind in np.argwhere(log_es > 0).tolist():
                name = f"{rates.side.schema.features[feature]} {WHAT[kind]}"
                rate = hits[feature, kind] / max(half.sketch.rows, 1)
                told = float(sizes.variation[feature]), float(sizes.stability[feature])
                found.append((float(log_es[feature, kind]), Moved(name, float(rate), *told)))
        found.sort(key=lambda one: (-one[0], one[1].feature))
        return tuple(moved for _, moved in found[:_MOST_TOLD])
