"""Any live data becomes rows of the schema: what does not fit is missing and said, and nothing is refused."""

from __future__ import annotations

import numpy as np
import pytest

from drift.errors import Unfit
from drift.schema import FOLDED, MISSING, MOST_ELEMENTS, UNSEEN, Broken, Declared, Kind, folded, learned, level_of
from drift.tables import Table
from tests.drift import samples


def test_columns_are_named_and_flattened_by_the_rules() -> None:
    """A vector by its elements, an image as a whole, texts as levels; wholes stand among the numbers by presence."""
    schema = samples.baseline().inputs.schema
    assert schema.features == ("x[0]", "x[1]", "x[2]", "x[3]", "price", "image.present", "country")
    assert [column.kind for column in schema.columns] == [Kind.NUMBER, Kind.NUMBER, Kind.LEVEL, Kind.WIDE]


def test_what_is_declared_goes_before_the_rules() -> None:
    """A vector as a whole, a code as a level, a row number as nothing, elements by their names."""
    table = Table({"v": np.ones((5, 3)), "code": np.arange(5), "row": np.arange(5), "t": np.ones((5, 2))})
    said = Declared(frozenset({"v"}), frozenset({"code"}), frozenset({"row"}), {"t": ("age", "height")})
    schema = learned(table, said)
    assert schema.features == ("v.present", "age", "height", "code")
    assert not schema.rows_of(table).breaks


def test_training_columns_are_the_elements_of_a_live_tensor() -> None:
    """The same rows, whether they come as columns or as one tensor."""
    columns = Table({"age": np.arange(5.0), "height": np.arange(5.0) + 1})
    schema = learned(columns, Declared(elements={"t": ("age", "height")}))
    rows = schema.rows_of(Table({"t": np.stack((np.arange(5.0), np.arange(5.0) + 1), axis=1)}))
    assert np.array_equal(rows.numbers, schema.rows_of(columns).numbers)


@pytest.mark.parametrize(
    ("columns", "how", "column"),
    [
        ({"price": None}, Broken.ABSENT, "price"),
        ({"more": np.ones(3)}, Broken.EXTRA, "more"),
        ({"x": np.ones((3, 5))}, Broken.SHAPE, "x"),
        ({"x": np.empty((3, 0))}, Broken.SHAPE, "x"),
        ({"price": np.array(["1", "dear", "2"], object)}, Broken.KIND, "price"),
        ({"image": np.ones((3, 16))}, Broken.SHAPE, "image"),
    ],
    ids=["absent", "extra", "wider", "of no elements", "texts", "flattened"],
)
def test_a_column_that_is_not_what_it_was_is_said(columns: dict[str, object], how: Broken, column: str) -> None:
    """And its values are missing."""
    table = samples.inputs(np.random.default_rng(1), 3).columns
    live = {name: value for name, value in {**table, **columns}.items() if value is not None}
    rows = samples.baseline().inputs.schema.rows_of(Table(live))  # type: ignore[arg-type]
    assert [(one.how, one.column) for one in rows.breaks] == [(how, column)]
    assert column in rows.breaks[0].sentence
    assert len(rows) == 3


def test_odd_values_are_missing_unseen_or_infinite() -> None:
    """None and NaN are missing, an unknown level is unseen, infinity stays what it is."""
    table = dict(samples.inputs(np.random.default_rng(1), 4).columns)
    table["country"] = np.array([None, float("nan"), "fr", b"de"], object)
    table["price"] = np.array([None, np.inf, -np.inf, 10**400], object)
    rows = samples.baseline().inputs.schema.rows_of(Table(table))
    assert rows.levels[:, 0].tolist() == [MISSING, MISSING, UNSEEN, 0]
    assert np.isnan(rows.numbers[0, 4])
    assert np.isinf(rows.numbers[1:, 4]).all()


def test_rows_without_a_single_column_are_rows_of_nothing() -> None:
    """As many as there were requests, each column absent."""
    rows = samples.baseline().inputs.schema.rows_of(Table({}), 5)
    assert len(rows) == 5
    assert np.isnan(rows.numbers).all()
    assert len(rows.breaks) == 4


def test_a_row_of_a_megabyte_is_folded() -> None:
    """A quarter of a million numbers become 256, distances kept within a fifth."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(4, 262_144))
    rows[1] = rows[0] + 0.5 * rng.normal(size=262_144)
    small = folded(rows, "embedding").astype(np.float64)
    assert small.shape == (4, FOLDED)
    for a, b in ((0, 1), (0, 2)):
        assert np.linalg.norm(small[a] - small[b]) == pytest.approx(np.linalg.norm(rows[a] - rows[b]), rel=0.2)


def test_a_row_with_a_number_that_is_not_finite_is_folded_to_zeros() -> None:
    """Its presence is counted; sums stay finite."""
    rows = np.ones((2, MOST_ELEMENTS + 1))
    rows[0, 3] = np.nan
    assert not folded(rows, "e")[0].any()


def test_levels_of_files_and_of_requests_are_the_same() -> None:
    """3.0, 3 and '3' are one level."""
    assert {level_of(value) for value in (3.0, 3, "3", b"3", np.int64(3))} == {"3"}
    assert level_of(float("nan")) is level_of(None) is None


@pytest.mark.parametrize(
    ("table", "declared", "said"),
    [
        (Table({}), None, "no rows"),
        (Table({"a": np.empty(0)}), None, "no rows"),
        (Table({"a": np.ones(3)}), Declared(ignored=frozenset({"b"})), "no such column"),
        (Table({"a": np.ones(3)}), Declared(ignored=frozenset({"a"})), "no column left"),
        (Table({"a": np.array([str(n) for n in range(10_001)], object)}), None, "declare it as ignored"),
        (Table({f"t{n}": np.ones((2, 1_024)) for n in range(5)}), None, "features"),
    ],
    ids=["nothing", "no rows", "undeclarable", "all ignored", "names", "too many"],
)
def test_what_cannot_be_measured_is_refused_with_a_reason(table: Table, declared: Declared | None, said: str) -> None:
    """At the baseline, not in production."""
    with pytest.raises(Unfit) as refused:
        learned(table, declared)
    assert said in f"{refused.value} {refused.value.hint}"
