"""Outputs agree as their rules say, whatever their type; what a rule cannot mean is a disagreement of its own kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from router.agreement import Agree, OutputRule
from serving.keeping.comparing import MOST_CONFUSED, STRUCTURAL, Held, Kind, compare
from serving.keeping.decoding import Tensor
from tests.examples import examples

TYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2",
    "INT32": "i4", "INT64": "i8", "FP16": "f2", "BF16": "f4", "FP32": "f4", "FP64": "f8",
}  # fmt: skip
RULES = [
    None, OutputRule(Agree.EXACT), OutputRule(Agree.CLOSE), OutputRule(Agree.ARGMAX), OutputRule(Agree.TOP_K, top=3),
    OutputRule(Agree.COSINE), OutputRule(Agree.EDIT),
]  # fmt: skip
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def tensors(draw: st.DrawFn, datatype: str | None = None, shape: tuple[int, ...] | None = None) -> Tensor:
    """Of any type and shape, with NaN and infinities among floats."""
    kind = datatype or draw(st.sampled_from([*TYPES, "BYTES"]))
    sizes = draw(shapes) if shape is None else shape
    if kind == "BYTES":
        made = np.empty(math.prod(sizes), dtype=object)
        made[:] = [draw(st.binary(max_size=4)) for _ in range(made.size)]
        return Tensor(kind, made.reshape(sizes))
    return Tensor(kind, draw(hnp.arrays(np.dtype(TYPES[kind]), sizes)))


def of(datatype: str, values: Any, dtype: Any = None) -> Tensor:  # noqa: ANN401 (any values)
    """A tensor of these."""
    return Tensor(datatype, np.array(values, dtype=dtype or (object if datatype == "BYTES" else TYPES[datatype])))


def held(first: Tensor, other: Tensor, rule: OutputRule | None = None) -> Held:
    """How they were found to agree."""
    return compare({"y": first}, {"y": other}, {"y": rule} if rule else {})["y"]


@pytest.mark.parametrize("rule", RULES, ids=range(len(RULES)))
@settings(max_examples=examples(60), deadline=None)
@given(tensors())
def test_everything_agrees_with_itself(rule: OutputRule | None, tensor: Tensor) -> None:
    """By every rule, with NaN, infinities and tensors without elements."""
    again = Tensor(tensor.datatype, tensor.values.copy())
    assert (held(tensor, again, rule).kind, held(tensor, again, rule).badness) == ("", 0.0)


@pytest.mark.parametrize("rule", RULES, ids=range(len(RULES)))
@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_whatever_two_versions_say_is_compared(rule: OutputRule | None, data: st.DataObject) -> None:
    """No values of any type make it fail, and what is told of them are finite numbers from 0."""
    first = data.draw(tensors())
    other = data.draw(tensors(first.datatype, first.shape))
    found = held(first, other, rule)
    assert found.kind in {"", Kind.VALUES}
    assert (found.badness > 0) is bool(found.kind)
    assert 0 <= found.size <= 1.8e308
    assert 0 <= found.badness <= 1e6
    assert len(found.confused) <= MOST_CONFUSED


@settings(max_examples=examples(60), deadline=None)
@given(hnp.arrays(np.int64, 5), hnp.arrays(np.int64, 5))
def test_whole_numbers_agree_where_they_are_the_same(one: Any, other: Any) -> None:  # noqa: ANN401
    """Also where the next floating-point number is farther away than the difference."""
    assert (not held(Tensor("INT64", one), Tensor("INT64", other)).kind) is bool((one == other).all())
    large = np.array([2**62], dtype=np.int64)
    assert held(Tensor("INT64", large), Tensor("INT64", large + 1)).kind == Kind.VALUES


@settings(max_examples=examples(200), deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-1, 1), st.floats(0, 1e-2))
def test_closeness_is_absolute_and_relative_to_stables_value(value: float, apart: float, relative: float) -> None:
    """|a - b| <= absolute + relative |a|, as numpy has it."""
    rule = OutputRule(Agree.CLOSE, absolute=0.1, relative=relative)
    found = held(of("FP64", [value]), of("FP64", [value + apart]), rule)
    assert (not found.kind) is bool(abs(value - (value + apart)) <= 0.1 + relative * abs(value))


@pytest.mark.parametrize(("datatype", "near", "far"), [
    ("FP64", 1.0005, 1.002), ("FP32", 1.0005, 1.002), ("FP16", 1.002, 1.01), ("BF16", 1.02, 1.05),
])  # fmt: skip
def test_floats_are_compared_by_what_their_precision_can_hold(datatype: str, near: float, far: float) -> None:
    """Where nobody says how."""
    one = of(datatype, [1.0])
    assert (held(one, of(datatype, [near])).kind, held(one, of(datatype, [far])).kind) == ("", Kind.VALUES)


@pytest.mark.parametrize(("one", "other", "agree"), [
    (math.nan, math.nan, True), (math.nan, 1.0, False), (1.0, math.nan, False), (math.inf, math.inf, True),
    (math.inf, -math.inf, False), (math.inf, 1.0, False), (1.0, math.inf, False), (0.0, -0.0, True),
])  # fmt: skip
@pytest.mark.parametrize("how", [Agree.CLOSE, Agree.EXACT, Agree.COSINE])
def test_what_is_no_number_agrees_with_its_like_only(how: Agree, one: float, other: float, agree: bool) -> None:  # noqa: FBT001
    """NaN with NaN, an infinity with itself, both zeros with each other."""
    found = held(of("FP32", [one, 1.0]), of("FP32", [other, 1.0]), OutputRule(how))
    assert (not found.kind) is agree


def test_scores_may_lead_alike_and_differ() -> None:
    """By argmax and top-k only places count, row by row; what was said in place of what is told."""
    first = of("FP32", [[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    alike = of("FP32", [[0.2, 0.5, 0.3], [0.9, 0.1, 0.0]])
    flipped = of("FP32", [[0.7, 0.1, 0.2], [0.5, 0.3, 0.2]])
    rule = OutputRule(Agree.ARGMAX)
    assert not held(first, alike, rule).kind
    assert held(first, flipped, rule) == Held(Kind.VALUES, 0.5, 1.5, (("1", "0"),))
    pairs = OutputRule(Agree.TOP_K, top=2)
    assert not held(of("INT8", [5, 4, 1]), of("INT8", [4, 5, 1]), pairs).kind
    assert held(of("INT8", [5, 4, 1]), of("INT8", [5, 1, 4]), pairs).kind == Kind.VALUES


def test_directions_are_compared_whatever_their_length() -> None:
    """Of vectors too large and too small to be squared as well; zeros point nowhere."""
    rule = OutputRule(Agree.COSINE, tolerated=0.01)
    one = of("FP64", [1.0, 2.0])
    assert not held(one, of("FP64", [1e200, 2e200]), rule).kind
    assert not held(one, of("FP64", [1e-200, 2e-200]), rule).kind
    assert held(one, of("FP64", [-1.0, -2.0]), rule).size == pytest.approx(2)
    assert held(one, of("FP64", [0.0, 0.0]), rule).size == pytest.approx(1)


def test_texts_are_compared_by_letter_where_a_rule_says_so() -> None:
    """Exactly otherwise; what takes too long to compare by letter agrees only where it is the same."""
    one, near = of("BYTES", [b"the quick brown fox"]), of("BYTES", [b"the quick brown box"])
    rule = OutputRule(Agree.EDIT, tolerated=0.1)
    assert (held(one, near).kind, held(one, near, rule).kind) == (Kind.VALUES, "")
    assert held(one, near).confused == (("the quick brown fox", "the quick brown box"),)
    assert held(one, of("BYTES", [b"a slow red fox"]), rule).kind == Kind.VALUES
    endless = b"a" * 100_000
    assert held(of("BYTES", [endless]), of("BYTES", [endless + b"b"]), rule).kind == Kind.VALUES
    many = of("BYTES", [b"a" * 4_000] * 100), of("BYTES", [b"a" * 3_999 + b"b"] * 100)
    assert held(*many, rule).kind == Kind.VALUES, "after so many letters nobody goes on counting"
    assert not held(many[0], many[0], rule).kind


def test_what_has_another_form_is_a_disagreement_of_its_own_kind() -> None:
    """Shape, type, and an output that only one answer has; and what is ignored is none at all."""
    first = {"a": of("FP32", [1.0]), "b": of("FP32", [1.0]), "c": of("FP32", [1.0]), "d": of("FP32", [1.0])}
    other = {"a": of("FP32", [[1.0]]), "b": of("FP64", [1.0]), "d": of("FP32", [9.0]), "e": of("FP32", [1.0])}
    found = compare(first, other, {"d": OutputRule(Agree.IGNORE)})
    kinds = {name: one.kind for name, one in found.items()}
    assert kinds == {"a": Kind.SHAPE, "b": Kind.DATATYPE, "c": Kind.MISSING, "e": Kind.EXTRA}
    assert {one.badness for one in found.values()} == {STRUCTURAL}
