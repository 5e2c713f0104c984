"""Training data is read from four formats into the same table; what cannot be read is refused in a sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drift import tables
from drift.errors import NotInstalled, Unfit
from drift.tables import Table


def test_the_same_rows_come_from_every_format(tmp_path: Path) -> None:
    """Numbers with a missing one, and texts; npz has tensors in place of texts."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet  # noqa: PLC0415 - only where pyarrow is there

    columns = {"a": [1.0, None, 3.0], "b": ["x", None, "z"]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    feather.write_feather(pa.table(columns), tmp_path / "t.arrow")
    (tmp_path / "t.csv").write_text("a,b\n1.0,x\n,\n3,z\n")
    for name in ("t.parquet", "t.arrow", "t.csv"):
        table = tables.read(tmp_path / name)
        assert np.array_equal(table.columns["a"], [1.0, np.nan, 3.0], equal_nan=True), name
        assert table.columns["b"].tolist() == ["x", None, "z"], name


def test_tensors_come_from_npz_and_from_lists_in_parquet(tmp_path: Path) -> None:
    """The first axis is the row."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415 - only where pyarrow is there

    np.savez(tmp_path / "t.npz", image=np.ones((3, 2, 2)))
    parquet.write_table(pa.table({"v": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "t.parquet")
    assert tables.read(tmp_path / "t.npz").columns["image"].shape == (3, 2, 2)
    assert tables.read(tmp_path / "t.parquet").columns["v"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_time_column_orders_rows_and_is_taken_out() -> None:
    """Rows of the same time stay as they lie."""
    table = Table({"when": np.array([2, 1, 2, 1]), "a": np.array([0, 1, 2, 3])}).by_time("when")
    assert (table.ordered, list(table.columns), table.columns["a"].tolist()) == (True, ["a"], [1, 3, 0, 2])


_MOMENT_S = datetime(2024, 3, 4, 12, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "given",
    [
        np.array(["2024-03-04T12:30:00"], "datetime64[ns]"),
        np.array(["2024-03-04T12:30:00Z"], object),
        np.array(["2024-03-04 13:30:00+01:00"]),
        np.array([datetime(2024, 3, 4, 12, 30)], object),  # noqa: DTZ001 - as files have them
        *(np.array([int(_MOMENT_S * unit)]) for unit in (1, 1_000, 1_000_000, 1_000_000_000)),
        np.array([_MOMENT_S]),
    ],
    ids=["numpy", "ISO", "ISO with a zone", "a datetime", "s", "ms", "us", "ns", "a float"],
)
def test_moments_are_known_however_files_write_them(given: NDArray[Any]) -> None:
    """In UTC where they name no zone."""
    table = Table({"at": np.tile(given, 3), "a": np.arange(3)}).by_time("at")
    assert table.at_s is not None
    assert table.at_s.tolist() == [_MOMENT_S] * 3
    assert table.part(slice(0, 2)).only(["a"]).at_s is not None


@pytest.mark.parametrize("given", [[2015, 2016], [1, 2], [-1e9, 1e9], ["b", "a"], [1e9, 1e12]], ids=str)
def test_what_is_but_an_order_has_no_moments(given: list[Any]) -> None:
    """Years, row numbers, names, numbers of several units: rows are ordered by them and no more."""
    table = Table({"at": np.array(given), "a": np.arange(2)}).by_time("at")
    assert (table.ordered, table.at_s) == (True, None)


@pytest.mark.parametrize(
    "given",
    [
        [1.0, np.nan],
        [1e9, np.nan],
        np.array(["2024-03-04", "NaT"], "datetime64[s]"),
        np.array(["2024-03-04", None], object),
    ],
    ids=["numbers", "seconds", "NaT", "None"],
)
def test_rows_without_a_time_are_refused(given: Any) -> None:  # noqa: ANN401 - a column of any kind
    """Nobody knows where they belong."""
    with pytest.raises(Unfit, match="1 rows without a time"):
        Table({"at": np.array(given), "a": np.arange(2)}).by_time("at")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.xls", b"", "no known format"),
        ("t.npz", b"no zip", "cannot be read"),
        ("t.csv", b"a,b\n1\n", "as many cells"),
        ("t.csv", b"", "name each column"),
        ("t.parquet", b"PAR0", "cannot be read"),
    ],
    ids=["ending", "npz", "ragged", "empty", "parquet"],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """In a sentence with the file's name."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unfit, match=said):
        tables.read(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """As any that cannot be read."""
    for name in ("none.csv", "none.npz", "none.parquet", "none.arrow"):
        with pytest.raises(Unfit, match=f"{name} cannot be read: there is no such file"):
            tables.read(tmp_path / name)


def test_without_pyarrow_two_formats_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(NotInstalled, match="pyarrow"):
        tables.read(tmp_path / "t.parquet")


def test_columns_of_different_lengths_are_no_table() -> None:
    """Nor is a number without rows."""
    for columns in ({"a": np.ones(2), "b": np.ones(3)}, {"a": np.array(1.0)}):
        with pytest.raises(Unfit, match="different lengths"):
            Table(columns)


def test_a_column_that_is_not_there_is_named() -> None:
    """With those that are."""
    with pytest.raises(Unfit, match="no columns when: there are a"):
        Table({"a": np.ones(2)}).by_time("when")
