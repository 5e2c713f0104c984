"""MLflow's input examples become v2 requests that fit the signature, or are left out with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.signature import Signature, TensorSpec
from serving.control.importing.examples import MOST_ROWS, Unwritable, translate

OUTPUTS = (TensorSpec("output", "FP32", (1,)),)
MATRIX = Signature((TensorSpec("input", "FP64", (2,)),), OUTPUTS)
MIXED = Signature((TensorSpec("age", "INT64", (1,)), TensorSpec("town", "BYTES", (1,), optional=True)), OUTPUTS)


def request(example: object, signature: Signature, columns: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The tensors of the request."""
    tensors = json.loads(translate(json.dumps(example), signature, columns))["inputs"]
    assert not signature.refusals(tensors)
    return list(tensors)


def test_rows_are_the_one_input() -> None:
    """In its datatype, as Triton's JSON wants it: flat."""
    [tensor] = request({"inputs": [[1, 2], [3, 4.5]]}, MATRIX)
    assert tensor == {"name": "input", "datatype": "FP64", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.5]}


def test_a_frame_is_a_matrix_in_the_order_of_the_signature() -> None:
    """Which need not be the example's."""
    frame = {"dataframe_split": {"columns": ["b", "a"], "data": [[1, 2], [3, 4]]}}
    [tensor] = request(frame, MATRIX, ("a", "b"))
    assert tensor["data"] == [2.0, 1.0, 4.0, 3.0]


def test_a_frame_is_a_tensor_for_each_column() -> None:
    """Where their types differ; an optional one may be missing."""
    both = {"dataframe_split": {"columns": ["age", "town"], "data": [[7, "Rome"], [8, "Oslo"]]}}
    tensors = request(both, MIXED)
    assert [(one["name"], one["shape"], one["data"]) for one in tensors] == [
        ("age", [2, 1], [7, 8]),
        ("town", [2, 1], ["Rome", "Oslo"]),
    ]
    assert [one["name"] for one in request({"inputs": {"age": [7]}}, MIXED)] == ["age"]


@given(st.integers(1, 20), st.integers(1, 5))
def test_a_few_rows_are_enough(rows: int, size: int) -> None:
    """Of sizes that vary, and that the request says."""
    signature = Signature((TensorSpec("x", "INT64", (-1,)),), OUTPUTS)
    [tensor] = request({"inputs": [list(range(size))] * rows}, signature)
    assert tensor["shape"] == [min(rows, MOST_ROWS), size]
    assert len(tensor["data"]) == min(rows, MOST_ROWS) * size


@pytest.mark.parametrize(
    "example",
    [
        {"inputs": [[1, 2, 3]]},
        {"inputs": [[1, 2], [3]]},
        {"inputs": [[1, [2]]]},
        {"inputs": [1, 2]},
        {"inputs": 1},
        {"inputs": []},
        {"inputs": [[]]},
        {"inputs": [[1, "2"]]},
        {"inputs": [[1, True]]},
        {"inputs": [[1, None]]},
        {"inputs": {"input": {"a": 1}}},
        {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
        {"dataframe_split": {"data": []}},
        {"messages": [{"role": "user"}]},
        [1, 2],
        None,
    ],
)
def test_what_does_not_fit_is_left_out(example: object) -> None:
    """With a reason, never with another error."""
    with pytest.raises(Unwritable, match=r"\w"):
        translate(json.dumps(example), MATRIX, ())


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, '{"inputs": [[1, NaN]]}', '{"inputs": [[1, 1e999]]}'])
def test_what_is_no_json_for_triton_is_left_out(text: str) -> None:
    """Python reads NaN, and Triton does not."""
    with pytest.raises(Unwritable):
        translate(text, MATRIX)


def test_a_half_is_not_a_whole_number() -> None:
    """A request with it would be refused by the model."""
    with pytest.raises(Unwritable, match="age is INT64"):
        translate('{"inputs": {"age": [7.5]}}', MIXED)
