"""An answer is held against the signature: names, datatypes, shapes, and as many rows as were asked."""

import pytest

from registry.signature import TensorSpec
from serving.triton.answers import differences

SAID = (TensorSpec("y", "FP32", (2, -1)), TensorSpec("z", "INT64", (1,)))


def answer(*outputs: tuple[str, str, list[int]]) -> dict[str, object]:
    """As the v2 protocol has it."""
    return {"outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in outputs]}


@pytest.mark.parametrize("rows", [3, None])
def test_an_answer_of_that_kind_is_none_of_another(rows: int | None) -> None:
    """In any order, and with whatever size where the signature's varies."""
    found = answer(("z", "INT64", [3, 1]), ("y", "FP32", [3, 2, 7]))
    assert list(differences(SAID, found, rows)) == []


def test_without_batches_there_may_be_no_rows_in_front() -> None:
    """The signature's own shape is the answer's."""
    found = answer(("y", "FP32", [2, 7]), ("z", "INT64", [1]))
    assert list(differences(SAID, found, None)) == []
    assert len(list(differences(SAID, found, 2))) == 2


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([("y", "FP32", [3, 2, 7])], "the signature has the output z INT64 [1], and the answer has none"),
        (
            [("y", "FP32", [3, 2, 7]), ("z", "INT64", [3, 1]), ("v", "BOOL", [3])],
            "the answer has the output v BOOL [3], and the signature has none",
        ),
        (
            [("y", "FP32", [3, 2, 7]), ("z", "INT32", [3, 1])],
            "the signature has the output z INT64 [1], and the answer for 3 rows has z INT32 [3, 1]",
        ),
        ([("y", "FP32", [3, 2]), ("z", "INT64", [3, 1])], "has y FP32 [3, 2]"),
        ([("y", "FP32", [1, 2, 7]), ("z", "INT64", [3, 1])], "for 3 rows has y FP32 [1, 2, 7]"),
    ],
    ids=["missing", "strange", "datatype", "dimensions", "rows"],
)
def test_another_kind_is_told(outputs: list[tuple[str, str, list[int]]], words: str) -> None:
    """With what the signature says, and what there is."""
    [found] = differences(SAID, answer(*outputs), 3)
    assert words in found
