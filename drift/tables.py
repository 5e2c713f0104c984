"""Training data as columns: readers of Parquet, Arrow, CSV and npz files.

A table is its columns by name, all of one length: plain columns of numbers or texts, or tensors whose first axis is
the row. Nothing is judged here; what a column means is `drift.schema`'s to say. Parquet and Arrow are read by pyarrow,
which is imported only then.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift.errors import NotInstalled, Unfit

Column = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of data, by column.

    Attributes:
        columns: by name, each of shape (rows, ...).
        ordered: whether the rows are in the order of time, so that neighbours belong together.
    """

    columns: Mapping[str, Column]
    ordered: bool = False

    def __post_init__(self) -> None:
        lengths = {name: len(column) if column.ndim else -1 for name, column in self.columns.items()}
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
        return Table({name: self.columns[name] for name in names}, self.ordered)

    def without(self, names: list[str]) -> Table:
        """All other columns."""
        return Table({name: one for name, one in self.columns.items() if name not in names}, self.ordered)

    def part(self, at: slice | NDArray[Any]) -> Table:
        """These rows."""
        return Table({name: column[at] for name, column in self.columns.items()}, self.ordered)

    def by_time(self, name: str) -> Table:
        """In the order of this column, which is taken out; rows of the same time stay as they lie.

        Raises:
            Unfit: there is no such column, or it holds what cannot be ordered.
        """
        moments = self.only([name]).columns[name]
        try:
            order = np.argsort(moments, kind="stable")
        except TypeError as error:
            raise Unfit(f"The time column {name} holds what cannot be put in order: {error}.") from error
        rest = self.without([name]).part(order)
        return Table(rest.columns, ordered=True)


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
