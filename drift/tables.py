"""Training data as columns: readers of Parquet, Arrow, CSV and npz files.

A table is its columns by name, all of one length: plain columns of numbers or texts, or tensors whose first axis is
the row. Nothing is judged here; what a column means is `drift.schema`'s to say. Parquet and Arrow are read by pyarrow,
which is imported only then.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.errors import NotInstalled, Unfit

Column = NDArray[Any]
Floats = NDArray[np.float64]

_UNITS: Final = (1.0, 1e3, 1e6, 1e9)  # of a second: what numbers since 1970 are counted in


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of data, by column.

    Attributes:
        columns: by name, each of shape (rows, ...).
        ordered: whether the rows are in the order of time, so that neighbours belong together.
        at_s: when each was, seconds since 1970, shape (rows,); None where that is not known.
    """

    columns: Mapping[str, Column]
    ordered: bool = False
    at_s: Floats | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) if column.ndim else -1 for name, column in self.columns.items()}
        if self.at_s is not None and lengths:
            lengths["their times"] = len(self.at_s)
        if len(set(lengths.values())) > 1 or -1 in lengths.values():
            raise Unfit(f"The columns are of different lengths: {dict(list(lengths.items())[:5])}.")
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))

    @property
    def rows(self) -> int:
        """How many; 0 without columns."""
        return next((len(column) for column in self.columns.values()), 0)

    def only(self, names: list[str]) -> Table:
        """These columns.

        Raises:
            Unfit: one of them is not there.
        """
        if absent := [name for name in names if name not in self.columns]:
            raise Unfit(f"There are no columns {', '.join(absent)}: there are {', '.join(list(self.columns)[:20])}.")
        return replace(self, columns={name: self.columns[name] for name in names})

    def without(self, names: list[str]) -> Table:
        """All other columns."""
        return replace(self, columns={name: one for name, one in self.columns.items() if name not in names})

    def part(self, at: slice | NDArray[Any]) -> Table:
        """These rows."""
        at_s = None if self.at_s is None else self.at_s[at]
        return Table({name: column[at] for name, column in self.columns.items()}, self.ordered, at_s)

    def by_time(self, name: str) -> Table:
        """In the order of this column, which is taken out; rows of the same time stay as they lie.

        Raises:
            Unfit: there is no such column, it holds what cannot be ordered, or a row has no time.
        """
        given = self.only([name]).columns[name]
        at_s = moments_of(given)
        try:
            order = np.argsort(given if at_s is None else at_s, kind="stable")
        except TypeError as error:
            raise Unfit(f"The time column {name} holds what cannot be put in order: {error}.") from error
        rest = self.without([name]).part(order)
        if absent := int(_are_missing(given if at_s is None else at_s).sum()):
            raise Unfit(f"The time column {name} has {absent:,} rows without a time.", "Leave these rows out.")
        return Table(rest.columns, ordered=True, at_s=None if at_s is None else at_s[order])


def moments_of(column: Column) -> Floats | None:
    """The moments that these are, seconds since 1970, NaN for none; None where they are but an order, as years are.

    Dates and times, and texts of ISO 8601, in UTC where they name no zone; numbers of seconds, milli-, micro- or
    nanoseconds since 1970, which are told apart by their size from 1973 on.
    """
    if column.ndim != 1 or not column.size:
        return None
    if column.dtype.kind == "M":
        return np.where(np.isnat(column), np.nan, column.astype("datetime64[us]").astype(np.float64) / 1e6)
    if column.dtype.kind in "iuf":
        numbers = column.astype(np.float64)
        known = numbers[np.isfinite(numbers)]
        units = [unit for unit in _UNITS if known.size and ((known >= 1e8 * unit) & (known < 1e10 * unit)).all()]
        return np.where(np.isfinite(numbers), numbers / units[0], np.nan) if units else None
    if column.dtype.kind not in "OU":
        return None
    try:
        return np.array([_moment(one) for one in column.tolist()], np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _moment(value: object) -> float:
    """Seconds since 1970.

    Raises:
        TypeError, ValueError: it is no moment.
    """
    if value is None:
        return np.nan
    said = value.isoformat() if isinstance(value, date) else value
    if not isinstance(said, str):
        raise TypeError(f"{value!r:.40} is no moment")
    moment = datetime.fromisoformat(said)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _are_missing(values: Column) -> NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def read(path: Path, time: str | None = None) -> Table:
    """The table in a file, by its ending: .parquet, .pq, .arrow, .feather, .csv, .npz.

    Args:
        path: where it lies.
        time: the column that says when a row was; rows are then put in its order.

    Raises:
        Unfit: no such file, another format, or one that cannot be read.
        NotInstalled: Parquet or Arrow without pyarrow.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise Unfit(f"{path.name} is of no known format: its ending must be one of {', '.join(_READERS)}.")
    try:
        columns = reader(path)
    except NotInstalled:
        raise
    except FileNotFoundError:
        raise Unfit(f"{path.name} cannot be read: there is no such file.") from None
    except (OSError, ValueError, UnicodeError, KeyError) as error:
        raise Unfit(f"{path.name} cannot be read: {error}.") from error
    table = Table(columns)
    return table if time is None else table.by_time(time)


def _npz(path: Path) -> dict[str, Column]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _csv(path: Path) -> dict[str, Column]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        names = next(lines, [])
        cells = list(lines)
    if not names or len(set(names)) < len(names) or any(len(row) != len(names) for row in cells):
        raise ValueError("its first line must name each column once, and each line must have as many cells")
    return {name: _typed([row[at] for row in cells]) for at, name in enumerate(names)}


def _typed(cells: list[str]) -> Column:
    """Numbers where every cell is one or empty, texts otherwise; empty is missing."""
    try:
        return np.array([float(cell) if cell.strip() else np.nan for cell in cells], np.float64)
    except ValueError:
        return np.array([cell or None for cell in cells], object)


def _parquet(path: Path) -> dict[str, Column]:
    parquet = _pyarrow("pyarrow.parquet")
    return _columns(parquet.read_table(path))


def _arrow(path: Path) -> dict[str, Column]:
    feather = _pyarrow("pyarrow.feather")
    return _columns(feather.read_table(path))


def _pyarrow(module: str) -> Any:  # noqa: ANN401 - pyarrow ships no types
    from importlib import import_module  # noqa: PLC0415 - only where such a file is read

    try:
        return import_module(module)
    except ImportError as error:
        raise NotInstalled(
            "Parquet and Arrow are read by pyarrow, which is not installed.",
            "Install it (pip install 'sluice-gateway[parquet]'), or give a .csv or .npz file.",
        ) from error


def _columns(table: Any) -> dict[str, Column]:  # noqa: ANN401 - pyarrow's
    types = _pyarrow("pyarrow").types
    return {name: _from_arrow(table.column(name).combine_chunks(), types) for name in table.column_names}


def _from_arrow(column: Any, types: Any) -> Column:  # noqa: ANN401 - pyarrow's
    kind = column.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        rows = column.to_pylist()
        if any(row is None or len(row) != len(rows[0]) for row in rows):
            raise ValueError("a column of lists must have lists of one length in every row")
        return np.array(rows, np.float64).reshape(len(rows), len(rows[0]) if rows else 0)
    if types.is_dictionary(kind):
        column = column.dictionary_decode()
    return np.asarray(column.to_numpy(zero_copy_only=False))


_READERS: Mapping[str, Callable[[Path], dict[str, Column]]] = MappingProxyType({
    ".parquet": _parquet, ".pq": _parquet, ".arrow": _arrow, ".feather": _arrow, ".csv": _csv, ".npz": _npz,
})  # fmt: skip
