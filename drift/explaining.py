"""After an alarm: which features moved and how much, before and after, and whether it is one segment's doing.

Read off the counts of all rows since suspicion began; segments off the rows that were kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.reading import Moved
from drift.schema import BINS, MISSING, UNSEEN, Codes, Floats, Rows
from drift.side import Side
from drift.window import Half

MOST_FEATURES: Final = 10

_BARS: Final = 16
_FEWEST: Final = 30  # rows inside and outside of a segment that can be compared
_FROM: Final = 20  # features, the farthest first, whose cells may be segments
_CONCENTRATED: Final = 3.0
_CLEAR: Final = 0.15
_TWICE: Final = 2.0  # as many rows, or half as many, and
_BEYOND: Final = 4.0  # standard errors of a share


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of two histograms.

    Attributes:
        name: the interval or the level, '' for the rarest levels together.
        before: the reference's share of rows.
        after: the window's.
    """

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Change:
    """One feature, before and after.

    Attributes:
        moved: how far.
        share: its part of all that moved, 0 to 1.
        bars: both histograms.
    """

    moved: Moved
    share: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows alike in one feature in which alone another one moved.

    Attributes:
        feature: in which they are alike.
        name: what they have there.
        share: their part of the window's kept rows.
        inside: the total variation of the feature that moved, within the segment.
        outside: and without it.
    """

    feature: str
    name: str
    share: float
    inside: float
    outside: float


def changes(side: Side, half: Half) -> tuple[Change, ...]:
    """The features of one side, the farthest first: at most ten."""
    expected = side.expected(half.strata)
    standardised = expected.standardised(half.sketch)
    weights = np.square(np.maximum(standardised, 0.0))
    whole = float(weights.sum()) or 1.0
    sizes, names = expected.sizes(half.sketch), side.schema.features
    found = []
    for at in np.argsort(-standardised, kind="stable")[:MOST_FEATURES].tolist():
        told = float(standardised[at]), float(sizes.variation[at]), float(sizes.stability[at])
        bars = tuple(histogram(side, half, at))
        found.append(Change(Moved(names[at], *told), float(weights[at] / whole), bars))
    return tuple(found)


def histogram(side: Side, half: Half, at: int) -> Iterator[Bar]:
    """One feature's bars: sixteen at most for a number, and those of what is missing and unseen where there are any."""
    before, after = side.expected(half.strata).reference.shares[at], half.sketch.shares[at]
    groups = _intervals(side, at) if at < len(side.schema.numeric) else _levels(side, at)
    for name, cells in groups:
        yield Bar(name, float(before[cells].sum()), float(after[cells].sum()))
    for name, cell in (("missing", MISSING), ("unseen", UNSEEN)):
        if before[cell] or after[cell]:
            yield Bar(name, float(before[cell]), float(after[cell]))


def segment(side: Side, half: Half, feature: str) -> Segment | None:
    """The segment in which alone this feature moved; None where it moved everywhere, or rows are too few to say.

    Rows that moved in the feature that makes the segments have changed segment: one that gained or lost many of its
    rows says where they are now, and not who they were, so it is none.

    Args:
        side: inputs or outputs.
        half: of the same side.
        feature: the one that moved farthest.
    """
    names = side.schema.features
    before, after = _cells(side, side.sample_of(half.strata)), _cells(side, half.kept)
    weights = side.weights_of(half.strata)
    target, found = names.index(feature), []
    for at in range(min(len(names), _FROM)):
        if at == target:
            continue
        for group in np.unique(after[:, at]).tolist():
            inside, without = after[:, at] == group, before[:, at] == group
            if min(inside.sum(), (~inside).sum(), without.sum(), (~without).sum()) < _FEWEST:
                continue
            if _are_others(float(weights[without].sum()), float(inside.mean()), _rows(weights), len(after)):
                continue
            within = _variation(before[without, target], weights[without], after[inside, target])
            beyond = _variation(before[~without, target], weights[~without], after[~inside, target])
            if within >= _CLEAR and within >= _CONCENTRATED * beyond:
                found.append(Segment(names[at], _name(side, at, group), float(inside.mean()), within, beyond))
    return max(found, key=lambda one: one.inside - one.outside, default=None)


