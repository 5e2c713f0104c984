"""Sampled tensors become rows by rules that are written down, whatever shape they came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drift import window as windows
from drift.flattening import Known, Part, row_keys, tables_of, widths_of
from drift.samples import MOST_ROWS, Answer, Batch, Request, Role, Tensor, Totals, tensor_of
from drift.tables import Table
from tests.drift import samples as small


def tensor(name: str, values: object, datatype: str = "FP64") -> Tensor:
    """Of these values."""
    return tensor_of(name, datatype, np.asarray(values, object if datatype == "BYTES" else np.float64))


def request(
    inputs: Mapping[str, object],
    outputs: Mapping[str, object] | None,
    *,
    key: int = 1,
    **said: Any,  # noqa: ANN401 - whatever the request has
) -> Request:
    """One request that version 1 answered."""
    told = None if outputs is None else tuple(tensor(name, values) for name, values in outputs.items())
    fields = {"at_s": 100.0 + key, "segment": {}, "answers": (Answer(1, Role.STABLE, told),), **said}
    return Request(key=key, inputs=tuple(tensor(name, values) for name, values in inputs.items()), **fields)


def batch(*requests: Request) -> Batch:
    """With these requests."""
    return Batch("demo", "gw 1", 1, Totals(), requests)


def only(*requests: Request, known: Known | None = None) -> Part:
    """The one part that they are."""
    (part,) = tables_of(batch(*requests), {} if known is None else {1: known})
    return part


def shapes(part: Part) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]] | None]:
    """Of its columns."""
    inputs, outputs = _shapes(part.inputs), None if part.outputs is None else _shapes(part.outputs)
    return inputs, outputs


def _shapes(table: Table) -> dict[str, tuple[int, ...]]:
    return {name: one.shape for name, one in table.columns.items()}


def test_the_axis_that_all_have_is_the_row() -> None:
    """Requests of different lengths follow each other, each row with its request's time and a key of its own."""
    one = request({"x": np.ones((2, 3)), "p": [1.0, 2.0]}, {"y": [[5.0], [6.0]]}, key=1, segment={"c": "nl"})
    two = request({"x": np.zeros((1, 3)), "p": [3.0]}, {"y": [[7.0]]}, key=2)
    part = only(one, two)
    assert (part.version, part.role, part.rows) == (1, Role.STABLE, 3)
    assert shapes(part) == ({"x": (3, 3), "p": (3,)}, {"y": (3, 1)})
    assert part.inputs.columns["p"].tolist() == [1.0, 2.0, 3.0]
    assert part.at_s.tolist() == [101.0, 101.0, 102.0]
    assert part.keys.tolist() == [*row_keys(1, 2).tolist(), *row_keys(2, 1).tolist()]
    assert [dict(one) for one in part.segments] == [{"c": "nl"}, {"c": "nl"}, {}]


def test_what_has_no_such_axis_is_one_row() -> None:
    """Without a baseline that knows better: a vector in and a number out, scalars, tensors of different lengths."""
    assert shapes(only(request({"x": np.ones(8)}, {"y": [0.5]}))) == ({"x": (1, 8)}, {"y": (1, 1)})
    assert shapes(only(request({"x": 1.0}, {"y": [1.0, 2.0]}))) == ({"x": (1,)}, {"y": (1, 2)})
    assert shapes(only(request({"x": np.ones((2, 4)), "z": np.ones(3)}, None))) == ({"x": (1, 2, 4), "z": (1, 3)}, None)
    assert shapes(only(request({}, {"y": [1.0]}))) == ({}, {"y": (1, 1)})


def test_a_baseline_knows_what_one_row_is() -> None:
    """A tensor with as many values as a row is one, and rows are rows though the outputs are of another length."""
    square = request({"x": np.ones((3, 3))}, {"y": np.ones(3)})
    assert only(square).rows == 3
    assert shapes(only(square, known=Known({"x": 9}))) == ({"x": (1, 3, 3)}, {"y": (1, 3)})
    assert only(square, known=Known({"x": 3}, {"y": 1})).rows == 3
    odd = request({"x": np.ones((4, 3))}, {"y": np.ones(2)})
    assert shapes(only(odd)) == ({"x": (1, 4, 3)}, {"y": (1, 2)})
    assert shapes(only(odd, known=Known({"x": 3}))) == ({"x": (4, 3)}, None)


def test_outputs_that_were_not_asked_for_are_not_missing() -> None:
    """Where a request names some, and the baseline knows more, nothing is said of its outputs."""
    known = Known({"x": 1}, {"y": 1, "score": 1})
    rows: dict[str, object] = {"x": np.ones((2, 1))}
    assert shapes(only(request(rows, {"y": np.ones((2, 1))}, named=True), known=known))[1] is None
    assert shapes(only(request(rows, {"y": np.ones((2, 1))}), known=known))[1] == {"y": (2, 1)}
    both = {"y": np.ones((2, 1)), "score": np.ones((2, 1))}
    assert only(request(rows, both, named=True), known=known).outputs is not None
    assert only(request(rows, {}, named=True)).outputs is None


