"""The model itself: trained anew on old and new rows together, and held against the one that serves.

The one file of the trainer that knows what is trained. The model is the demo's (`serving.demo.train`); the old version
is not trained again, it is asked, as clients ask it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.schema import Declared
from serving.demo import train
from serving.trainer.judging import Verdict, verdict
from serving.trainer.rows import Rows, split

INPUT: Final = "pixels"
OUTPUT: Final = "digit"
DECLARED: Final = Declared(wide=frozenset({INPUT}))
"""An image is watched as a whole: pixels that were always dark say nothing by themselves (docs/drift.md, `--wide`)."""

_HIDDEN: Final = 2
"""The architecture: a network with a hidden layer."""

Asks = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""From pixels [n, 64] to the digits [n] that the version answers which serves."""


@dataclass(frozen=True, slots=True)
class Retrained:
    """A new version, and how good it is.

    Attributes:
        verdict: whether it is better.
        trained_on: the rows that it was trained on.
        new_rows: how many of those are of the captured window.
        predictions: its answers to new rows that it was not trained on, by output.
    """

    verdict: Verdict
    trained_on: Rows
    new_rows: int
    predictions: dict[str, NDArray[Any]]

    @property
    def metrics(self) -> dict[str, float]:
        """What the registry records: the shares of right answers."""
        old, new = self.verdict.old, self.verdict.new
        return {
            "accuracy": new.after, "accuracy_before": new.before,
            "accuracy_old_rows": old.after, "accuracy_old_rows_before": old.before,
        }  # fmt: skip

    @property
    def parameters(self) -> dict[str, int]:
        """What it was made from, for the registry."""
        return {"rows": len(self.trained_on), "new_rows": self.new_rows}


def retrained(training: Rows, held: Rows, window: Rows, ask: Asks, folder: Path) -> Retrained:
    """Trains, judges, and leaves the artifact in that folder; the same rows give the same model.

    Args:
        training: what the old version was trained on.
        held: rows of the same world that neither version is trained on.
        window: new rows with their labels.
        ask: the old version; before anything is trained, for that is in vain where it does not answer any more.
        folder: for the artifact.
    """
    fresh, held_back = split(window)
    right_on_held, right_on_held_back = (ask(rows.inputs) == rows.labels for rows in (held, held_back))
    train.use_one_thread()
    trained_on = training + fresh
    model = train.fitted(_HIDDEN, trained_on.inputs, trained_on.labels)
    predictions = train.answered(model, held_back.inputs)
    said = verdict(
        (right_on_held, train.answered(model, held.inputs)[OUTPUT].ravel() == held.labels),
        (right_on_held_back, predictions[OUTPUT].ravel() == held_back.labels),
        {f"digit {digit}": held_back.labels == digit for digit in range(train.DIGITS)},
    )
    made_from = {"data_sha256": trained_on.fingerprint, "trained_on": len(trained_on), "new_rows": len(fresh)}
    train.export(model, folder, trained_on.inputs, {"model": train.MODEL, **made_from, "verdict": said.plain()})
    return Retrained(said, trained_on, len(fresh), predictions)
