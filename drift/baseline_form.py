"""A side as plain values and arrays, and back: what a baseline's bytes hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift.calibration import Null
from drift.errors import Damaged, DriftError
from drift.projection import PARTS, Projection
from drift.schema import CELLS, Column, Kind, Rows, Schema
from drift.side import ByHour, Calm, Side, Split
from drift.sketches import Binning, Sketch
from drift.strata import Clock, Strata
from registry.errors import RegistryError

Arrays = Mapping[str, NDArray[Any]]

_CALM = ("location", "scale", "variation", "stability", "rates")
_PROJECTED = ("mean", "axes", "waves")
_SPLIT = ("counts", "rows", "sums")
_MISFITS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever does not fit while bytes are read is damage.

    Raises:
        Damaged: in place of what was raised.
    """
    try:
        yield
    except Damaged:
        raise
    except (*_MISFITS, DriftError, RegistryError) as error:
        raise Damaged(f"These bytes are no {what}: {error}.", "Make it anew, or restore it from a backup.") from error


def schema_plain(schema: Schema) -> dict[str, Any]:
    """The schema as JSON has it."""
    return {
        "columns": [[one.name, one.kind.value, list(one.shape), list(one.levels)] for one in schema.columns],
        "ignored": sorted(schema.ignored),
        "elements": {name: list(names) for name, names in schema.elements.items()},
    }


def schema_of(plain: Mapping[str, Any]) -> Schema:
    """The schema in plain values."""
    columns = (Column(name, Kind(kind), tuple(shape), tuple(levels)) for name, kind, shape, levels in plain["columns"])
    elements = {name: tuple(names) for name, names in plain["elements"].items()}
    return Schema(tuple(columns), frozenset(plain["ignored"]), elements)


def rows_arrays(rows: Rows) -> dict[str, NDArray[Any]]:
    """Rows as arrays; their breaks are not among them."""
    return {"numbers": rows.numbers, "levels": rows.levels, "wide": rows.wide}


def rows_of(arrays: Arrays, prefix: str) -> Rows:
    """The rows among these arrays."""
    numbers, levels, wide = (arrays[f"{prefix}{name}"] for name in ("numbers", "levels", "wide"))
    if not len(numbers) == len(levels) == len(wide):
        raise ValueError("rows of different lengths")
    return Rows(numbers, levels, wide)


def plain_of(side: Side) -> dict[str, Any]:
    """What JSON can say of it."""
    calm = side.calm
    return {
        "schema": schema_plain(side.schema),
        "rows": side.sketch.rows,
        "calm": {"size": calm.size, "ordered": calm.ordered, "independent": calm.independent},
        "wide_unit": None if side.projection is None else side.projection.wide_unit,
        **({} if side.by_hour is None else {"zone": side.by_hour.strata.clock.zone}),
    }


def arrays_of(side: Side) -> Iterator[tuple[str, NDArray[Any]]]:
    """Its arrays by name."""
    calm, projection = side.calm, side.projection
    yield from (("edges", side.binning.edges), ("center", side.binning.center), ("spread", side.binning.spread))
    yield from (("counts", side.sketch.counts), ("sums", side.sums))
    yield from ((f"sample/{name}", array) for name, array in rows_arrays(side.sample).items())
    yield from ((f"calm/{name}", getattr(calm, name)) for name in _CALM)
    yield from (("null/peak", calm.peak.scores), ("null/total", calm.total.scores))
    if projection is not None and calm.joint is not None:
        yield "null/joint", calm.joint.scores
        yield from (("projection/center", projection.center), ("projection/unit", projection.unit))
        yield from ((f"projection/{name}", getattr(projection, name)) for name in _PROJECTED)
    if side.by_hour is not None:
        yield from (("strata/of_hour", side.by_hour.strata.of_hour), ("strata/sample", side.by_hour.sample))
        yield from ((f"strata/{name}", getattr(side.by_hour.split, name)) for name in _SPLIT)


def side_of(plain: Mapping[str, Any], arrays: Arrays) -> Side:
    """The side in plain values and arrays."""
    schema = schema_of(plain["schema"])
    features, numbers = len(schema.features), len(schema.numeric)
    counts = _shaped(arrays["counts"], (features, CELLS))
    binning = Binning(*(_shaped(arrays[name], (numbers, *rest)) for name, rest in (
        ("edges", arrays["edges"].shape[1:]), ("center", ()), ("spread", ()),
    )))  # fmt: skip
    sample = rows_of(arrays, "sample/")
    projection = _projection(plain["wide_unit"], arrays)
    sums = _shaped(arrays["sums"], (0 if projection is None else PARTS,))
    return Side(
        schema,
        binning,
        Sketch(counts, whole(plain["rows"])),
        sample,
        _calm(plain["calm"], arrays, features),
        projection,
        sums,
        _by_hour(plain["zone"], arrays, counts, sums, len(sample)) if "zone" in plain else None,
    )


def _calm(plain: Mapping[str, Any], arrays: Arrays, features: int) -> Calm:
    independent = whole(plain["independent"])
    nulls = {
        name: Null(arrays[f"null/{name}"], independent)
        for name in ("peak", "total", "joint")
        if f"null/{name}" in arrays
    }
    spans = arrays["calm/variation"].shape[0]
    shapes = {"rates": (features, 3), "variation": (spans, features), "stability": (spans, features)}
    values = {name: _shaped(arrays[f"calm/{name}"], shapes.get(name, (features,))) for name in _CALM}
    if not spans:
        raise ValueError("calm of no span")
    return Calm(
        size=whole(plain["size"]),
        ordered=bool(plain["ordered"]),
        independent=independent,
        peak=nulls["peak"],
        total=nulls["total"],
        joint=nulls.get("joint"),
        **values,
    )


def _by_hour(zone: str, arrays: Arrays, counts: NDArray[Any], sums: NDArray[Any], kept: int) -> ByHour:
    """The parts, which are those of the whole."""
    strata = Strata(Clock(zone), arrays["strata/of_hour"])
    split = Split(*(arrays[f"strata/{name}"] for name in _SPLIT))
    _shaped(split.counts, (strata.count, *counts.shape))
    _shaped(split.rows, (strata.count,))
    _shaped(split.sums, (strata.count, *sums.shape))
    sample = _shaped(arrays["strata/sample"], (kept,))
    is_whole = np.array_equal(split.counts.sum(axis=0), counts) and (split.rows > 0).all()
    if not is_whole or sample.max() >= strata.count:
        raise ValueError("strata that are not those of the whole")
    return ByHour(strata, split, sample)


def _projection(wide_unit: float | None, arrays: Arrays) -> Projection | None:
    if wide_unit is None:
        return None
    center, unit = (np.asarray(arrays[f"projection/{name}"], np.float64) for name in ("center", "unit"))
    mean, axes, waves = (np.asarray(arrays[f"projection/{name}"], np.float32) for name in _PROJECTED)
    return Projection(center, unit, float(wide_unit), mean, axes, waves)


def whole(value: object) -> int:
    """A number of rows or windows."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of rows")
    return value


def _shaped(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if array.shape != shape:
        raise ValueError(f"an array is {array.shape} and must be {shape}")
    return array
