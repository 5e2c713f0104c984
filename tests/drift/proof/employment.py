"""Three years of real data that drift and harm nobody: employment in Massachusetts, from the American census.

The reference is 2015, with the scores of a model that was trained on an earlier year; 2016 to 2018 follow in the order
of the years, with labels. A good system sees that people change, and does not retrain a model as good as before.

The rows have no time but the year: there are no months, days or hours in the files, so the order of time is that of
the years, and within a year there is none. The file's order there is another thing: from 2017 on it has the residents
of institutions in one stretch of 10,000 rows, where people, scores and errors (24 % in place of 17 %) do differ. Both
are judged, each year's rows in random order and as the file has them: retraining must not be called for by windows on
which the model is as good as on its reference. Those are the windows, since inputs and answers have both moved, whose
answers lie out, and as good is an AUC no lower by more than its error (Hanley and McNeil 1982). In that one stretch it
is lower: 0.80 to 0.83, and 0.90 before and after.

The files are those that nannyml ships (Apache-2.0); of that package nothing is run, so nothing of it is installed.
"""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from drift import tables
from drift import window as windows
from drift.baseline import Baseline, Order, made
from drift.reading import Layer
from drift.tables import Table
from drift.watch import Watch
from registry.models import ModelName, VersionNumber

ROWS: Final = 500
YEARS: Final = (2016, 2017, 2018)

_FOLDER = "nannyml/datasets/data/employment_MA_"
_NOT_INPUTS = ["id", "employed", "prediction", "predicted_probability"]
_SCORE = "predicted_probability"
_MINUTE_S = 60.0
_OF_INPUTS = {Layer.UNIVARIATE, Layer.MULTIVARIATE}
_LEVEL = 0.05
_ONE_IN_100 = 2.326  # of a normal distribution, in standard deviations


class Data(NamedTuple):
    """As the files have it.

    Attributes:
        reference: 2015.
        later: 2016 to 2018.
        employed: of the later rows.
    """

    reference: Table
    later: Table
    employed: NDArray[Any]


def shuffled(data: Data, seed: int) -> Data:
    """With the rows of each year in random order."""
    rng = np.random.default_rng(seed)
    years = data.later.columns["year"]
    order = np.lexsort((rng.random(data.later.rows), years))
    reference = data.reference.part(rng.permutation(data.reference.rows))
    return Data(reference, data.later.part(order), data.employed[order])


class Year(NamedTuple):
    """What became of one year.

    Attributes:
        year: which.
        windows: how many.
        auc: of the model, on its labels.
        ours: the share of windows beyond 5 % by any of our layers.
        predicted: the share beyond 5 % by prediction drift.
        ks: the share that KSDrift calls drifted.
        tabular: and TabularDrift.
    """

    year: int
    windows: int
    auc: float
    ours: float
    predicted: float
    ks: float
    tabular: float


class Call(NamedTuple):
    """An episode in which inputs and predictions were both alarmed, which is what calls for retraining.

    Attributes:
        first: the window since which both had moved.
        last: the one after which it was called for.
        beyond: how many of these had answers beyond 5 %.
        auc: of the model on the rows of those.
        highest: what that may be, at 99 %.
    """

    first: int
    last: int
    beyond: int
    auc: float
    highest: float


class Outcome(NamedTuple):
    """Of all years.

    Attributes:
        years: each by itself.
        notified: episodes, of whatever layer.
        calls: those that call for retraining.
        auc: of the reference.
    """

    years: tuple[Year, ...]
    notified: int
    calls: tuple[Call, ...]
    auc: float

    @property
    def needless(self) -> int:
        """Calls for retraining while AUC holds."""
        return sum(one.highest >= self.auc for one in self.calls)


