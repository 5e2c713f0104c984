"""The detectors of alibi-detect, behind the protocol: the one file that imports it, and only when one is fitted.

Its licence (Business Source License 1.1) grants no production use to companies, which is said once in the log. Its
tests compare a window's kept rows with the reference's kept rows and take rows for independent; windows of neighbours
are not, and alarm far more often than their p-values say. Whatever the hour, windows are compared with all of the
reference. No p-value is believed beyond `LEAST`. Nothing missing reaches it: for tests of single features a missing
number lies above all others, as an unseen level is a level of its own; for tests of whole rows it is in the middle. A
feature with one value everywhere has not moved, whatever a test makes of so many ties (CVMDrift is certain that it
has).
"""

from __future__ import annotations

import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from drift.baseline import Baseline
from drift.calibration import log_e_of
from drift.detectors.univariate import LEAST_VARIATION
from drift.errors import NotInstalled, Unfit
from drift.moves import Sizes
from drift.reading import Layer, Moved, Reading, too_few
from drift.schema import Floats, Rows
from drift.side import Side
from drift.window import Half, Window

LEAST: Final = 1e-4
"""The smallest p-value that is believed."""

FEWEST_ROWS: Final = 20

NOTICE: Final = (
    "alibi-detect is active. Its licence, the Business Source License 1.1, grants production use to non-profit "
    "educational institutions only; anybody else needs a licence from Seldon. Sluice's own detectors do without it."
)

_PERMUTATIONS: Final = 100
_LEVEL: Final = 0.05
_MOST_TOLD: Final = 10
_LOG: Final = logging.getLogger("drift.detectors.alibi")

Predict = Callable[[NDArray[Any]], Mapping[str, Any]]


class Test(StrEnum):
    """Which of them, by its name there."""

    KS = "KSDrift"
    CVM = "CVMDrift"
    CHI_SQUARE = "ChiSquareDrift"
    TABULAR = "TabularDrift"
    MMD = "MMDDrift"
    LSDD = "LSDDDrift"

    __test__ = False  # pytest takes the name for a test


WHOLE_ROWS: Final = frozenset({Test.MMD, Test.LSDD})


@dataclass(frozen=True)
class Alibi:
    """One of its detectors, fitted to a baseline's kept inputs.

    Attributes:
        test: which.
        side: the inputs.
        names: of the features that it looks at.
        predict: of the fitted detector: a window's rows to what it says of them.
    """

    test: Test
    side: Side
    names: tuple[str, ...]
    predict: Predict

    @property
    def layer(self) -> Layer:
        """Single features or whole rows."""
        return Layer.MULTIVARIATE if self.test in WHOLE_ROWS else Layer.UNIVARIATE

    @classmethod
    def fit(cls, baseline: Baseline, test: Test = Test.TABULAR) -> Self:
        """Fitted to a baseline.

        Raises:
            NotInstalled: alibi-detect is not there.
            Unfit: the test has nothing to look at, such as numbers where there are levels alone.
        """
        side = baseline.inputs
        names, reference = _seen(test, side, side.sample)
        if not names:
            raise Unfit(f"{baseline} has no inputs that {test} could look at.", "Choose another detector for it.")
        return cls(test, side, names, _fitted(test, reference, len(side.schema.numeric)))

    def evaluate(self, window: Window) -> Reading:
        """What it says of the window's kept rows."""
        kept = window.inputs.kept
        if len(kept) < FEWEST_ROWS:
            return too_few(self.layer, self.test.value, len(kept), FEWEST_ROWS)
        with _drawn_from(zlib.crc32(repr((window.baseline, window.rows, window.first_s, window.last_s)).encode())):
            said = self.predict(_seen(self.test, self.side, kept)[1])
        p_values = np.nan_to_num(np.atleast_1d(np.asarray(said["p_val"], np.float64)), nan=1.0)
        if self.test in WHOLE_ROWS:  # shares of permutations, of which the window itself is one (Phipson, Smyth 2010)
            p_values = (1 + _PERMUTATIONS * p_values) / (1 + _PERMUTATIONS)
        distances = np.atleast_1d(np.asarray(said["distance"], np.float64))
        p_value = float(np.clip(p_values.size * p_values.min(), LEAST, 1.0))
        farthest = int(np.argmin(p_values))
        features = self._moved(window, p_values) if p_value <= _LEVEL and self.test not in WHOLE_ROWS else ()
        value, limit = float(distances[farthest]), float(said.get("distance_threshold", 0.0))
        return Reading(self.layer, self.test.value, value, limit, p_value, log_e_of(p_value), features)

    def worth(self, window: Window) -> bool:
        """Whether any feature that it looks at moved by a twentieth beyond what calm windows did."""
        half = window.inputs
        sizes, bounds = self._sizes(half), self.side.calm.bounds(half.sketch.rows)
        return bool((sizes.variation - bounds.variation >= LEAST_VARIATION).any())

    def _sizes(self, half: Half) -> Sizes:
        return self.side.expected(half.strata).sizes(half.sketch)

    def _moved(self, window: Window, p_values: Floats) -> tuple[Moved, ...]:
        """Features below Bonferroni's level; the score is -log10 of the p-value."""
        sizes, all_names = self._sizes(window.inputs), list(self.side.schema.features)
        found = []
        for at in np.argsort(p_values, kind="stable")[:_MOST_TOLD].tolist():
            if p_values[at] <= _LEVEL / p_values.size:
                where = all_names.index(self.names[at])
                score = -float(np.log10(max(p_values[at], 1e-300)))
                told = float(sizes.variation[where]), float(sizes.stability[where])
                found.append(Moved(self.names[at], score, *told))
        return tuple(found)


