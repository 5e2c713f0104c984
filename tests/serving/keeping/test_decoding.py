"""What goes over the wire is read as arrays in each of its forms, and what is none is refused without its values."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import serialize_byte_tensor

from serving.keeping import decoding
from serving.keeping.decoding import Asked, Tensors, Unreadable, answer_in, request_in

_NUMPY: Mapping[str, str] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_EDGES: Mapping[str, list[Any]] = {
    "?": [True, False],
    "f": [0.0, -1.5, float("nan"), float("inf"), float("-inf"), 2.0**-14],
}


def edges(datatype: str) -> np.ndarray[Any, Any]:
    """Values at the ends of a type's range, in two rows."""
    dtype = np.dtype(_NUMPY[datatype])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([[info.min, 0], [1, info.max]], dtype=dtype)
    return np.array(_EDGES["?" if dtype.kind == "b" else "f"], dtype=dtype).reshape(2, -1)


def in_json(**tensors: Any) -> bytes:  # noqa: ANN401 - whatever is to stand there
    """Outputs as they stand in JSON."""
    return json.dumps({"outputs": [{"name": name, **said} for name, said in tensors.items()]}).encode()


def in_binary(datatype: str, shape: list[int], raw: bytes, size: int | None = None) -> tuple[bytes, bytes]:
    """One output behind its JSON, and the headers that say where it begins."""
    parameters = {"binary_data_size": len(raw) if size is None else size}
    head = in_json(y={"datatype": datatype, "shape": shape, "parameters": parameters})
    return b"Inference-Header-Content-Length: %d\r\n" % len(head), head + raw


def same(found: Tensors, datatype: str, values: np.ndarray[Any, Any]) -> None:
    """It is the one output `y`, of that type, and has these values; NaN is NaN."""
    assert found.keys() == {"y"}
    assert (found["y"].datatype, found["y"].shape) == (datatype, values.shape)
    np.testing.assert_array_equal(found["y"].values, values)


@pytest.mark.parametrize("datatype", sorted(_NUMPY))
def test_every_type_in_binary_over_http_and_grpc(datatype: str) -> None:
    """Ends of the range, NaN and infinities among the values."""
    values = edges(datatype)
    shape = list(values.shape)
    same(answer_in("http", *in_binary(datatype, shape, values.tobytes())), datatype, values)
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype=datatype, shape=shape)
    message = pb.ModelInferResponse(outputs=[output], raw_output_contents=[values.tobytes()])
    same(answer_in("grpc", b"", message.SerializeToString()), datatype, values)


@pytest.mark.parametrize("datatype", sorted(_NUMPY.keys() - {"FP16"}))
@pytest.mark.parametrize("nested", [False, True])
def test_every_type_in_json(datatype: str, *, nested: bool) -> None:
    """Flat and nested; whole numbers of 64 bits exactly."""
    values = edges(datatype)
    data = values.tolist() if nested else values.ravel().tolist()
    body = in_json(y={"datatype": datatype, "shape": list(values.shape), "data": data})
    same(answer_in("http", b"", body), datatype, values)


@pytest.mark.parametrize("datatype", sorted(_NUMPY.keys() - {"FP16"}))
def test_every_type_in_typed_contents(datatype: str) -> None:
    """As clients without numpy send them over gRPC."""
    values = edges(datatype)
    field = decoding._TYPED[datatype]
    contents = pb.InferTensorContents(**{field: values.ravel().tolist()})
    given_ = pb.ModelInferRequest.InferInputTensor(
        name="y", datatype=datatype, shape=list(values.shape), contents=contents
    )
    message = pb.ModelInferRequest(model_name="m", inputs=[given_])
    same(request_in("grpc", b"", message.SerializeToString()).inputs, datatype, values)


def test_bf16_is_widened() -> None:
    """To the float32 of the same bits above sixteen zeros."""
    found = answer_in("http", *in_binary("BF16", [2], b"\xc0\x3f\x80\xff"))
    same(found, "BF16", np.array([1.5, -np.inf], dtype=np.float32))


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_bytes_are_what_they_were(texts: list[bytes]) -> None:
    """NUL bytes, empty ones and what is no text among them."""
    values = np.array(texts, dtype=object)
    raw = serialize_byte_tensor(values).item() if texts else b""
    same(answer_in("http", *in_binary("BYTES", [len(texts)], raw)), "BYTES", values)


