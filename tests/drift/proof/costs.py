"""What a window costs: folded in and judged by ours, and by alibi-detect's KSDrift with its defaults, turn about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from drift import window as windows
from drift.baseline import Order, made
from drift.detectors.univariate import Univariate
from drift.tables import Table
from registry.models import ModelName, VersionNumber

FEATURES: Final = (30, 512)
ROWS: Final = 500
REFERENCE: Final = 10_000

_FEWEST_TIMES = 7


class Cost(NamedTuple):
    """Of one window, milliseconds, medians.

    Attributes:
        features: of each row.
        ours: counts and univariate statistics, from the rows to the reading.
        theirs: KSDrift's, of the same rows against the same reference.
        kept: KSDrift's against as many rows as a baseline keeps of its reference.
    """

    features: int
    ours: float
    theirs: float
    kept: float


def cost(features: int, seed: int) -> Cost:
    """Measured in turns, so that whatever else the machine does hits both."""
    from alibi_detect.cd import KSDrift  # noqa: PLC0415 - 10 s to import

    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(REFERENCE, features))
    baseline = made(Order(ModelName("normal"), VersionNumber(1), window_rows=ROWS), Table({"x": reference}), None, 0.0)
    detector, side = Univariate.fit(baseline), baseline.inputs
    rows = rng.normal(size=(ROWS, features))
    whole, kept = KSDrift(reference), KSDrift(side.sample.numbers)
    template = windows.folded_in(baseline, Table({"x": rows}), None, np.arange(ROWS, dtype=np.uint64), 0.0)

    def ours() -> None:
        sketch = side.binning.sketch(side.schema.rows_of(Table({"x": rows})))
        half = windows.Half(sketch, template.inputs.sums, template.inputs.kept, template.inputs.keys)
        detector.evaluate(windows.Window(template.baseline, half, None, 0.0, 0.0))

    runs: tuple[Callable[[], object], ...] = (ours, lambda: whole.predict(rows), lambda: kept.predict(rows))
    times = [[_once(run) for run in runs] for _ in range(_FEWEST_TIMES)]
    return Cost(features, *(float(one) for one in np.median(np.array(times), axis=0)))


def _once(run: Callable[[], object]) -> float:
    run()  # so that neither pays for the caches that the other left
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e3
