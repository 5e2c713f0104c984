"""MLflow's signatures become ours: types, names, and the batch dimension left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.errors import Unacceptable
from registry.signature import TensorSpec
from serving.control.importing.signatures import Translated, translate


def tensor(dtype: str, shape: list[int], name: str | None = None, **more: object) -> dict[str, Any]:
    """A tensor as MLflow writes it."""
    said = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}, **more}
    return said if name is None else {**said, "name": name}


def column(kind: str, name: str | None = None, **more: object) -> dict[str, Any]:
    """A column as MLflow writes it."""
    return {"type": kind, "required": True, **({} if name is None else {"name": name}), **more}


def translated(
    *inputs: dict[str, Any], outputs: tuple[dict[str, Any], ...] = (tensor("float32", [-1, 3]),)
) -> Translated:
    """A whole signature."""
    return translate({"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)})


@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [
        *(("bool", "BOOL"), ("int8", "INT8"), ("uint8", "UINT8"), ("int64", "INT64"), ("uint64", "UINT64")),
        *(("float16", "FP16"), ("float32", "FP32"), ("float64", "FP64"), ("str", "BYTES"), ("object", "BYTES")),
    ],
)
def test_tensors_get_tritons_datatypes(dtype: str, datatype: str) -> None:
    """And lose the leading -1."""
    signature = translated(tensor(dtype, [-1, 28, 28])).signature
    assert signature.inputs == (TensorSpec("input", datatype, (28, 28)),)
    assert signature.outputs == (TensorSpec("output", "FP32", (3,)),)


def test_named_tensors_keep_their_names_and_order() -> None:
    """An optional one stays optional."""
    signature = translated(tensor("int64", [-1, -1], "ids"), tensor("int64", [-1, 4], "mask", required=False)).signature
    assert signature.inputs == (TensorSpec("ids", "INT64", (-1,)), TensorSpec("mask", "INT64", (4,), optional=True))


def test_a_number_for_each_row_is_a_row_of_one() -> None:
    """Triton has no tensors without dimensions; whoever has the flavor says what the output is called."""
    said = {"inputs": json.dumps([tensor("float64", [-1, 4])]), "outputs": json.dumps([tensor("int64", [-1])])}
    assert translate(said, output="predict").signature.outputs == (TensorSpec("predict", "INT64", (1,)),)


def test_columns_of_one_type_are_a_matrix() -> None:
    """Their names are kept, in their order, for whoever fills it in; names that no tensor could have are fine."""
    found = translated(column("double", "sepal length (cm)"), column("double", "width"), column("double", "x"))
    assert found.signature.inputs == (TensorSpec("input", "FP64", (3,)),)
    assert found.columns == ("sepal length (cm)", "width", "x")


def test_columns_of_different_types_are_a_tensor_each() -> None:
    """Of one element, under their own names."""
    found = translated(column("double", "age"), column("string", "town"), column("long", "rooms", required=False))
    assert found.columns == ()
    assert found.signature.inputs == (
        TensorSpec("age", "FP64", (1,)),
        TensorSpec("town", "BYTES", (1,)),
        TensorSpec("rooms", "INT64", (1,), optional=True),
    )


def test_one_column_is_a_tensor() -> None:
    """With its name, or without one."""
    assert translated(column("float", "x")).signature.inputs == (TensorSpec("x", "FP32", (1,)),)
    assert translated(column("integer")).signature.inputs == (TensorSpec("input", "INT32", (1,)),)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (tensor("datetime64[ns]", [-1, 3]), "which Triton has not"),
        (tensor("complex64", [-1, 3]), "which Triton has not"),
        (tensor("float32", [1, 3]), "no batch dimension"),
        (tensor("float32", [-1, 3], "a b"), "must match"),
        (tensor("float32", [-1, 0]), "must be 1 to"),
        (column("datetime", "when"), "no tensor can hold"),
        (column("array", "list", items={"type": "double"}), "no tensor can hold"),
        (tensor("float32", []), "cannot be read"),
        ({"type": "tensor"}, "cannot be read"),
        ({"name": "x"}, "cannot be read"),
    ],
)
def test_what_triton_has_not_is_refused(entry: dict[str, Any], words: str) -> None:
    """With the name of it."""
    with pytest.raises(Unacceptable, match=words):
        translated(entry)


def test_columns_without_names_are_refused_where_they_need_them() -> None:
    """A tensor each, and no name to ask by."""
    with pytest.raises(Unacceptable, match="without names"):
        translated(column("double"), column("string"))


@pytest.mark.parametrize(
    "said",
    [
        *(None, {}, {"inputs": "[]"}, {"inputs": None, "outputs": None}, "text", 3),
        *({"inputs": "[", "outputs": "[]"}, {"inputs": "[]", "outputs": "[]"}, {"inputs": "{}", "outputs": "3"}),
        {"inputs": "[3]", "outputs": "[3]"},
    ],
)
def test_no_signature_is_refused_with_how_to_log_one(said: object) -> None:
    """Or one that says nothing, or nonsense."""
    with pytest.raises(Unacceptable) as caught:
        translate(said)
    assert "infer_signature" in caught.value.hint or "1 to" in caught.value.sentence
