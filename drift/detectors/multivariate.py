"""Rows as wholes: the discrepancy of two means of random Fourier features, against what calm windows show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from drift.baseline import Baseline
from drift.calibration import Null, log_e_of
from drift.reading import Layer, Reading, too_few
from drift.side import Side
from drift.window import Window

_NAME: Final = "discrepancy"
_LEVEL: Final = 0.05


@dataclass(frozen=True)
class Multivariate:
    """Of a baseline's inputs.

    Attributes:
        side: the inputs.
        joint: what calm windows show; there is one wherever there is a projection.
    """

    side: Side
    joint: Null

    @property
    def layer(self) -> Layer:
        """Rows as wholes."""
        return Layer.MULTIVARIATE

    @classmethod
    def fit(cls, baseline: Baseline) -> Self | None:
        """Of its inputs; None where they have but one dimension, or levels alone."""
        joint = baseline.inputs.calm.joint
        return None if joint is None else cls(baseline.inputs, joint)

    def evaluate(self, window: Window) -> Reading:
        """How far the rows lie out; a window larger than calm ones is judged as one of their size."""
        size = self.side.calm.size
        if window.rows < size:
            return too_few(self.layer, _NAME, window.rows, size)
        value = size * self._apart(window)
        p_value = self.joint.p_value(value)
        cautious = self.joint.p_value(value / self.side.expected(window.inputs.strata).caution)
        return Reading(self.layer, _NAME, value, self.joint.level(_LEVEL), p_value, log_e_of(cautious))

    def worth(self, window: Window) -> bool:
        """Whether these rows lie farther out than any calm window, for their number."""
        return window.rows > 0 and window.rows * self._apart(window) > float(self.joint.scores[-1])

    def _apart(self, window: Window) -> float:
        return self.side.expected(window.inputs.strata).apart(window.inputs.sums, window.rows)