def _cells(side: Side, rows: Rows) -> NDArray[np.uint8]:
    """The coarse cell of each feature: four for numbers, so that each holds a quarter; levels as they are."""
    numbers = side.binning.cells(rows.numbers)
    used = np.maximum(side.tops, 1)
    quarter = (numbers.astype(np.int64) * 4 // (used + 1)).astype(np.uint8)
    return np.concatenate((np.where(numbers < BINS, quarter, numbers), rows.levels), axis=1)


def _are_others(before: float, after: float, rows_before: float, rows_after: int) -> bool:
    """Whether a segment's share of all rows is another one by far, and by more than chance would make it."""
    together = (before * rows_before + after * rows_after) / (rows_before + rows_after)
    error = math.sqrt(together * (1 - together) * (1 / rows_before + 1 / rows_after))
    return abs(after - before) > _BEYOND * error and max(before, after) > _TWICE * min(before, after)


def _rows(weights: Floats) -> float:
    """As many rows of one weight as would err like these."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _variation(before: Codes, weights: Floats, after: Codes) -> float:
    """Total variation less what chance does to as many rows."""
    counts = np.bincount(before, weights, minlength=UNSEEN + 1)
    theirs = counts / counts.sum()
    ours = np.bincount(after, minlength=UNSEEN + 1) / max(len(after), 1)
    chance = np.sqrt(theirs * (1 - theirs) * (1 / len(after) + 1 / _rows(weights)) * 2 / np.pi).sum() / 2
    return max(float(np.abs(ours - theirs).sum() / 2 - chance), 0.0)


def _name(side: Side, at: int, group: int) -> str:
    if group in (MISSING, UNSEEN):
        return "missing" if group == MISSING else "unseen"
    if at >= len(side.schema.numeric):
        return dict(enumerate(_level_names(side, at))).get(group, "")
    edges = _edges(side, at)
    used = len(edges)
    bounds = [cell for cell in range(used + 1) if cell * 4 // (used + 1) == group]
    return _interval(edges, bounds[0], bounds[-1])


def _intervals(side: Side, at: int) -> Iterator[tuple[str, list[int]]]:
    edges = _edges(side, at)
    cells = np.arange(len(edges) + 1)
    inner = [part.tolist() for part in np.array_split(cells[1:-1], min(_BARS - 2, max(len(cells) - 2, 1))) if part.size]
    for part in ([0], *inner, [len(edges)] if len(edges) else []):
        if part:
            yield _interval(edges, part[0], part[-1]), part


def _interval(edges: list[float], first: int, last: int) -> str:
    """'3 to 5', 'below 3', '5 and more', of the cells from first to last."""
    if not edges:
        return "any"
    if first == 0:
        return f"below {edges[min(last, len(edges) - 1)]:.4g}"
    if last >= len(edges):
        return f"{edges[first - 1]:.4g} and more"
    return f"{edges[first - 1]:.4g} to {edges[last]:.4g}"


def _edges(side: Side, at: int) -> list[float]:
    row = side.binning.edges[at]
    return [float(edge) for edge in row[~np.isnan(row)]]


def _level_names(side: Side, at: int) -> tuple[str, ...]:
    return side.schema.level_columns[at - len(side.schema.numeric)].levels[: BINS - 1]


def _levels(side: Side, at: int) -> Iterator[tuple[str, list[int]]]:
    names = _level_names(side, at)[: _BARS - 1]
    yield from ((name, [cell]) for cell, name in enumerate(names))
    if len(side.schema.level_columns[at - len(side.schema.numeric)].levels) > len(names):
        yield "", list(range(len(names), BINS))
