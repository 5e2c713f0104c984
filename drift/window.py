"""Live rows between two moments, small enough to keep and to send: counts, sums, and a bounded sample of the rows.

Windows of one version merge in any order to the same bytes: counts and sums are whole numbers, and of the rows those
with the smallest keys are kept, a key being a hash of the request. So several sidecars can fold the samples of one
model, and one that is stopped resumes from what it stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift import baseline_form
from drift.baseline import Baseline
from drift.errors import Unfit
from drift.packing import pack, unpack
from drift.projection import PARTS
from drift.schema import Break, Broken, Floats, Rows
from drift.side import Side
from drift.sketches import Sketch
from drift.strata import Whole
from drift.tables import Table

KEPT: Final = 1_000
"""Rows that a window keeps."""

_KIND: Final = "window"
_MOST_BREAKS: Final = 100

Keys = NDArray[np.uint64]


def _no_strata() -> Whole:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Half:
    """A window's inputs, or its outputs.

    Attributes:
        sketch: of all rows.
        sums: of the projection's parts over all rows, as `Side.sums`.
        kept: the rows with the smallest keys.
        keys: theirs, ascending.
        breaks: what did not fit the schema, of any row; at most a hundred.
        strata: how many of the rows each stratum of the baseline has, shape (strata,); (0,) where there are none.
    """

    sketch: Sketch
    sums: NDArray[np.int64]
    kept: Rows
    keys: Keys
    breaks: tuple[Break, ...] = ()
    strata: Whole = field(default_factory=_no_strata)

    def merge(self, other: Half) -> Half:
        """Both together."""
        breaks = tuple(sorted({*self.breaks, *other.breaks}))[:_MOST_BREAKS]
        keys, kept = _smallest(np.concatenate((self.keys, other.keys)), self.kept.joined(other.kept))
        sketch, sums = self.sketch.merge(other.sketch), self.sums + other.sums
        return Half(sketch, sums, kept, keys, breaks, self.strata + other.strata)


@dataclass(frozen=True)
class Window:
    """Of one version.

    Attributes:
        baseline: digest of what it was folded by; windows of different ones do not merge.
        inputs: what was asked.
        outputs: what was answered; None where the baseline has no outputs.
        first_s: when the first of its rows came, seconds since 1970.
        last_s: when the last one came.
    """

    baseline: str
    inputs: Half
    outputs: Half | None
    first_s: float
    last_s: float

    @property
    def rows(self) -> int:
        """How many."""
        return self.inputs.sketch.rows

    @property
    def breaks(self) -> tuple[Break, ...]:
        """What did not fit, of inputs and outputs."""
        return self.inputs.breaks + (self.outputs.breaks if self.outputs else ())

    def merge(self, other: Window) -> Window:
        """Both together; associative and commutative, to the byte.

        Raises:
            Unfit: they were folded by different baselines.
        """
        if self.baseline != other.baseline or (self.outputs is None) is not (other.outputs is None):
            raise Unfit(f"Windows of the baselines {self.baseline[:12]} and {other.baseline[:12]} do not merge.")
        outputs = self.outputs.merge(other.outputs) if self.outputs and other.outputs else None
        span = min(self.first_s, other.first_s), max(self.last_s, other.last_s)
        return Window(self.baseline, self.inputs.merge(other.inputs), outputs, *span)

    def is_full(self, rows: int, seconds: float) -> bool:
        """Whether it holds so many rows and spans so long."""
        return self.rows >= rows and self.last_s - self.first_s >= seconds

    def blob(self) -> bytes:
        """Its canonical bytes."""
        halves = {"inputs": self.inputs, **({"outputs": self.outputs} if self.outputs else {})}
        plain = {
            name: {
                "rows": half.sketch.rows,
                "breaks": [[one.how.value, one.column, one.sentence] for one in half.breaks],
            }
            for name, half in halves.items()
        }
        said = {"baseline": self.baseline, "first_s": self.first_s, "last_s": self.last_s, "halves": plain}
        return pack(_KIND, said, {f"{name}/{key}": one for name, half in halves.items() for key, one in _arrays(half)})


def folded_in(
    baseline: Baseline, inputs: Table, outputs: Table | None, keys: Keys, at_s: float | Floats
) -> Window:  # fmt: skip
    """Live rows as a window.

    Args:
        baseline: of the version that was asked.
        inputs: what was asked.
        outputs: what it answered, row by row; None where it is not known, ignored where the baseline has none.
        keys: of each row, drawn or hashed independently of what it holds, shape (rows,).
        at_s: when all of them came, or each, shape (rows,); seconds since 1970.
    """
    theirs, each_s = None, np.broadcast_to(np.asarray(at_s, np.float64), keys.shape)
    if baseline.outputs is not None:
        theirs = _nothing(baseline.outputs) if outputs is None else _half(baseline.outputs, outputs, keys, each_s)
    first_s, last_s = float(np.min(at_s)), float(np.max(at_s))
    return Window(baseline.digest, _half(baseline.inputs, inputs, keys, each_s), theirs, first_s, last_s)


def empty(baseline: Baseline, at_s: float) -> Window:
    """A window of no rows."""
    outputs = None if baseline.outputs is None else _nothing(baseline.outputs)
    return Window(baseline.digest, _nothing(baseline.inputs), outputs, at_s, at_s)


def read(blob: bytes) -> Window:
    """The window in these bytes.

    Raises:
        Damaged: they are none.
    """
    plain, arrays = unpack(_KIND, blob)
    with baseline_form.reading(_KIND):
        halves = {name: _half_read(one, arrays, name) for name, one in plain["halves"].items()}
        span = float(plain["first_s"]), float(plain["last_s"])
        return Window(str(plain["baseline"]), halves["inputs"], halves.get("outputs"), *span)


def _half(side: Side, table: Table, keys: Keys, at_s: Floats) -> Half:
    return _half_of(side, side.schema.rows_of(table, len(keys)), keys, at_s)


def _half_of(side: Side, rows: Rows, keys: Keys, at_s: Floats) -> Half:
    if len(keys) != len(rows):
        raise Unfit(f"{len(rows)} rows take as many keys, not {len(keys)}.")
    sums = np.zeros(side.sums.shape, np.int64)
    if side.projection is not None and len(rows):
        sums = side.projection.sums(rows)
    chosen, kept = _smallest(keys, rows)
    return Half(side.binning.sketch(rows), sums, kept, chosen, rows.breaks[:_MOST_BREAKS], side.strata_of(at_s))


def _nothing(side: Side) -> Half:
    return _half_of(side, side.sample.part(slice(0, 0)), np.empty(0, np.uint64), np.empty(0))


def _smallest(keys: Keys, rows: Rows) -> tuple[Keys, Rows]:
    order = np.argsort(keys, kind="stable")[:KEPT]
    return keys[order], rows.part(order)


def _arrays(half: Half) -> Iterable[tuple[str, NDArray[Any]]]:
    named = {"counts": half.sketch.counts, "sums": half.sums, "keys": half.keys}
    strata = {"strata": half.strata} if half.strata.size else {}
    return {**named, **strata, **baseline_form.rows_arrays(half.kept)}.items()


def _half_read(plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], name: str) -> Half:
    counts, sums, keys = (arrays[f"{name}/{one}"] for one in ("counts", "sums", "keys"))
    kept = baseline_form.rows_of(arrays, f"{name}/")
    if sums.shape not in {(0,), (PARTS,)} or len(kept) != len(keys):
        raise ValueError("arrays of different lengths")
    breaks = tuple(Break(Broken(how), column, sentence) for how, column, sentence in plain["breaks"])
    strata, rows = arrays.get(f"{name}/strata", _no_strata()), baseline_form.whole(plain["rows"])
    if strata.ndim != 1 or (strata.size and strata.sum() != rows):
        raise ValueError("strata of other rows")
    return Half(Sketch(counts, rows), sums, kept, keys, breaks, strata)
