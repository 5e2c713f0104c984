"""What a version's data looks like, and live data brought into that form: the gate that every row passes.

Tensors are named and flattened by these rules. A column of numbers is one feature of its name. A tensor of up to
`MOST_ELEMENTS` numbers a row along one axis is a feature for each element, `name[0]`, `name[1]` and so on. A larger
one, or one of several axes (an image), is wide: nobody learns from its single elements, so it is folded to
`FOLDED` numbers a row for the statistics of many dimensions, and stands among the features only by whether it is there
and finite (`name.present`). Texts are levels, each element of a tensor of texts a feature. What is declared
(`Declared`) goes before the rules; a tensor whose elements are named there is as many plain columns of these names.

Live data is never refused: what does not fit is missing, counted, and said once in a sentence (`Break`).
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.errors import Unfit
from drift.tables import Table

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]

MOST_ELEMENTS: Final = 1_024
MOST_FEATURES: Final = 4_096
MOST_LEVELS: Final = 10_000
FOLDED: Final = 256
BINS: Final = 64
MISSING: Final = 64
UNSEEN: Final = 65
CELLS: Final = 66
"""Of a feature: 64 bins, one for what is missing, one for what was never seen."""

_LONGEST_LEVEL: Final = 256
_AT_ONCE: Final = 4_000_000  # numbers of a wide column that are folded at once: 32 MB


class Kind(StrEnum):
    """What a column holds."""

    NUMBER = "number"
    LEVEL = "level"
    WIDE = "wide"


class Broken(StrEnum):
    """How live data can differ from the schema as a whole; rates are statistics, not breaks."""

    ABSENT = "absent"
    EXTRA = "extra"
    SHAPE = "shape"
    KIND = "kind"


@dataclass(frozen=True, slots=True, order=True)
class Break:
    """A column that is not what it was."""

    how: Broken
    column: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What is said of columns in place of the rules; names that no column has are refused.

    Attributes:
        wide: tensors to be taken as wholes.
        levels: numbers that are names of things, such as codes.
        ignored: columns that say nothing, such as row numbers.
        elements: names of a tensor's elements, by tensor; training data may hold these as columns.
    """

    wide: frozenset[str] = frozenset()
    levels: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    elements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """All that anything is said of."""
        return self.wide | self.levels | self.ignored


@dataclass(frozen=True)
class Column:
    """One column or tensor.

    Attributes:
        name: as in requests.
        kind: what it holds.
        shape: of one row; () for a plain column.
        levels: of a LEVEL, the most frequent first.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...] = ()
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(type(size) is not int or size < 0 for size in self.shape) or len(self.levels) > MOST_LEVELS:
            raise Unfit(
                f"{self.name} has the shape {list(self.shape)} and {len(self.levels):,} levels: that cannot be."
            )

    @property
    def width(self) -> int:
        """Elements of one row."""
        return math.prod(self.shape)

    @property
    def features(self) -> tuple[str, ...]:
        """Their names."""
        if self.kind is Kind.WIDE:
            return (f"{self.name}.present",)
        return (self.name,) if not self.shape else tuple(f"{self.name}[{at}]" for at in range(self.width))

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """The bin of each level; the rarest share the last one."""
        return {level: min(at, BINS - 1) for at, level in enumerate(self.levels)}


@dataclass(frozen=True)
class Rows:
    """Rows in the form of a schema.

    Attributes:
        numbers: shape (rows, numeric features); NaN is missing.
        levels: bins of the levels, shape (rows, features of levels).
        wide: folded, shape (rows, at most FOLDED for each wide column).
        breaks: what did not fit.
    """

    numbers: Floats
    levels: Codes
    wide: NDArray[np.float32]
    breaks: tuple[Break, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, at: slice | NDArray[Any]) -> Rows:
        """These rows; breaks are of the whole and stay behind."""
        return Rows(self.numbers[at], self.levels[at], self.wide[at])

    def joined(self, other: Rows) -> Rows:
        """These rows and then those of the same schema."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("numbers", "levels", "wide"))
        numbers, levels, wide = (np.concatenate(pair) for pair in pairs)
        return Rows(numbers, levels, wide, tuple(sorted({*self.breaks, *other.breaks})))