def read(wheel: Path) -> Data:
    """The files in nannyml's wheel."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        parts = {}
        for name in ("reference", "analysis", "analysis_target"):
            path = Path(folder) / f"{name}.pq"
            path.write_bytes(archive.read(f"{_FOLDER}{name}.pq"))
            parts[name] = tables.read(path)
    return Data(parts["reference"], parts["analysis"], parts["analysis_target"].columns["employed"])


def outcome(data: Data, every: int = 1) -> Outcome:
    """At default settings, window by window, in the data's order.

    Args:
        data: of all years.
        every: which windows alibi-detect is shown; ours are shown all, for alarms rest on their order.
    """
    baseline = _baseline(data.reference)
    watch, peers = Watch.usual(baseline), _peers(baseline)
    standing, layers, calls = watch.start(), dict[str, set[Layer]](), dict[str, Call]()
    begins: dict[str, dict[Layer, int]] = {}
    beyond: list[int] = []
    seen: dict[int, list[tuple[bool, bool]]] = {year: [] for year in YEARS}
    theirs: dict[int, list[tuple[bool, bool]]] = {year: [] for year in YEARS}
    for at in range(data.later.rows // ROWS):
        part = slice(at * ROWS, (at + 1) * ROWS)
        window = _window(baseline, data.later.part(part), at)
        heard = watch.hear(standing, window)
        standing = heard.standing
        said = {one.layer: one.p_value <= _LEVEL for one in heard.readings}
        beyond += [at] if said[Layer.PREDICTION] else []
        for finding in heard.findings:
            layers.setdefault(finding.episode, set()).add(finding.layer)
            begins.setdefault(finding.episode, {})[finding.layer] = round(finding.since_s / _MINUTE_S)
        for episode in {one.episode for one in heard.findings} - calls.keys():
            if calls_for_retraining(layers[episode]):
                first = both_since(begins[episode])
                calls[episode] = _call(data, (first, at), [one for one in beyond if one >= first])
        year = int(np.median(data.later.columns["year"][part]))
        seen[year].append((any(said.values()), said[Layer.PREDICTION]))
        if at % every == 0:
            theirs[year].append(tuple(peer(window) for peer in peers))
    years = tuple(_year(data, year, seen[year], theirs[year]) for year in YEARS)
    reference = float(roc_auc_score(data.reference.columns["employed"], data.reference.columns[_SCORE]))
    return Outcome(years, len(layers), tuple(calls.values()), reference)


def calls_for_retraining(layers: set[Layer]) -> bool:
    """STATS.md's rule (A.7) without labels: inputs moved, one way or the other, and so did what the model answers.

    What is shipped asks for more, namely for errors (`drift.attribution`), so it calls for no more than this.
    """
    return bool(layers & _OF_INPUTS) and Layer.PREDICTION in layers


def highest_auc(auc: float, positive: int, negative: int) -> float:
    """The upper 99 % bound of an AUC that so many rows of either kind showed."""
    one, other = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positive - 1) * (one - auc**2) + (negative - 1) * (other - auc**2)
    return auc + _ONE_IN_100 * math.sqrt(max(spread, 0.0) / (positive * negative))


def _call(data: Data, span: tuple[int, int], beyond: list[int]) -> Call:
    rows = np.concatenate([np.arange(at * ROWS, (at + 1) * ROWS) for at in beyond])
    employed = data.employed[rows]
    auc = float(roc_auc_score(employed, data.later.columns[_SCORE][rows]))
    positive = int(np.sum(employed))
    return Call(*span, len(beyond), auc, highest_auc(auc, positive, len(employed) - positive))


def both_since(begins: Mapping[Layer, int]) -> int:
    """The window since which inputs and predictions had both moved."""
    return max(begins[Layer.PREDICTION], min(begin for layer, begin in begins.items() if layer in _OF_INPUTS))


def _year(data: Data, year: int, seen: list[tuple[bool, bool]], theirs: list[tuple[bool, bool]]) -> Year:
    rows = data.later.columns["year"] == year
    auc = float(roc_auc_score(data.employed[rows], data.later.columns[_SCORE][rows]))
    ours, predicted = np.mean(seen, axis=0)
    ks, tabular = np.mean(theirs, axis=0)
    return Year(year, len(seen), auc, float(ours), float(predicted), float(ks), float(tabular))


def _baseline(reference: Table) -> Baseline:
    ordered = reference.by_time("year")
    order = Order(ModelName("employment"), VersionNumber(1), window_rows=ROWS)
    return made(order, ordered.without(_NOT_INPUTS), ordered.only([_SCORE]), 0.0)


def _window(baseline: Baseline, part: Table, at: int) -> windows.Window:
    inputs = part.without([*(name for name in _NOT_INPUTS if name in part.columns), "year"])
    keys = np.arange(part.rows, dtype=np.uint64)
    return windows.folded_in(baseline, inputs, part.only([_SCORE]), keys, at * _MINUTE_S)


def _peers(baseline: Baseline) -> tuple[Any, Any]:
    """alibi-detect at its defaults, on the rows as they are; levels are codes to KSDrift."""
    from alibi_detect.cd import KSDrift, TabularDrift  # noqa: PLC0415 - 10 s to import

    def rows(half: Any) -> NDArray[np.float64]:  # noqa: ANN401 - a half's kept rows, or a side's sample
        return np.concatenate((half.numbers, half.levels.astype(np.float64)), axis=1)

    reference = rows(baseline.inputs.sample)
    numbers = baseline.inputs.sample.numbers.shape[1]
    levels = dict.fromkeys(range(numbers, reference.shape[1]))
    fitted = KSDrift(reference), TabularDrift(reference, categories_per_feature=levels)

    def said(detector: Any) -> Any:  # noqa: ANN401 - alibi-detect's
        return lambda window: bool(detector.predict(rows(window.inputs.kept))["data"]["is_drift"])

    return said(fitted[0]), said(fitted[1])
