"""Three years of real data that drift and harm nobody: employment in Massachusetts, from the American census.

The reference is 2015, with the scores of a model that was trained on an earlier year; 2016 to 2018 follow in the order
of the years, with labels. A good system sees that people change, and does not retrain a model as good as before.

What is judged is the webhook `drift.retrain`, as `tests.drift.proof.installation` has it from the shipped code, which
is also told which answers were right. Beside it stands the rule of who has no labels: inputs and answers both moved.
Whether the model was as good then is asked in two ways: by AUC on all rows between suspicion and the call, and by AUC
on the whole year in which it came. As good is an AUC no lower than in 2015 by more than its error (Hanley and McNeil
1982).

The rows have no time but the year: there are no months, days or hours in the files, so the order of time is that of
the years, and within a year it is random. The file's order is none of time: from 2017 on it has those who live in
institutions and dormitories in one stretch of 10,000 rows. It is shown all the same, as whoever replays the file gets
it; of it only the webhook is judged, and the rule without labels falls short there.

The files are those that nannyml ships (Apache-2.0); of that package nothing is run, so nothing of it is installed.
"""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from drift import tables
from drift import window as windows
from drift.baseline import Baseline, Order, made
from drift.findings import Finding
from drift.incidents import Incident, Kind, Of
from drift.reading import Layer
from drift.status import LayerStatus
from drift.tables import Table
from registry.models import ModelName, VersionNumber
from tests.drift.proof.installation import WINDOW_S, Installation

ROWS: Final = 500
YEARS: Final = (2016, 2017, 2018)

_FOLDER = "nannyml/datasets/data/employment_MA_"
_NOT_INPUTS = ["id", "employed", "prediction", "predicted_probability"]
_SCORE = "predicted_probability"
_ANSWER = "prediction"
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


class Quality(NamedTuple):
    """How good the model was on some rows.

    Attributes:
        auc: of its scores.
        highest: what that may be, at 99 %.
    """

    auc: float
    highest: float


class Call(NamedTuple):
    """A call for retraining.

    Attributes:
        first: the window since which what calls for it was suspected.
        last: the one after which it was called for.
        rows: how good the model was on all rows of these windows.
        year: how good it was in the year of the last one.
    """

    first: int
    last: int
    rows: Quality
    year: Quality


class Outcome(NamedTuple):
    """Of all years.

    Attributes:
        years: each by itself.
        told: what was told or written, and how often; finished episodes are `over`.
        retrained: each `drift.retrain`.
        unlabelled: calls by the rule of who has no labels.
        auc: of the reference.
    """

    years: tuple[Year, ...]
    told: Mapping[str, int]
    retrained: tuple[Call, ...]
    unlabelled: tuple[Call, ...]
    auc: float

    def needless(self, calls: Iterable[Call]) -> tuple[int, int]:
        """How many of these came while AUC held: on their rows, and in their year."""
        kept = [(one.rows.highest >= self.auc, one.year.highest >= self.auc) for one in calls]
        return sum(rows for rows, _ in kept), sum(year for _, year in kept)


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
    installation, peers = Installation(baseline), _peers(baseline)
    told, retrained, unlabelled = Counter[str](), list[Call](), Unlabelled()
    answers, years = data.later.columns[_ANSWER], data.later.columns["year"]
    seen: dict[int, list[tuple[bool, bool]]] = {year: [] for year in YEARS}
    theirs: dict[int, list[tuple[bool, bool]]] = {year: [] for year in YEARS}
    for at in range(data.later.rows // ROWS):
        part = slice(at * ROWS, (at + 1) * ROWS)
        window = _window(baseline, data.later.part(part), at)
        heard = installation.hear(window, int(np.sum(answers[part] != data.employed[part])))
        unlabelled.hear(heard.findings, at)
        told.update(one.kind.value for one in heard.told)
        retrained += [_call(data, since(one.incident), at) for one in heard.told if one.kind is Kind.RETRAIN]
        year = int(np.median(years[part]))
        seen[year].append(_seen(heard.layers))
        if at % every == 0:
            theirs[year].append(tuple(peer(window) for peer in peers))
    found = tuple(_year(data, year, seen[year], theirs[year]) for year in YEARS)
    reference = float(roc_auc_score(data.reference.columns["employed"], data.reference.columns[_SCORE]))
    calls = tuple(_call(data, first, last) for first, last in unlabelled.calls)
    return Outcome(found, told, tuple(retrained), calls, reference)


def since(incident: Incident) -> int:
    """The window since which errors were suspected of rising; without labels, since which anything was."""
    raised = incident.raised.values()
    labels = [one.since_s for one in raised if one.of is Of.LABELS]
    return round(min(labels or [one.since_s for one in raised]) / WINDOW_S)


class Unlabelled:
    """The rule of who has no labels (STATS.md, A.7): inputs moved, one way or the other, and so did what is answered.

    Attributes:
        calls: the windows since which both had moved, and after which it was called for; once in an episode.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self._called: set[str] = set()
        self._begins: dict[str, dict[Layer, int]] = {}

    def hear(self, findings: Iterable[Finding], at: int) -> None:
        """After the window of that place."""
        for finding in findings:
            begins = self._begins.setdefault(finding.episode, {})
            begins[finding.layer] = round(finding.since_s / WINDOW_S)
            if finding.episode not in self._called and calls_for_retraining(set(begins)):
                self._called.add(finding.episode)
                self.calls.append((both_since(begins), at))


def calls_for_retraining(layers: set[Layer]) -> bool:
    """Whether inputs and predictions are among them."""
    return bool(layers & _OF_INPUTS) and Layer.PREDICTION in layers


def highest_auc(auc: float, positive: int, negative: int) -> float:
    """The upper 99 % bound of an AUC that so many rows of either kind showed."""
    one, other = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positive - 1) * (one - auc**2) + (negative - 1) * (other - auc**2)
    return auc + _ONE_IN_100 * math.sqrt(max(spread, 0.0) / (positive * negative))


def _call(data: Data, first: int, last: int) -> Call:
    years = data.later.columns["year"]
    rows = np.arange(first * ROWS, (last + 1) * ROWS)
    of_year = np.flatnonzero(years == np.median(years[last * ROWS : (last + 1) * ROWS]))
    return Call(first, last, _quality(data, rows), _quality(data, of_year))


def _quality(data: Data, rows: NDArray[np.intp]) -> Quality:
    employed = data.employed[rows]
    auc, positive = float(roc_auc_score(employed, data.later.columns[_SCORE][rows])), int(np.sum(employed))
    return Quality(auc, highest_auc(auc, positive, len(employed) - positive))


def _seen(layers: Iterable[LayerStatus]) -> tuple[bool, bool]:
    """Whether any layer, and whether predictions, were beyond 5 % in that window."""
    said = {one.layer: one.p_value <= _LEVEL for one in layers}
    return any(said.values()), said[Layer.PREDICTION.value]


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
    return windows.folded_in(baseline, inputs, part.only([_SCORE]), keys, at * WINDOW_S)


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