@dataclass(frozen=True)
class Schema:
    """The columns of a version's inputs, or of its outputs, in order."""

    columns: tuple[Column, ...]
    ignored: frozenset[str] = field(default_factory=frozenset)
    elements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.columns:
            raise Unfit("There is no column left that drift could be measured in.")
        count = sum(1 if one.kind is Kind.WIDE else one.width for one in self.columns)  # before any of them is named
        if count > MOST_FEATURES:
            raise Unfit(
                f"There are {min(count, 10**12):,} features: at most {MOST_FEATURES:,} are measured one by one.",
                "Declare the larger tensors as wide, or ignore columns that say nothing.",
            )

    @cached_property
    def numeric(self) -> tuple[str, ...]:
        """Features that are numbers, wide columns' presence among them."""
        return tuple(name for one in self.columns if one.kind is not Kind.LEVEL for name in one.features)

    @cached_property
    def levelled(self) -> tuple[str, ...]:
        """Features that are levels."""
        return tuple(name for one in self.columns if one.kind is Kind.LEVEL for name in one.features)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """All: numbers first, then levels, each in the columns' order."""
        return self.numeric + self.levelled

    @cached_property
    def level_columns(self) -> tuple[Column, ...]:
        """The column of each feature in `levelled`."""
        return tuple(one for one in self.columns if one.kind is Kind.LEVEL for _ in one.features)

    def rows_of(self, given: Table, rows: int | None = None) -> Rows:
        """Live data in this form; what does not fit is missing, and said.

        Args:
            given: by column.
            rows: how many rows it stands for where it has no columns; else its own number.
        """
        table = spread(given, self.elements)
        count = table.rows if table.columns or rows is None else rows
        breaks: list[Break] = []
        parts: dict[Kind, list[NDArray[Any]]] = {Kind.NUMBER: [], Kind.LEVEL: [], Kind.WIDE: []}
        for column in self.columns:
            _brought_in(column, table, count, (parts, breaks))
        known = {column.name for column in self.columns} | self.ignored
        breaks += [
            Break(Broken.EXTRA, name, f"{name!r} is in no row that was learned from.")
            for name in table.columns
            if name not in known
        ]
        return Rows(
            _beside(parts[Kind.NUMBER], count, np.float64),
            _beside(parts[Kind.LEVEL], count, np.uint8),
            _beside(parts[Kind.WIDE], count, np.float32),
            tuple(sorted(set(breaks))),
        )


def spread(table: Table, elements: Mapping[str, tuple[str, ...]]) -> Table:
    """The table with tensors of named elements as a column for each; one of another shape is left as it is."""
    columns: dict[str, NDArray[Any]] = {}
    for name, values in table.columns.items():
        names = elements.get(name, ())
        if names and math.prod(values.shape[1:]) == len(names):
            columns.update(zip(names, values.reshape(len(values), len(names)).T, strict=True))
        else:
            columns[name] = values
    return Table(columns, table.ordered)


def learned(given: Table, declared: Declared | None = None) -> Schema:
    """The schema of training rows.

    Raises:
        Unfit: no rows or columns, a declared name that is not there, or a column that cannot be measured.
    """
    said = declared or Declared()
    table = spread(given, said.elements)
    if absent := sorted(said.names - set(table.columns)):
        raise Unfit(f"Something is declared of {', '.join(absent)}, and there is no such column.")
    if not table.rows:
        raise Unfit("There are no rows.", "Give the rows that the version was trained on.")
    kept = (name for name in table.columns if name not in said.ignored)
    return Schema(tuple(_learned(name, table.columns[name], said) for name in kept), said.ignored, said.elements)


def _learned(name: str, values: NDArray[Any], declared: Declared) -> Column:
    shape = tuple(values.shape[1:])
    if name in declared.levels or not _are_numbers(values):
        return Column(name, Kind.LEVEL, shape, _levels(name, values))
    one_by_one = len(shape) <= 1 and math.prod(shape) <= MOST_ELEMENTS and name not in declared.wide
    if one_by_one and math.prod(shape) > 0:
        return Column(name, Kind.NUMBER, shape)
    return Column(name, Kind.WIDE, shape)


def _levels(name: str, values: NDArray[Any]) -> tuple[str, ...]:
    counted = Counter(level for level in map(level_of, values.reshape(-1).tolist()) if level is not None)
    if len(counted) > MOST_LEVELS:
        raise Unfit(
            f"{name} has {len(counted):,} levels, and at most {MOST_LEVELS:,} are kept.",
            "It may be a name or a number of each row: declare it as ignored.",
        )
    return tuple(sorted(counted, key=lambda level: (-counted[level], level)))


