"""A baseline is the same bytes for the same rows, comes back from them, and is refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from drift import baseline as baselines
from drift.baseline import Order, gathered, made
from drift.errors import Damaged, Unfit
from drift.schema import Declared
from drift.tables import Table
from registry.models import VersionNumber
from registry.signature import Signature, TensorSpec
from tests.drift import samples

_OUT = (TensorSpec("scores", "FP32", (2,)),)


def test_it_comes_back_from_its_bytes() -> None:
    """To the same bytes, the same digest and the same verdict on a window."""
    ours = samples.baseline()
    again = baselines.read(ours.blob)
    assert (again.blob, again.digest) == (ours.blob, ours.digest)
    half = samples.changed(1, x=np.ones((samples.ROWS, 4))).inputs
    first, second = (one.inputs.expected(half.strata).standardised(half.sketch) for one in (again, ours))
    assert np.array_equal(first, second)


def test_it_is_the_same_for_the_same_rows() -> None:
    """Whatever is drawn is drawn from its seed."""
    rows = Table({"x": np.random.default_rng(2).normal(size=(300, 3))})
    order = Order(samples.MODEL, VersionNumber(2), window_rows=50)
    assert made(order, rows, None, 5.0).digest == made(order, rows, None, 5.0).digest


def test_bytes_that_are_none_are_refused() -> None:
    """Cut short, of a window, or with an array of another shape."""
    blob = samples.baseline().blob
    for broken in (blob[:-1], samples.calm(1).blob(), blob.replace(b'"rows":4000', b'"rows":"no"')):
        with pytest.raises(Damaged):
            baselines.read(broken)


def test_it_says_what_it_cannot_know() -> None:
    """Rows without time, no outputs, learned from live requests."""
    rows = Table({"x": np.random.default_rng(2).normal(size=(300, 3))})
    notes = made(Order(samples.MODEL, VersionNumber(2), window_rows=50, live=True), rows, None, 5.0).notes
    assert [word for word in ("live", "no time", "no outputs") if any(word in note for note in notes)] == [
        "live", "no time", "no outputs",
    ]  # fmt: skip
    assert samples.baseline().notes == ()


def _order(*inputs: TensorSpec, declared: Declared | None = None) -> Order:
    return Order(samples.MODEL, VersionNumber(2), Signature(inputs, _OUT), declared or Declared(), window_rows=50)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TensorSpec("y", "FP32", (3,)), "no column y"),
        (TensorSpec("x", "FP32", (4,)), r"rows of \[3\]"),
        (TensorSpec("x", "BYTES", (3,)), "holds numbers"),
    ],
    ids=["name", "shape", "kind"],
)
def test_a_schema_other_than_the_signatures_is_refused(spec: TensorSpec, said: str) -> None:
    """Live requests would never fit it."""
    rows = Table({"x": np.random.default_rng(2).normal(size=(300, 3))})
    with pytest.raises(Unfit, match=said):
        made(_order(spec), rows, None, 5.0)


def test_columns_that_the_signature_does_not_name_are_refused() -> None:
    """Unless they are ignored."""
    rng = np.random.default_rng(2)
    rows = Table({"x": rng.normal(size=(300, 3)), "id": np.arange(300)})
    spec = TensorSpec("x", "FP32", (-1, 3))
    with pytest.raises(Unfit, match="id, and the signature names no such"):
        made(_order(spec), rows, None, 5.0)
    assert made(_order(spec, declared=Declared(ignored=frozenset({"id"}))), rows, None, 5.0).inputs.schema.numeric


def test_columns_may_be_the_elements_of_a_tensor() -> None:
    """Declared by name; the live tensor then fits."""
    rng = np.random.default_rng(2)
    rows = Table({"age": rng.normal(size=300), "height": rng.normal(size=300)})
    order = _order(TensorSpec("x", "FP32", (2,)), declared=Declared(elements={"x": ("age", "height")}))
    assert made(order, rows, None, 5.0).inputs.schema.numeric == ("age", "height")


def test_live_requests_make_a_table_of_what_they_share() -> None:
    """In their order; none at all is refused."""
    tables = [Table({"x": np.ones((2, 3)), "y": np.ones(2)}), Table({}), Table({"x": np.zeros((1, 3))})]
    table = gathered(tables)
    assert (table.ordered, list(table.columns), table.rows) == (True, ["x"], 3)
    with pytest.raises(Unfit, match="no live requests"):
        gathered([])
    with pytest.raises(Unfit, match="different shapes"):
        gathered([tables[0], Table({"x": np.ones((1, 5))})])
