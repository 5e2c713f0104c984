"""Each feature by itself: of the inputs, or of the outputs as prediction drift (BBSD, Lipton et al. 2018, per output).

Two scores of the standardised distances share the level: the largest, which sees one feature that moves much, and
their sum, which sees many that move a little. Each has its p-value among calm windows, where features are as
dependent as they are; which features it was is read off the distances afterwards, at a level of their number
(Bonferroni).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from drift.baseline import Baseline
from drift.calibration import combined, log_average, log_e_of
from drift.reading import Layer, Moved, Reading, too_few
from drift.schema import Floats
from drift.side import Side, scores_of
from drift.window import Half, Window

LEAST_VARIATION: Final = 0.05
"""Total variation beyond that of calm windows from which on a shift is worth an alarm however rare it is."""

LEAST_INSTABILITY: Final = 0.01
"""The population stability index below which nothing is worth an alarm; practice calls ten times as much no change."""

MOST_TOLD: Final = 10

_LEVEL: Final = 0.05
_NAME: Final = "distance"


@dataclass(frozen=True)
class Univariate:
    """Of one side of a baseline.

    Attributes:
        side: inputs or outputs.
        layer: UNIVARIATE or PREDICTION.
        floor: total variation beyond that of calm windows from which on a shift is worth an alarm.
    """

    side: Side
    layer: Layer = Layer.UNIVARIATE
    floor: float = LEAST_VARIATION

    @classmethod
    def fit(cls, baseline: Baseline, floor: float = LEAST_VARIATION) -> Self:
        """Of its inputs."""
        return cls(baseline.inputs, floor=floor)

    @property
    def least_instability(self) -> float:
        """The index below which nothing is worth an alarm: it grows with the square of what moved."""
        return LEAST_INSTABILITY * max(self.floor / LEAST_VARIATION, 1.0) ** 2

    def evaluate(self, window: Window) -> Reading:
        """How far its features lie out."""
        half, calm = _half_of(window, self.layer), self.side.calm
        if half is None or half.sketch.rows < calm.size:
            return too_few(self.layer, _NAME, half.sketch.rows if half else 0, calm.size)
        expected = self.side.expected(half.strata)
        roots = expected.roots(half.sketch)
        standardised = expected.spread_out(roots)
        scores = scores_of(standardised)
        p_value = combined(self._p_values(standardised))
        cautious = self._p_values(expected.spread_out(roots / np.cbrt(expected.caution)))
        return Reading(
            self.layer,
            _NAME,
            scores.peak,
            calm.peak.level(_LEVEL / 2),
            p_value,
            log_average([log_e_of(one) for one in cautious]),
            self.moved(half, standardised) if p_value <= _LEVEL else (),
        )

    def _p_values(self, standardised: Floats) -> list[float]:
        scores, calm = scores_of(standardised), self.side.calm
        return [calm.peak.p_value(scores.peak), calm.total.p_value(scores.total)]

    def moved(self, half: Half, standardised: Floats) -> tuple[Moved, ...]:
        """Those beyond Bonferroni's level of a normal distribution, and the farthest in any case, farthest first."""
        limit = float(special.ndtri(1 - _LEVEL / standardised.size))
        sizes, names = self.side.expected(half.strata).sizes(half.sketch), self.side.schema.features
        return tuple(
            Moved(names[at], float(standardised[at]), float(sizes.variation[at]), float(sizes.stability[at]))
            for rank, at in enumerate(_farthest(standardised).tolist())
            if rank == 0 or standardised[at] > limit
        )

    def worth(self, window: Window) -> bool:
        """Whether one of the farthest features moved enough, held against calm spans of as many rows.

        By the floor more than any of them did; or, of inputs, it is less stable than any of them, by an index of 0.01
        or more. Of predictions the first alone counts, for with inputs that moved they call for retraining.
        """
        half = _half_of(window, self.layer)
        if half is None or not half.sketch.rows:
            return False
        expected = self.side.expected(half.strata)
        sizes, bounds = expected.sizes(half.sketch), self.side.calm.bounds(half.sketch.rows)
        large = sizes.variation - bounds.variation >= self.floor
        unstable = sizes.stability > np.maximum(bounds.stability, self.least_instability)
        enough = large if self.layer is Layer.PREDICTION else large | unstable
        return bool(enough[_farthest(expected.standardised(half.sketch))].any())


def predictions(baseline: Baseline, floor: float = LEAST_VARIATION) -> Univariate | None:
    """Of its outputs; None where it has none."""
    return None if baseline.outputs is None else Univariate(baseline.outputs, Layer.PREDICTION, floor)


def _half_of(window: Window, layer: Layer) -> Half | None:
    return window.outputs if layer is Layer.PREDICTION else window.inputs


def _farthest(standardised: Floats) -> NDArray[np.intp]:
    return np.argsort(-standardised, kind="stable")[:MOST_TOLD]
