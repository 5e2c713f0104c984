"""What came of a run, from the rows of all its workers: figures for the whole of it and for each stretch of it.

Latencies count from when a request was due. A request without an answer is slower than any latency, so that giving up
never makes a run look fast; an answer that is an error counts among the errors and in no latency.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.load.records import UNANSWERED, Error, Kind, Records
from loadtests.load.shapes import how_many
from loadtests.load.spec import Spec

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
_WIDTHS_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)
_MOST_STRETCHES = 250


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long requests took, of which some never came back.

    Attributes:
        answered_s: of good answers, ascending.
        unanswered: how many had none.
    """

    answered_s: NDArray[np.float64]
    unanswered: int = 0

    def quantile(self, share: float) -> float:
        """What that share of them did not exceed, seconds; infinite where that one had no answer, NaN for none."""
        count = len(self.answered_s) + self.unanswered
        if not count:
            return math.nan
        nth = max(0, math.ceil(share * count) - 1)
        return float(self.answered_s[nth]) if nth < len(self.answered_s) else math.inf


@dataclass(frozen=True, slots=True)
class Timeline:
    """The run in stretches of `width_s` seconds; a value each, by when requests were due.

    Attributes:
        at_s: where each begins.
        due: requests a second that were to be sent.
        answered: good answers a second.
        errors: failures a second.
        quantiles_s: latencies by quantile; infinite or NaN as `Latencies.quantile` has it.
        by_version: good answers a second, by version.
    """

    width_s: float
    at_s: NDArray[np.float64]
    due: NDArray[np.float64]
    answered: NDArray[np.float64]
    errors: NDArray[np.float64]
    quantiles_s: Mapping[float, NDArray[np.float64]]
    by_version: Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Results:
    """The whole run.

    Attributes:
        due: how many requests there were to be.
        seconds: how long it was to last.
        good: how many got a good answer.
        errors: failures by class, those among it that were never sent.
        by_kind: requests by how they travelled.
        by_version: good answers and their latencies by version.
        latencies: from when requests were due.
        sending: from when they were sent, of the good answers.
        lateness: how late the generator was for requests that a user waited for; never a server's doing.
        waited: how many were due while every user was busy.
        timeline: the same over time.
        unsent: how many were never sent.
    """

    due: int
    seconds: float
    good: int
    errors: Mapping[Error, int]
    by_kind: Mapping[Kind, int]
    by_version: Mapping[int, Latencies]
    latencies: Latencies
    sending: Latencies
    lateness: Latencies
    waited: int
    timeline: Timeline
    unsent: int = 0

    @property
    def error_share(self) -> float:
        """Failures among all that were due, 0 to 1."""
        return sum(self.errors.values()) / self.due if self.due else math.nan

    @property
    def rps(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds if self.seconds else 0.0


def results_of(spec: Spec, rows: Records) -> Results:
    """What the rows come to; what should be there and is not was never sent."""
    wanted = len(rows) if spec.closed else sum(how_many(spec.shape, share) for share in spec.mix.values() if share > 0)
    unsent = wanted - len(rows)
    good = rows["error"] == Error.NONE
    counts = Counter({Error(int(value)): int(count) for value, count in zip(*_counted(rows["error"]), strict=True)})
    counts.pop(Error.NONE, None)
    if unsent > 0:
        counts[Error.UNSENT] += unsent
    ready = rows["ready"] == 1
    return Results(
        due=wanted,
        seconds=spec.shape.seconds,
        good=int(good.sum()),
        errors=dict(sorted(counts.items())),
        by_kind={kind: int((rows["number"] % len(Kind) == kind).sum()) for kind in spec.users},
        by_version={version: latencies(rows[good & (rows["version"] == version)]) for version in _versions(rows[good])},
        latencies=latencies(rows, unsent),
        sending=Latencies(np.sort((rows["took"] - rows["sent"] + rows["due"])[good])),
        lateness=Latencies(np.sort((rows["sent"] - rows["due"])[ready])),
        waited=int((~ready).sum()),
        timeline=_timeline(spec, rows, unsent),
        unsent=unsent,
    )


def latencies(rows: Records, unsent: int = 0) -> Latencies:
    """Of those rows, and of so many requests that are not even among them."""
    lost = int(np.isin(rows["error"], UNANSWERED).sum())
    return Latencies(np.sort(rows["took"][rows["error"] == Error.NONE]), lost + unsent)


def missing(spec: Spec, rows: Records) -> NDArray[np.float64]:
    """When the requests were due that no row tells of, seconds from the begin."""
    known = set(rows["number"].tolist())
    found = [
        due
        for kind in spec.users
        for worker in range(spec.workers)
        for nth, due in spec.timetable(kind, worker)
        if nth * len(Kind) + kind not in known
    ]
    return np.sort(np.array(found, np.float64))


def _timeline(spec: Spec, rows: Records, unsent: int) -> Timeline:
    seconds = max(spec.shape.seconds, float(rows["due"].max()) if len(rows) else 0.0)
    width = next((one for one in _WIDTHS_S if seconds / one <= _MOST_STRETCHES), _WIDTHS_S[-1])
    count = max(1, math.ceil(seconds / width))
    absent = missing(spec, rows) if unsent else np.empty(0)
    good = rows["error"] == Error.NONE
    place = np.minimum((rows["due"] / width).astype(int), count - 1)
    gone = np.minimum((absent / width).astype(int), count - 1)

    def each(places: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(places, minlength=count) / width

    lost, never = each(gone), np.bincount(gone, minlength=count)
    parts = np.split(np.arange(len(rows)), np.searchsorted(place, np.arange(1, count)))
    of_each = [latencies(rows[part], int(never[nth])) for nth, part in enumerate(parts)]
    return Timeline(
        width,
        np.arange(count) * width,
        each(place) + lost,
        each(place[good]),
        each(place[~good]) + lost,
        {share: np.array([one.quantile(share) for one in of_each]) for share in (0.5, 0.95, 0.99)},
        {version: each(place[good & (rows["version"] == version)]) for version in _versions(rows[good])},
    )


def _counted(values: NDArray[Any]) -> tuple[Sequence[int], Sequence[int]]:
    names, counts = np.unique(values, return_counts=True)
    return names.tolist(), counts.tolist()


def _versions(rows: Records) -> list[int]:
    return [int(version) for version in np.unique(rows["version"])]