def _seen(test: Test, side: Side, rows: Rows) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The features that a test looks at, and these rows as it takes them, shape (rows, features)."""
    schema = side.schema
    if test in WHOLE_ROWS:
        points = None if side.projection is None else side.projection.points(rows)
        return (schema.numeric if points is not None else (), np.empty((0, 0)) if points is None else points)
    numbers = _in_range(side, rows.numbers)
    if test is Test.CHI_SQUARE:
        return schema.levelled, rows.levels.astype(np.int64)
    if test is Test.TABULAR:
        return schema.features, np.concatenate((numbers, rows.levels.astype(np.float64)), axis=1)
    return schema.numeric, numbers


def _in_range(side: Side, numbers: Floats) -> Floats:
    """Numbers within twice the reference's range; what is missing lies above that."""
    sample = np.where(np.isfinite(side.sample.numbers), side.sample.numbers, side.binning.center)
    low, high = sample.min(axis=0, initial=np.inf), sample.max(axis=0, initial=-np.inf)
    reach = np.maximum(high - low, side.binning.spread)
    clipped = np.clip(numbers, low - reach, high + reach)
    return np.where(np.isnan(numbers), high + 2 * reach, clipped)


def _fitted(test: Test, reference: NDArray[Any], numeric: int) -> Predict:
    options: Mapping[Test, dict[str, Any]] = MappingProxyType({
        Test.TABULAR: {"categories_per_feature": dict.fromkeys(range(numeric, reference.shape[1]))},
        Test.MMD: {"backend": "pytorch", "n_permutations": _PERMUTATIONS},
        Test.LSDD: {"backend": "pytorch", "n_permutations": _PERMUTATIONS},
    })  # fmt: skip
    kind = getattr(_library(), test.value)
    said = {} if test is Test.TABULAR and numeric == reference.shape[1] else options.get(test, {})
    with _drawn_from(0):
        detector = kind(reference, **said)

    def predict(rows: NDArray[Any]) -> Mapping[str, Any]:
        said: Mapping[str, Any] = detector.predict(rows)["data"]
        if test in WHOLE_ROWS:
            return said
        still = (reference == reference[0]).all(axis=0) & (rows == reference[0]).all(axis=0)
        return {**said, "p_val": np.where(still, 1.0, said["p_val"])}

    return predict


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """What PyTorch draws meanwhile is drawn from this seed: who hears a window again hears the same."""
    torch = sys.modules.get("torch")  # the library has imported it, or draws nothing from it
    if torch is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@cache
def _library() -> Any:  # noqa: ANN401 - it ships no types
    try:
        library = import_module("alibi_detect.cd")
    except ImportError as error:
        raise NotInstalled(
            "The detectors of alibi-detect were chosen, and it is not installed.",
            "Read its licence, then pip install 'sluice-gateway[alibi]'; or choose Sluice's own.",
        ) from error
    _LOG.warning(NOTICE)
    return library