def test_texts_in_json_and_in_typed_contents() -> None:
    """As UTF-8."""
    values = np.array([["é".encode()], [b""]], dtype=object)
    same(
        answer_in("http", b"", in_json(y={"datatype": "BYTES", "shape": [2, 1], "data": [["é"], [""]]})),
        "BYTES",
        values,
    )
    contents = pb.InferTensorContents(bytes_contents=["é".encode(), b""])
    given_ = pb.ModelInferRequest.InferInputTensor(name="y", datatype="BYTES", shape=[2, 1], contents=contents)
    same(request_in("grpc", b"", pb.ModelInferRequest(inputs=[given_]).SerializeToString()).inputs, "BYTES", values)


def test_tensors_without_elements() -> None:
    """In every form."""
    empty = np.zeros((0, 4), dtype=np.int64)
    same(answer_in("http", *in_binary("INT64", [0, 4], b"")), "INT64", empty)
    same(answer_in("http", b"", in_json(y={"datatype": "INT64", "shape": [0, 4], "data": []})), "INT64", empty)


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies(coding: str, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - a function
    """Inflated as far as that is bounded; a cut one is refused, and so is a bomb."""
    monkeypatch.setattr(decoding, "MOST_INFLATED", 100_000)
    body = in_json(y={"datatype": "FP64", "shape": [1], "data": [1.0]})
    headers = f"Content-Encoding: {coding}\r\n".encode()
    same(answer_in("http", headers, pack(body)), "FP64", np.array([1.0]))
    for bad in (pack(body)[:-3], pack(b" " * (decoding.MOST_INFLATED + 1)), b"x"):
        with pytest.raises(Unreadable):
            answer_in("http", headers, bad)


def test_outputs_that_a_request_names() -> None:
    """With the classes that the classification extension is to give."""
    said = {"inputs": [], "outputs": [{"name": "a"}, {"name": "b", "parameters": {"classification": 3}}]}
    assert request_in("http", b"", json.dumps(said).encode()).asked == (Asked("a"), Asked("b", 3))
    message = pb.ModelInferRequest()
    message.outputs.add(name="a")
    message.outputs.add(name="b").parameters["classification"].int64_param = 3
    assert request_in("grpc", b"", message.SerializeToString()).asked == (Asked("a"), Asked("b", 3))


def _said(**more: Any) -> bytes:  # noqa: ANN401 - whatever is wrong
    return in_json(y={"datatype": "INT32", "shape": [1], "data": [1], **more})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"outputs": 5}', b'{"outputs": [5]}', b"\xff\xfe", b"[" * 100_000,
        _said(data=[1.5]), _said(data=[2**40]), _said(data=["1"]), _said(data=[None]), _said(data=[[1], [1, 2]]),
        _said(data={"a": 1}), _said(data=[True]), _said(data=[1, 2]), _said(shape=[-1]), _said(shape=[True]),
        _said(shape="1"), _said(shape=[2**70]), _said(shape=[1] * 40), _said(datatype="INT128"), _said(datatype=None),
        _said(name=5), _said(datatype="FP16"), _said(datatype="BYTES"), _said(datatype="BYTES", data=["\ud800"]),
        _said(parameters={"binary_data_size": 4}), _said(parameters={"binary_data_size": -1}), _said(parameters=[1]),
    ],
    ids=range(31),
)  # fmt: skip
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    """Whatever is wrong with it, it is one kind of error."""
    with pytest.raises(Unreadable):
        answer_in("http", b"", body)


@pytest.mark.parametrize("length", [b"0", b"-1", b"x", b"99999999999"])
def test_a_length_of_the_json_that_is_none(length: bytes) -> None:
    """Beyond the body, below zero, no number; or zero, so that nothing says which tensors there are."""
    with pytest.raises(Unreadable):
        answer_in("http", b"inference-header-content-length: " + length + b"\r\n", _said())


def test_an_error_has_no_value_in_it() -> None:
    """Its words go into logs and files."""
    with pytest.raises(Unreadable) as caught:
        answer_in("http", b"", _said(data=["secret-4111"]))
    assert "4111" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@given(st.binary(max_size=60))
def test_no_bytes_break_it(body: bytes) -> None:
    """They are read, or refused."""
    for protocol in ("http", "grpc"):
        for headers in (b"", b"inference-header-content-length: 2\r\n", b"content-encoding: gzip\r\n"):
            try:
                answer_in(protocol, headers, body)
                request_in(protocol, headers, body)
            except Unreadable:
                continue


def test_raw_contents_that_do_not_fit_their_tensors() -> None:
    """One too few, or one that is too short."""
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="INT32", shape=[1])
    for outputs, raw in (([output, output], [bytes(4)]), ([output], [bytes(3)]), ([output], [bytes(8)])):
        with pytest.raises(Unreadable):
            answer_in("grpc", b"", pb.ModelInferResponse(outputs=outputs, raw_output_contents=raw).SerializeToString())