def level_of(value: object) -> str | None:
    """The level that a value stands for; None where it is missing (None, NaN)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    elif isinstance(value, float) and value.is_integer():
        value = int(value)  # 3.0 in one file is 3 in another
    return str(value)[:_LONGEST_LEVEL]


def _are_numbers(values: NDArray[Any]) -> bool:
    if values.dtype.kind in "biufM":
        return True
    return values.dtype.kind == "O" and all(
        value is None or isinstance(value, int | float | np.number) for value in values.reshape(-1).tolist()
    )


def _brought_in(
    column: Column, table: Table, rows: int, into: tuple[dict[Kind, list[NDArray[Any]]], list[Break]]
) -> None:
    parts, breaks = into
    values = table.columns.get(column.name)
    if values is None:
        breaks.append(Break(Broken.ABSENT, column.name, f"{column.name!r} is not there."))
    elif tuple(values.shape[1:]) != column.shape:
        values = _reshaped(column, values, breaks)
    if column.kind is Kind.LEVEL:
        parts[Kind.LEVEL].append(_coded(column, values, rows))
        return
    numbers = np.full((rows, column.width), np.nan) if values is None else _numbers(column, values, breaks)
    if column.kind is Kind.WIDE:
        parts[Kind.NUMBER].append(np.where(np.isfinite(numbers).all(axis=1, keepdims=True), 1.0, np.nan))
        parts[Kind.WIDE].append(folded(numbers, column.name))
    else:
        parts[Kind.NUMBER].append(numbers)


def _reshaped(column: Column, values: NDArray[Any], breaks: list[Break]) -> NDArray[Any] | None:
    """A row of one element is the element; any other shape is a break."""
    shape = tuple(values.shape[1:])
    if math.prod(shape) == column.width == 1:
        return values.reshape(len(values), *column.shape)
    said = f"{column.name!r} has rows of the shape {list(shape)}, and was trained on {list(column.shape)}."
    breaks.append(Break(Broken.SHAPE, column.name, said))
    return None


def _numbers(column: Column, values: NDArray[Any], breaks: list[Break]) -> Floats:
    """As float64, shape (rows, width); what is no number is missing."""
    flat = values.reshape(len(values), column.width)
    if flat.dtype.kind in "biuf":
        return flat.astype(np.float64)
    if flat.dtype.kind == "M":
        seconds = flat.astype("datetime64[ns]").astype(np.float64) / 1e9
        return np.where(np.isnat(flat), np.nan, seconds)
    converted = np.array([_number(value) for value in flat.reshape(-1).tolist()], np.float64).reshape(flat.shape)
    odd = [one for one in flat[np.isnan(converted)].tolist() if level_of(one) is not None]
    if odd:
        said = f"{column.name!r} holds texts or other things where it held numbers."
        breaks.append(Break(Broken.KIND, column.name, said))
    return converted


def _number(value: object) -> float:
    if isinstance(value, bool | int | float | np.number) and not isinstance(value, complex):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return math.nan


def _coded(column: Column, values: NDArray[Any] | None, rows: int) -> Codes:
    """The bin of each level, shape (rows, width)."""
    if values is None:
        return np.full((rows, column.width), MISSING, np.uint8)
    codes: dict[str | None, int] = {None: MISSING}
    codes.update(column.codes)
    flat = [codes.get(level_of(value), UNSEEN) for value in values.reshape(-1).tolist()]
    return np.array(flat, np.uint8).reshape(rows, column.width)


def folded(numbers: Floats, name: str) -> NDArray[np.float32]:
    """A wide column's rows in at most `FOLDED` numbers each, distances kept on average (Charikar et al. 2002).

    Each element is added to one of them with a sign; both are drawn once from the column's name. Up to that width
    rows stay as they are. Rows that are not finite throughout become zeros.
    """
    rows, width = numbers.shape
    if width <= FOLDED:
        return np.nan_to_num(_whole_rows(numbers)).astype(np.float32)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    order, each = rng.permutation(width), -(-width // FOLDED)
    signs = rng.choice(np.array([-1.0, 1.0]), width)
    out = np.zeros((rows, FOLDED), np.float32)
    step = max(1, _AT_ONCE // width)
    for start in range(0, rows, step):
        block = np.zeros((min(step, rows - start), FOLDED * each))
        block[:, :width] = (_whole_rows(numbers[start : start + step]) * signs)[:, order]
        out[start : start + step] = block.reshape(len(block), FOLDED, each).sum(axis=2)
    return out


def _whole_rows(numbers: Floats) -> Floats:
    return np.where(np.isfinite(numbers).all(axis=1, keepdims=True), np.clip(numbers, -1e30, 1e30), 0.0)


def _beside(parts: Iterable[NDArray[Any]], rows: int, dtype: type) -> NDArray[Any]:
    found = list(parts)
    return np.concatenate(found, axis=1).astype(dtype, copy=False) if found else np.empty((rows, 0), dtype)
