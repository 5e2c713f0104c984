"""A batch is read as it was written, and bytes that are none are refused in a sentence."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from drift.samples import (
    LONGEST,
    LONGEST_NAME,
    MOST_ROWS,
    Answer,
    Batch,
    Request,
    Role,
    Tensor,
    Totals,
    batch_from,
    rows_in,
    tensor_of,
)
from tests.examples import examples

NUMPY = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


def objects(*texts: bytes) -> NDArray[Any]:
    """Texts as decoders give them."""
    made = np.empty(len(texts), object)
    made[:] = texts
    return made


@st.composite
def tensors(draw: st.DrawFn, name: str) -> Tensor:
    """Of any type and shape, those without an element among them."""
    datatype = draw(st.sampled_from([*NUMPY, "BYTES"]))
    if datatype == "BYTES":
        return tensor_of(name, datatype, objects(*draw(st.lists(st.binary(max_size=9), max_size=5))))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    return tensor_of(name, datatype, draw(arrays.arrays(NUMPY[datatype], shape)))


REQUESTS = st.builds(
    Request,
    at_s=st.floats(0, 1e10),
    key=st.integers(0, 2**64 - 1),
    segment=st.dictionaries(st.text(max_size=3), st.text(st.characters(codec="utf-8"), max_size=3), max_size=2),
    inputs=st.tuples(tensors("x"), tensors("y")),
    answers=st.tuples(
        st.builds(Answer, st.just(1), st.sampled_from(Role), st.none() | st.tuples(tensors("z"))),
        st.builds(Answer, st.just(2), st.just(Role.SHADOW), st.tuples(tensors("z"))),
    ),
    named=st.booleans(),
)
BATCHES = st.builds(
    Batch,
    model=st.just("demo"),
    keeper=st.just("gw 1"),
    number=st.integers(1, 2**63),
    totals=st.builds(Totals, st.integers(0, 9), st.integers(0, 9), st.just({"rate": 3})),
    requests=st.lists(REQUESTS, max_size=3).map(tuple),
    hidden=st.just(("secret",)),
)


@given(batch=BATCHES)
@settings(max_examples=examples(200), deadline=None)
def test_a_batch_is_read_as_it_was_written(batch: Batch) -> None:
    """To the byte: every type, texts, tensors without elements, outputs that are not known."""
    again = batch_from(batch.encode())
    assert again == batch
    assert again.encode() == batch.encode()


@given(batch=BATCHES, data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_damaged_bytes_are_a_value_error_or_another_batch(batch: Batch, data: st.DataObject) -> None:
    """Cut off, too long, or with bytes that are others: nothing else comes of it."""
    raw = bytearray(batch.encode())
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=3)):
        raw[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(raw)) | st.just(len(raw)))
    try:
        found = batch_from(bytes(raw[:end]) + data.draw(st.sampled_from([b"", b"x"])))
    except ValueError:
        return
    for request in found.requests:
        assert all(one.values().size == one.size for one in request.inputs)


@pytest.mark.parametrize("datatype", sorted(NUMPY))
def test_values_are_those_of_the_tensor(datatype: str) -> None:
    """Whatever byte order and layout they came in."""
    values = np.arange(6).reshape(2, 3).astype(NUMPY[datatype])
    for given_ in (values, np.asfortranarray(values), values.astype(values.dtype.newbyteorder(">"))):
        np.testing.assert_array_equal(tensor_of("x", datatype, given_).values(), values)


def test_a_text_is_bytes_and_half_a_precision_is_widened() -> None:
    """Texts of no letters are there, and BF16 is FP32 from here on."""
    found = tensor_of("x", "BYTES", objects(b"", b"a", b"\xff")).values()
    assert found.tolist() == [b"", b"a", b"\xff"]
    assert tensor_of("x", "BF16", np.array([1.5], np.float32)).datatype == "FP32"


@pytest.mark.parametrize(
    "said",
    [
        ("x", "FP32", (2,), b"1234"),
        ("x", "FP32", (-1,), b""),
        ("x", "FP32", (1.0,), b"1234"),
        ("x", "FP32", (True,), b"1234"),
        ("x", "FP32", (LONGEST + 1, 0), b""),
        ("x", "FP32", (1,) * 33, b"1234"),
        ("x", "BF16", (1,), b"12"),
        ("x", "FP128", (1,), b"12"),
        ("x", "BYTES", (2,), b"\x01\x00\x00\x00a"),
        ("x", "BYTES", (1,), b"\x02\x00\x00\x00a"),
        ("x", "BYTES", (1,), b"\x00\x00"),
        (1, "FP32", (0,), b""),
        ("x", "FP32", (0,), "text"),
    ],
    ids=str,
)
def test_a_tensor_that_cannot_be_is_refused(said: Any) -> None:  # noqa: ANN401 - wrong on purpose
    """Its bytes, its shape and its type belong together."""
    with pytest.raises(ValueError, match=r"\S"):
        Tensor(*said)


def damaged(**said: Any) -> bytes:  # noqa: ANN401 - what is to stand there
    """A batch whose head says otherwise."""
    head = {
        "reader": 1, "model": "m", "keeper": "g 1", "number": 1, "totals": [0, 0, {}], "hidden": [], "requests": [],
    }  # fmt: skip
    raw = json.dumps({**head, **said}).encode()
    return len(raw).to_bytes(4, "big") + raw


@pytest.mark.parametrize(
    "said",
    [
        {"reader": 2}, {"model": ""}, {"model": 5}, {"keeper": None}, {"number": 0}, {"number": 1.0}, {"totals": []},
        {"totals": [0, -1, {}]}, {"totals": [0, 0, {"a": "b"}]}, {"hidden": [1]}, {"requests": [[]]}, {"requests": 1},
        {"requests": [[math.nan, 1, {}, [], [], False]]}, {"requests": [[0, 2**64, {}, [], [], False]]},
        {"requests": [[0, 1, {"a": 1}, [], [], False]]}, {"requests": [[0, 1, {}, [], [[1, "?", []]], False]]},
        {"requests": [[0, 1, {}, [["x", "FP32", [0], -1]], [], False]]},
        {"requests": [[0, 1, {}, [["x", "FP32", [1], 4]], [], False]]},
        {"requests": [[0, 1, {}, [["x", "FP32", [0], 0]] * 2, [], False]]},
        {"requests": [[0, 1, {}, [], [[1, "arm", []], [1, "shadow", []]], False]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_head_that_cannot_be_is_refused(said: dict[str, Any]) -> None:
    """Each member is looked at."""
    assert batch_from(damaged()).number == 1
    with pytest.raises(ValueError, match=r"\S"):
        batch_from(damaged(**said))


def test_a_name_that_is_too_long_is_refused() -> None:
    """Strangers give names to tensors, and breaks of the schema are kept by them."""
    said = [[0, 1, {}, [["x" * LONGEST_NAME, "FP32", [0], 0]], [], False]]
    assert len(batch_from(damaged(requests=said)).requests) == 1
    said[0][3] = [["x" * (LONGEST_NAME + 1), "FP32", [0], 0]]
    with pytest.raises(ValueError, match=r"1,024 letters"):
        batch_from(damaged(requests=said))


def test_a_batch_that_is_too_long_is_refused_unread() -> None:
    """And so is one that is no bytes of ours at all."""
    with pytest.raises(ValueError, match="at most"):
        batch_from(bytes(LONGEST + 1))
    for raw in (b"", b"{}", b"\xff" * 40, b"\0\0\0\2{}", b"\0\0\0\2[]"):
        with pytest.raises(ValueError, match=r"\S"):
            batch_from(raw)


def test_a_newer_release_may_say_more() -> None:
    """Members that are not known are passed over."""
    request = [0, 1, {}, [], [[1, "arm", [], "more"]], False, "more"]
    found = batch_from(damaged(more=1, requests=[request], totals=[1, 1, {}, "more"]))
    assert found.requests[0].answers[0].role is Role.ARM


def test_rows_are_the_axis_that_all_tensors_have() -> None:
    """Of one form or another, one row; of a long request, as many as are sampled of it; for each answer."""
    assert rows_in([(3, 2), (3,)]) == 3
    assert rows_in([(3, 2), (4,)]) is None
    assert rows_in([()]) is None
    assert rows_in([]) is None

    def counted(*inputs: int, outputs: int | None) -> int:
        given_ = tuple(tensor_of(str(at), "UINT8", np.zeros(n, np.uint8)) for at, n in enumerate(inputs))
        answered = None if outputs is None else (tensor_of("y", "UINT8", np.zeros(outputs, np.uint8)),)
        answers = Answer(1, Role.STABLE, answered), Answer(2, Role.SHADOW, None)
        return Request(0.0, 1, {}, given_, answers).rows

    assert counted(3, outputs=3) == 6
    assert counted(3, outputs=None) == 6
    assert counted(3, outputs=1) == 1 + 3
    assert counted(3, 2, outputs=3) == 2
    assert counted(0, outputs=0) == 0
    assert counted(1_000, outputs=1_000) == 2 * MOST_ROWS
