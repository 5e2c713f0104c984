"""How the side of a baseline is measured: counts of all rows, windows cut from them, and what these show in calm.

Each window is compared with the rest of the reference (`drift.leaving_out`). Hours are told apart where windows lie
nearer to the rest of their own hours than to that of all of them, in any feature and by more than chance does: a paired
t-test over days, at a level that features share (Bonferroni). Of several ways to cut the week a finer one is taken
where it is nearer than the last by the same test. Where hours do not differ nothing is cut, for a part of the reference
errs more than all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from drift.calibration import Cutting, Null
from drift.errors import Unfit
from drift.leaving_out import Apart, Others, Seen, Together, Window
from drift.moves import Sizes, outside
from drift.projection import UNIT, discrepancy, fitted
from drift.schema import Codes, Floats, Rows, Schema
from drift.side import SAMPLE, ByHour, Calm, Part, Side, roots_of, scores_of, tops_of
from drift.sketches import Sketch, cut
from drift.strata import FEWEST_DAYS, Clock, Read, Strata, Whole, cuts, fewest_rows

_LEAST_SCALE: Final = 0.1  # of a statistic that is about 1 in calm; one that never moved is not infinitely sure
_FEWEST_SPANS: Final = 4
_FOR_PROJECTION: Final = 10_000
_COMPARED: Final = 200  # windows by which ways of cutting the week are compared
_LEVEL: Final = 0.01


@dataclass(frozen=True)
class Hours:
    """When the rows of a reference were, and what is wanted of that.

    Attributes:
        clock: whose hours.
        at_s: of each row, seconds since 1970, shape (rows,).
        wanted: True insists on strata, False does without; None has them where hours differ and rows are enough.
    """

    clock: Clock
    at_s: Floats
    wanted: bool | None = None

    @cached_property
    def read(self) -> Read:
        """What the clock showed."""
        return self.clock.read(self.at_s)

    def codes(self, strata: Strata | None) -> Codes:
        """The stratum of each row; all are of one for None."""
        return np.zeros(len(self.at_s), np.uint8) if strata is None else strata.of_hour[self.read.hours]


class Measured(NamedTuple):
    """A side, and in a sentence whether its hours are told apart; empty where nobody can know."""

    side: Side
    note: str


def measured(schema: Schema, rows: Rows, cutting: Cutting, hours: Hours | None = None) -> Measured:
    """The side of these reference rows, which are those that windows are cut from.

    Args:
        schema: theirs.
        rows: in the order of time where they have one.
        cutting: how windows are taken from them.
        hours: when they were; None where that is not known.

    Raises:
        Unfit: too few rows, too few independent windows (`Cutting`), or strata are insisted on that cannot be had.
    """
    binning = cut(rows.numbers)
    projection = fitted(rows.part(_evenly(len(rows), _FOR_PROJECTION)), binning, cutting.seed)
    seen = Seen(rows, binning, projection, len(schema.numeric))
    told_apart, note = _told_apart(seen, cutting, hours)
    kept = _evenly(len(rows), SAMPLE)
    by_hour = None
    if told_apart is not None:
        by_hour = ByHour(told_apart.strata, told_apart.apart.split, told_apart.apart.codes[kept])
    whole = Part(binning.sketch(rows), seen.sums(slice(None)) if by_hour is None else by_hour.split.sums.sum(axis=0))
    calm = _calm(seen, cutting, Together(seen, whole, cutting) if told_apart is None else told_apart.apart)
    return Measured(Side(schema, binning, whole.sketch, rows.part(kept), calm, projection, whole.sums, by_hour), note)


class _ToldApart(NamedTuple):
    strata: Strata
    apart: Apart


def _told_apart(seen: Seen, cutting: Cutting, hours: Hours | None) -> tuple[_ToldApart | None, str]:
    """The hours told apart, where they are; and in a sentence how that was decided."""
    if hours is None or hours.wanted is False or not cutting.ordered:
        return None, ""
    days, features = hours.read.days, seen.rows.numbers.shape[1] + seen.rows.levels.shape[1]
    ways = list(cuts(hours.clock, hours.read, cutting.size, features))
    if not ways:
        return None, _too_few(hours, days, fewest_rows(cutting.rows, cutting.size, features))
    best = ways[0] if hours.wanted else None
    found = _roots(seen, cutting, best, hours)
    for strata in ways:
        tried = _roots(seen, cutting, strata, hours)
        if strata is not best and _is_nearer(found, tried):
            best, found = strata, tried
    if best is None:
        return None, "Hours do not differ by more than chance, so windows are compared with all of them alike."
    said = (
        f"Windows are compared with the same hours of other days: {best.count} strata by the clock of "
        f"{best.clock.zone}, such as {best.names[0]}."
    )
    return _ToldApart(best, Apart(seen, hours.codes(best), days, best.count)), said


def _too_few(hours: Hours, days: Whole, least: int) -> str:
    """In a sentence what it takes.

    Raises:
        Unfit: strata are insisted on.
    """
    rows = len(days)
    said = (
        f"To tell hours apart takes {FEWEST_DAYS} days, and {least:,} rows of each part of a day; there are "
        f"{rows:,} rows on {np.unique(days).size:,} days"
    )
    if hours.wanted:
        raise Unfit(f"{said}.", "Give more rows, a smaller window, or do without strata.")
    return f"{said}: windows are compared with all hours alike."


class _Roots(NamedTuple):
    """How far some windows lie from the rest, cube roots, shape (windows, features); and the day of each."""

    found: Floats
    days: Whole


def _roots(seen: Seen, cutting: Cutting, strata: Strata | None, hours: Hours) -> _Roots:
    """Of windows over all of the reference, each held against other days."""
    days, count = hours.read.days, 1 if strata is None else strata.count
    apart = Apart(seen._replace(projection=None), hours.codes(strata), days, count)
    starts = np.linspace(0, cutting.rows - cutting.size, min(_COMPARED, cutting.rows // cutting.size * 4)).astype(int)
    found = []
    for start in starts.tolist():
        at = slice(start, start + cutting.size)
        window = apart.seen.part(at)
        distances = apart.rest(Window(at, window)).reference.distances(window.sketch.shares)
        found.append(roots_of(distances, cutting.size))
    return _Roots(np.array(found), days[starts + cutting.size // 2])


def _is_nearer(before: _Roots, after: _Roots) -> bool:
    """Whether in any feature windows lie nearer than before, by more than chance from day to day."""
    gains, days = before.found - after.found, np.unique(before.days)
    if days.size < FEWEST_DAYS:
        return False
    by_day = np.array([gains[before.days == day].mean(axis=0) for day in days])
    mean, error = by_day.mean(axis=0), by_day.std(axis=0, ddof=1) / math.sqrt(len(by_day))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean > 0, mean / error, 0.0)
    return bool((special.stdtr(len(by_day) - 1, -t) * mean.size <= _LEVEL).any())


def _calm(seen: Seen, cutting: Cutting, others: Others) -> Calm:
    tops = tops_of(seen.binning)
    roots, rates, joint = [], [], []
    for at in cutting.windows():
        window = seen.part(at)
        rest = others.rest(Window(at, window))
        distances = rest.reference.distances(window.sketch.shares)
        roots.append(roots_of(distances * cutting.widening, cutting.size))
        rates.append(outside(window.sketch, seen.numeric, tops) / cutting.size)
        if seen.projection is not None:
            apart = discrepancy(window.sums / (UNIT * cutting.size), rest.mean)
            joint.append(cutting.widening * cutting.size * apart)
    found = np.array(roots)
    location, scale = found.mean(axis=0), np.maximum(found.std(axis=0), _LEAST_SCALE)
    scores = [scores_of(one) for one in (found - location) / scale]
    independent = cutting.independent
    variation, stability = zip(*_spans(seen, cutting, others), strict=True)
    return Calm(
        size=cutting.size,
        ordered=cutting.ordered,
        independent=independent,
        location=location,
        scale=scale,
        variation=np.array(variation),
        stability=np.array(stability),
        rates=np.max(rates, axis=0),
        peak=Null(np.array([one.peak for one in scores]), independent),
        total=Null(np.array([one.total for one in scores]), independent),
        joint=Null(np.array(joint), independent) if joint else None,
    )


def _spans(seen: Seen, cutting: Cutting, others: Others) -> Iterator[tuple[Floats, Floats]]:
    """Highest total variation and stability index of spans of 1, 2, 4 ... windows; of one where rows are drawn."""
    if not cutting.ordered:
        windows = [Window(at, seen.counted(at)) for at in cutting.windows()]
        yield _summed_up([others.rest(one).reference.sizes(one.part.sketch) for one in windows])
        return
    starts = range(0, cutting.rows - cutting.size + 1, cutting.size)
    blocks = [others.pieces(slice(at, at + cutting.size)) for at in starts]
    length = 1
    while len(blocks) >= _FEWEST_SPANS * length:
        firsts = range(0, len(blocks) - length + 1, max(1, length // 4))
        joined = (reduce(_merged, blocks[at : at + length]) for at in firsts)
        yield _summed_up([others.rest_of(one).sizes(_sketch_of(one)) for one in joined])
        length *= 2


def _merged(one: Mapping[int, Part], other: Mapping[int, Part]) -> Mapping[int, Part]:
    both = dict(one)
    for at, part in other.items():
        both[at] = both[at].merge(part) if at in both else part
    return both


def _sketch_of(pieces: Mapping[int, Part]) -> Sketch:
    return reduce(Sketch.merge, (part.sketch for part in pieces.values()))


def _summed_up(sizes: list[Sizes]) -> tuple[Floats, Floats]:
    return np.max([one.variation for one in sizes], axis=0), np.max([one.stability for one in sizes], axis=0)


def _evenly(rows: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.intp))