def test_an_odd_request_spoils_no_other() -> None:
    """Each form of tensors is a part: a missing or an extra one, another type, another shape, another answer."""
    usual = {"x": np.ones((2, 3))}
    odd = [
        request(usual, {"y": np.ones(2)}, key=1),
        request({**usual, "more": np.ones(2)}, {"y": np.ones(2)}, key=2),
        request({"x": np.ones((2, 4))}, {"y": np.ones(2)}, key=3),
        request(usual, None, key=4),
        Request(0.0, 5, {}, (tensor("x", [b"a", b"b"], "BYTES"),), (Answer(1, Role.STABLE, None),)),
        request(usual, {"y": np.ones(2)}, key=6, answers=(Answer(1, Role.ARM, (tensor("y", np.ones(2)),)),)),
        request(usual, {"y": np.ones(2)}, key=7),
    ]
    parts = tables_of(batch(*odd))
    assert [part.rows for part in parts] == [4, 2, 2, 2, 2, 2]
    assert {part.role for part in parts} == {Role.STABLE, Role.ARM}
    assert parts[4].inputs.columns["x"].tolist() == [b"a", b"b"]


def test_each_answer_is_of_its_own_version() -> None:
    """The copy's outputs with the same inputs, under the same keys."""
    outputs = [(tensor("y", [float(at)]),) for at in range(2)]
    answers = Answer(1, Role.STABLE, outputs[0]), Answer(2, Role.SHADOW, outputs[1])
    first, copy = tables_of(batch(request({"x": [[1.0]]}, None, answers=answers)))
    assert (first.version, copy.version, copy.role) == (1, 2, Role.SHADOW)
    assert first.keys.tolist() == copy.keys.tolist()
    assert copy.outputs is not None
    assert copy.outputs.columns["y"].tolist() == [1.0]


def test_no_rows_say_nothing_and_no_elements_are_there() -> None:
    """A request of no rows is no part; a tensor without elements is a column without elements."""
    assert tables_of(batch(request({"x": np.ones((0, 3))}, {"y": np.ones(0)}))) == []
    assert tables_of(batch()) == []
    assert shapes(only(request({"x": np.ones((2, 0))}, {"y": np.ones(2)})))[0] == {"x": (2, 0)}


def test_no_request_is_more_rows_than_may_be() -> None:
    """Though its bytes say so: a tensor without elements has as many as it likes."""
    part = only(request({"x": np.ones((10_000, 0))}, {"y": np.ones((10_000, 0))}))
    assert (part.rows, len(part.segments), part.inputs.rows) == (MOST_ROWS,) * 3


def test_parts_of_a_part_are_rows() -> None:
    """Those that were asked for, all of them with what belongs to them."""
    part = only(request({"x": [1.0, 2.0, 3.0]}, {"y": [4.0, 5.0, 6.0]}, segment={"c": "nl"}))
    one = part.part(np.array([2]))
    assert one.outputs is not None
    assert (one.rows, one.inputs.columns["x"].tolist(), one.outputs.columns["y"].tolist()) == (1, [3.0], [6.0])
    assert (one.keys.tolist(), [dict(of) for of in one.segments]) == ([part.keys[2]], [{"c": "nl"}])


def test_keys_of_rows_differ_and_are_spread() -> None:
    """Of one request as of many: half of them below the middle, within five standard deviations."""
    keys = np.concatenate([row_keys(key, 50) for key in range(200)])
    assert len(set(keys.tolist())) == 10_000
    assert abs(int((keys < 2**63).sum()) - 5_000) < 5 * 50


def wire(columns: dict[str, NDArray[Any]]) -> tuple[Tensor, ...]:
    """A table's columns as requests have them."""
    return tuple(
        tensor_of(name, "FP64", one) if one.dtype.kind == "f"
        else tensor_of(name, "BYTES", np.array([text.encode() for text in one], object))
        for name, one in columns.items()
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 40])
def test_samples_of_what_was_trained_on_break_nothing(rows: int) -> None:
    """Each of a baseline's columns comes back in its own form: numbers, texts, an image, scores; row by row or all."""
    baseline = small.baseline()
    rng = np.random.default_rng(5)
    inputs, outputs = small.inputs(rng, 40), small.outputs(rng, 40)
    requests = [
        Request(
            1.0, start, {}, wire(dict(inputs.part(slice(start, start + rows)).columns)),
            (Answer(1, Role.STABLE, wire(dict(outputs.part(slice(start, start + rows)).columns))),),
        )
        for start in range(0, 40, rows)
    ]  # fmt: skip
    assert baseline.outputs is not None
    known = Known(widths_of(baseline.inputs.schema), widths_of(baseline.outputs.schema))
    assert known == Known({"x": 4, "price": 1, "country": 1, "image": 16}, {"scores": 2})
    part = only(*requests, known=known)
    folded = windows.folded_in(baseline, part.inputs, part.outputs, part.keys, 1.0)
    assert folded.breaks == ()
    direct = windows.folded_in(baseline, inputs, outputs, part.keys, 1.0)
    assert (folded.rows, folded.blob()) == (40, direct.blob())
