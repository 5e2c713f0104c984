"""A candidate's answers beside stable's in the same time: the only comparison that the world's moving cannot touch.

Each coarse cell of each output is an event whose odds are compared between the arms, given how often it happened at all
(T1 of the rollouts' evidence, two-sided); the e-values are averaged. A better model differs from stable by design, so
this recommends and decides nothing alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from drift.baseline import Baseline
from drift.errors import Unfit
from drift.moves import Reference
from drift.reading import Layer, Moved, Reading
from drift.schema import Floats
from drift.side import Side
from drift.sketches import Sketch
from drift.window import Half, Window
from router.evidence.counts import Block
from router.evidence.two_arm import Form, OddsTest, TwoArm
from router.evidence.two_arm import Side as Direction

FEWEST_ROWS: Final = 30
"""Of either arm; fewer say nothing worth a computation."""

_NAME: Final = "odds"
_LEVEL: Final = 0.05
_MOST_TOLD: Final = 10
_TEST: Final = OddsTest(side=Direction.DIFFERENT)


@dataclass(frozen=True)
class Arms:
    """Compared by the cells of stable's baseline, into which both arms' answers were folded.

    Attributes:
        side: the outputs.
    """

    side: Side

    @property
    def layer(self) -> Layer:
        """Arm against arm."""
        return Layer.ARMS

    @classmethod
    def fit(cls, baseline: Baseline) -> Self | None:
        """Of its outputs; None where it has none."""
        return None if baseline.outputs is None else cls(baseline.outputs)

    def evaluate(self, candidate: Window, stable: Window) -> Reading:
        """How differently both answered.

        Args:
            candidate: its answers.
            stable: its answers to other requests of the same time; folded by the same baseline.

        Raises:
            Unfit: they were folded by different baselines.
        """
        if candidate.baseline != stable.baseline:
            raise Unfit("Answers of two arms are compared by one baseline: fold both by stable's.")
        ours, theirs = candidate.outputs, stable.outputs
        if ours is None or theirs is None or min(ours.sketch.rows, theirs.sketch.rows) < FEWEST_ROWS:
            return Reading(self.layer, _NAME, waiting=f"Each arm takes {FEWEST_ROWS} answers.")
        found = self._log_es(ours.sketch, theirs.sketch)
        log_es, log_e = np.array(found), _average(found)
        p_value = min(1.0, math.exp(-max(log_e, 0.0)))
        moved = self._moved(log_es, ours, theirs) if p_value <= _LEVEL else ()
        return Reading(self.layer, _NAME, float(log_es.max()), -math.log(_LEVEL), p_value, log_e, moved)

    def _log_es(self, ours: Sketch, theirs: Sketch) -> list[float]:
        """Of each output the average over its cells; those in which nobody ever answered are left out."""
        coarse = self.side.whole.reference.coarse
        known, mine, others = (coarse(one.counts.astype(np.float64)) for one in (self.side.sketch, ours, theirs))
        return [
            _average([_log_e(int(mine[at, cell]), int(others[at, cell]), ours.rows, theirs.rows) for cell in cells])
            for at, cells in enumerate(map(np.flatnonzero, known + mine + others))
        ]

    def _moved(self, log_es: Floats, ours: Half, theirs: Half) -> tuple[Moved, ...]:
        """Outputs by the evidence of each; sizes are those of the candidate against stable."""
        sizes = Reference.of(theirs.sketch, len(self.side.schema.numeric)).sizes(ours.sketch)
        names = self.side.schema.features
        order = np.argsort(-log_es, kind="stable")[:_MOST_TOLD]
        return tuple(
            Moved(names[at], float(log_es[at]), float(sizes.variation[at]), float(sizes.stability[at]))
            for at in order.tolist()
            if log_es[at] > 0
        )


def _log_e(mine: int, others: int, my_rows: int, their_rows: int) -> float:
    """Of one cell: so many answers of either arm fell into it."""
    return TwoArm(_TEST).add([Block(mine, mine + others, my_rows, their_rows)], Form.FAST).log_e


def _average(log_es: list[float]) -> float:
    return float(np.logaddexp.reduce(log_es) - math.log(len(log_es)))
