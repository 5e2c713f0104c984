"""A request's inputs and an answer's outputs as arrays, from the bytes that went over the wire.

JSON, JSON with the binary tensor extension, and the messages of gRPC with typed or raw contents come to the same thing:
`Tensor`s by name. What Triton would refuse is refused here too, and so is whatever would take more memory than
`MOST_INFLATED`: these bytes come from strangers. Nothing is guessed: a body that does not say which tensors it has
(a raw binary one, `generate`) is `Unreadable`. What two tensors have to do with each other is left to others.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.utils import triton_to_np_dtype

MOST_INFLATED: Final = 8 * 1024 * 1024
"""Bytes that a compressed body may have once it is inflated: as JSON, a second's work."""

MOST_TENSORS: Final = 1_000
_MOST_DIMENSIONS: Final = 32
_LENGTH: Final = 4
_WINDOWS: Final[Mapping[str, int]] = {"gzip": 31, "deflate": 47}  # what zlib calls the form of the stream
_TYPED: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


class Unreadable(ValueError):  # noqa: N818 - named after what a body is
    """A body that does not say, or not as the protocol has it, which tensors it holds."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Attributes:
        datatype: Triton's name of it, such as FP32.
        values: in the tensor's shape. Of numpy's type for the datatype; BF16, for which it has none, is widened to
            float32, which loses nothing; BYTES are objects of type `bytes`.
    """

    datatype: str
    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """As the message has it, with the batch dimension."""
        return self.values.shape


Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Asked:
    """An output that a request names.

    Attributes:
        name: of the output.
        classes: how many classes the classification extension is to give instead of its values; 0 for none.
    """

    name: str
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What a request holds, and which outputs it names; where it names none, it wants all."""

    inputs: Tensors
    asked: tuple[Asked, ...] = ()


def request_in(protocol: str, headers: bytes, body: bytes) -> Request:
    """What a captured request holds.

    Args:
        protocol: "http" or "grpc".
        headers: lines that say how the body is to be read (`serving.captured`).
        body: as it came.

    Raises:
        Unreadable: it cannot be read; says why without its values.
    """
    with _readably():
        return _grpc_request(body) if protocol == "grpc" else _http_request(headers, body)


def answer_in(protocol: str, headers: bytes, body: bytes) -> Tensors:
    """The outputs of a captured answer; arguments and errors as for `request_in`."""
    with _readably():
        return _grpc_answer(body) if protocol == "grpc" else _http_answer(headers, body)


@contextmanager
def _readably() -> Iterator[None]:
    """Whatever the libraries below raise, said as one kind of error. Their words are left out: they quote values."""
    try:
        yield
    except Unreadable:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, zlib.error) as error:
        raise Unreadable(f"not as the protocol has it ({type(error).__name__})") from None


def _http_request(headers: bytes, body: bytes) -> Request:
    said, rest = _json_and_binary(headers, body)
    asked = tuple(
        Asked(_name(one), int((one.get("parameters") or {}).get("classification", 0)))
        for one in said.get("outputs") or ()
    )
    return Request(_http_tensors(said, "inputs", rest), asked)


def _http_answer(headers: bytes, body: bytes) -> Tensors:
    said, rest = _json_and_binary(headers, body)
    return _http_tensors(said, "outputs", rest)


def _json_and_binary(headers: bytes, body: bytes) -> tuple[Mapping[str, Any], memoryview]:
    """The JSON object and the tensors after it."""
    lines = fields_of(headers)
    whole = _inflated(lines.get("content-encoding", ""), body)
    length = lines.get("inference-header-content-length")
    end = len(whole) if length is None else int(length)
    if end == 0:
        raise Unreadable("raw binary: it does not say which tensors it has")
    if not 0 < end <= len(whole):
        raise Unreadable("its JSON is longer than the body")
    said = json.loads(whole[:end])
    if not isinstance(said, dict):
        raise Unreadable("no JSON object")
    return said, memoryview(whole)[end:]


def fields_of(headers: bytes) -> Mapping[str, str]:
    """Header lines by name in lower case; of two by one name the last."""
    pairs = (line.partition(":") for line in headers.decode("latin-1").split("\r\n") if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _inflated(encoding: str, body: bytes) -> bytes:
    coding = encoding.strip().lower()
    if coding in {"", "identity"}:
        return body
    if coding not in _WINDOWS:
        raise Unreadable("compressed in a way that is not known")
    inflate = zlib.decompressobj(wbits=_WINDOWS[coding])
    whole = inflate.decompress(body, MOST_INFLATED)
    if inflate.unconsumed_tail or not inflate.eof:
        raise Unreadable("compressed, and cut off or too long")
    return whole


def _http_tensors(said: Mapping[str, Any], what: str, rest: memoryview) -> Tensors:
    listed = said.get(what)
    if not isinstance(listed, list):
        raise Unreadable(f"it names no {what}")
    _check_count(listed)
    found: dict[str, Tensor] = {}
    for one in listed:
        size = (one.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[_name(one)] = _from_json(one["datatype"], one["shape"], one["data"])
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise Unreadable("a tensor is longer than the body")
        found[_name(one)] = _from_raw(one["datatype"], one["shape"], rest[:size])
        rest = rest[size:]
    return found


def _grpc_request(body: bytes) -> Request:
    message = _parsed(ModelInferRequest, body)
    asked = tuple(Asked(one.name, int(one.parameters["classification"].int64_param)) for one in message.outputs)
    return Request(_grpc_tensors(message.inputs, message.raw_input_contents), asked)


def _grpc_answer(body: bytes) -> Tensors:
    message = _parsed(ModelInferResponse, body)
    return _grpc_tensors(message.outputs, message.raw_output_contents)


def _parsed(kind: Any, body: bytes) -> Any:  # noqa: ANN401 - protobuf's classes carry no types
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Unreadable("no message of the protocol") from None


def _grpc_tensors(listed: Sequence[Any], raw: Sequence[bytes]) -> Tensors:
    """As Triton reads them: with raw contents each tensor has one, in order, and typed contents are not looked at."""
    _check_count(listed)
    if raw:
        pairs = zip(listed, raw, strict=True)
        return {one.name: _from_raw(one.datatype, one.shape, memoryview(content)) for one, content in pairs}
    return {one.name: _from_typed(one) for one in listed}


def _from_typed(one: Any) -> Tensor:  # noqa: ANN401 - protobuf's
    shape = _checked(one.datatype, one.shape)
    if one.datatype not in _TYPED:
        raise Unreadable(f"{one.datatype} without raw contents")
    values = list(getattr(one.contents, _TYPED[one.datatype]))
    return _made(one.datatype, shape, _objects(values) if one.datatype == "BYTES" else _numbers(one.datatype, values))


def _from_json(datatype: str, shape: Sequence[int], data: object) -> Tensor:
    checked = _checked(datatype, shape)
    if datatype == "BYTES":
        return _made(datatype, checked, _objects([text.encode() for text in _flat(data)]))
    if datatype in {"FP16", "BF16"}:
        raise Unreadable(f"{datatype} in JSON")
    return _made(datatype, checked, _numbers(datatype, data))


def _from_raw(datatype: str, shape: Sequence[int], content: memoryview) -> Tensor:
    checked = _checked(datatype, shape)
    if datatype == "BYTES":
        return _made(datatype, checked, _objects(list(_texts(content, math.prod(checked)))))
    if datatype == "BF16":
        halves = np.frombuffer(content, dtype="<u2").astype("<u4")
        return _made(datatype, checked, (halves << np.uint32(16)).view("<f4"))
    return _made(datatype, checked, np.frombuffer(content, dtype=np.dtype(triton_to_np_dtype(datatype))))


def _made(datatype: str, shape: tuple[int, ...], values: NDArray[Any]) -> Tensor:
    if values.size != math.prod(shape):
        raise Unreadable("a tensor has not as many values as its shape says")
    return Tensor(datatype, values.reshape(shape))


def _checked(datatype: object, shape: Iterable[object]) -> tuple[int, ...]:
    if datatype not in {*_TYPED, "FP16", "BF16"}:
        raise Unreadable("a tensor's datatype is not known")
    sizes = tuple(shape)
    whole = [size for size in sizes if type(size) is int and size >= 0]
    if len(whole) < len(sizes) or len(sizes) > _MOST_DIMENSIONS:
        raise Unreadable("a tensor's shape is none")
    return tuple(whole)


def _numbers(datatype: str, data: object) -> NDArray[Any]:
    """Numbers as they were written: a fraction is no integer, and what does not fit is refused, not wrapped."""
    wanted = np.dtype(triton_to_np_dtype(datatype))
    given = np.asarray(data)
    if not given.size:
        return np.zeros(0, dtype=wanted)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            return given.astype(np.float64, copy=False).astype(wanted) if given.dtype.kind in "iuf" else _refuse()
    if given.dtype.kind not in "iub":  # numpy makes floats of whole numbers that need 64 bits with and without a sign
        given = _whole_numbers(data, np.iinfo(wanted)) if wanted.kind in "iu" else _refuse()
    made = given.astype(wanted)
    same_kind = (given.dtype.kind == "b") == (wanted.kind == "b")
    return made if same_kind and np.array_equal(made, given) else _refuse()


def _whole_numbers(data: object, within: Any) -> NDArray[Any]:  # noqa: ANN401 - what numpy says of a type
    found = np.array(data, dtype=object)
    fit = all(type(one) is int and within.min <= one <= within.max for one in found.flat)
    return found if fit else _refuse()


def _refuse() -> NDArray[Any]:
    raise Unreadable("a tensor holds what its datatype does not take")


def _objects(values: Sequence[bytes]) -> NDArray[Any]:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def _flat(data: object) -> Iterable[str]:
    """The texts in nested lists, in order."""
    if isinstance(data, list):
        for one in data:
            yield from _flat(one)
    elif isinstance(data, str):
        yield data
    else:
        raise Unreadable("a tensor holds what its datatype does not take")


def _texts(content: memoryview, count: int) -> Iterable[bytes]:
    """Byte strings, each after its length in four bytes."""
    at = 0
    for _ in range(count):
        if at + _LENGTH > len(content):
            raise Unreadable("a tensor is cut off")
        end = at + _LENGTH + int.from_bytes(content[at : at + _LENGTH], "little")
        if end > len(content):
            raise Unreadable("a tensor is cut off")
        yield bytes(content[at + _LENGTH : end])
        at = end
    if at < len(content):
        raise Unreadable("a tensor has more bytes than values")


def _name(one: Mapping[str, Any]) -> str:
    name = one["name"]
    if not isinstance(name, str):
        raise Unreadable("a tensor has no name")
    return name


def _check_count(listed: Sequence[Any]) -> None:
    if len(listed) > MOST_TENSORS:
        raise Unreadable(f"more than {MOST_TENSORS:,} tensors")
