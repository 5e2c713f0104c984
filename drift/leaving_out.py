"""What a window of the reference is compared with: the reference without it, as a live one will be with all of it.

Where hours are told apart that is the window's own hours on other days: neighbours of the same day resemble it more
than tomorrow will. Which hours are told apart, and whether any are, is for `drift.measuring` to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from drift.calibration import Cutting
from drift.moves import Reference
from drift.projection import PARTS, UNIT, Projection
from drift.schema import Codes, Floats, Rows
from drift.side import Part, Split
from drift.sketches import Binning
from drift.strata import Whole

_AT_ONCE: Final = 5_000  # rows whose projections are summed up

Places = slice | NDArray[np.intp]
"""Which rows of the reference."""


class Seen(NamedTuple):
    """The reference, and how its rows are counted.

    Attributes:
        rows: all of them.
        binning: into which cells.
        projection: of rows as wholes; None where there is none.
        numeric: how many features are numbers; they come first.
    """

    rows: Rows
    binning: Binning
    projection: Projection | None
    numeric: int

    def part(self, at: Places) -> Part:
        """These rows, which may be all of a large reference's day."""
        return Part(self.binning.sketch(self.rows.part(at)), self.sums(at))

    def counted(self, at: Places) -> Part:
        """These rows' counts without sums, which take longer."""
        sums = np.zeros(0 if self.projection is None else PARTS, np.int64)
        return Part(self.binning.sketch(self.rows.part(at)), sums)

    def sums(self, at: Places) -> NDArray[np.int64]:
        """Of the projection's parts over these rows, so many at once."""
        if self.projection is None:
            return np.zeros(0, np.int64)
        total, rows = np.zeros(PARTS, np.int64), self.rows.part(at)
        for start in range(0, len(rows), _AT_ONCE):
            total += self.projection.sums(rows.part(slice(start, start + _AT_ONCE)))
        return total


class Window(NamedTuple):
    """A window of the reference.

    Attributes:
        at: which rows.
        part: what they come to.
    """

    at: Places
    part: Part


class Rest(NamedTuple):
    """What a window is compared with.

    Attributes:
        reference: distributions of each feature.
        mean: of the projection's parts, shape (PARTS,); (0,) without one.
    """

    reference: Reference
    mean: Floats


class Others(Protocol):
    """The reference, from which a window of it can be left out."""

    def rest(self, window: Window) -> Rest:
        """What a window is compared with; windows come in the order of their rows."""

    def pieces(self, at: slice) -> Mapping[int, Part]:
        """The rows at these places, in as many parts as they are left out of."""

    def rest_of(self, pieces: Mapping[int, Part]) -> Reference:
        """What a span of these pieces is compared with."""


@dataclass(frozen=True)
class Together:
    """All hours alike: a window is compared with all rows but its own, or with all where it was drawn from them.

    Attributes:
        seen: the reference.
        whole: all of its rows.
        cutting: how windows are taken from them.
    """

    seen: Seen
    whole: Part
    cutting: Cutting

    def rest(self, window: Window) -> Rest:
        """Neighbours are left out; of drawn rows the others are as they were."""
        rest, rows = self.whole, self.cutting.rows
        if self.cutting.ordered:
            sketch, sums = window.part
            rest, rows = Part(rest.sketch.less(sketch), rest.sums - sums), rows - self.cutting.size
        return Rest(Reference.of(rest.sketch, self.seen.numeric), rest.sums / (UNIT * rows))

    def pieces(self, at: slice) -> Mapping[int, Part]:
        """One."""
        return {0: self.seen.counted(at)}

    def rest_of(self, pieces: Mapping[int, Part]) -> Reference:
        """All rows but these."""
        return Reference.of(self.whole.sketch.less(pieces[0].sketch), self.seen.numeric)


@dataclass
class Apart:
    """Each stratum by itself: a window is compared with the rows of its strata on all days but its own.

    Attributes:
        seen: the reference.
        codes: the stratum of each row, shape (rows,).
        days: the day of each, shape (rows,).
        count: of the strata.
    """

    seen: Seen
    codes: Codes
    days: Whole
    count: int
    _held: dict[int, Part] = field(default_factory=dict)

    @cached_property
    def split(self) -> Split:
        """The reference, a part for each stratum."""
        places = [np.flatnonzero(self.codes == at) for at in range(self.count)]
        counts = np.stack([self.seen.binning.sketch(self.seen.rows.part(at)).counts for at in places])
        sums = np.stack([self.seen.sums(at) for at in places])
        return Split(counts, np.array([at.size for at in places], np.int64), sums)

    def rest(self, window: Window) -> Rest:
        """Occasions, which are strata of single days, are counted once for all windows in them."""
        occasions = np.unique(self._occasions[window.at]).tolist()
        self._held = {one: self._held.get(one) or self.seen.part(self._places(one)) for one in occasions}
        taken: dict[int, Part] = {}
        for occasion, part in self._held.items():
            stratum = occasion % self.count
            taken[stratum] = taken[stratum].merge(part) if stratum in taken else part
        return Rest(*self.split.less(taken).mixed(self._strata(window.at), self.seen.numeric))

    def pieces(self, at: slice) -> Mapping[int, Part]:
        """One of each stratum."""
        codes = self.codes[at]
        return {int(one): self.seen.counted(at.start + np.flatnonzero(codes == one)) for one in np.unique(codes)}

    def rest_of(self, pieces: Mapping[int, Part]) -> Reference:
        """All rows of the same strata but these: spans may be longer than days."""
        rows = np.zeros(self.count, np.int64)
        for at, part in pieces.items():
            rows[at] = part.sketch.rows
        return self.split.less(pieces).mixed(rows, self.seen.numeric)[0]

    def _strata(self, at: Places) -> Whole:
        return np.bincount(self.codes[at], minlength=self.count).astype(np.int64)

    @cached_property
    def _occasions(self) -> Whole:
        """A number for each stratum of each day, shape (rows,)."""
        return np.asarray((self.days - self.days.min()) * self.count + self.codes, np.int64)

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self._occasions, kind="stable")

    @cached_property
    def _sorted(self) -> Whole:
        return self._occasions[self._order]

    def _places(self, occasion: int) -> NDArray[np.intp]:
        first, end = np.searchsorted(self._sorted, [occasion, occasion + 1])
        return self._order[first:end]
