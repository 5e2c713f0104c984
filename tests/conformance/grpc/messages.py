"""Messages as bytes. What a good client sends is built with Triton's own descriptions; what none sends, by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as triton

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
INFER = f"{SERVICE}ModelInfer"
STREAM = f"{SERVICE}ModelStreamInfer"

TYPED = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""The field that holds each datatype's values; FP16 and BF16 have none and travel raw."""

_LETTER = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP32": "f", "FP64": "d",
}  # fmt: skip


class Tensor(NamedTuple):
    """An input.

    Attributes:
        datatype: of Triton's; of `echo` its lower case is the input's name.
        shape: its dimensions.
        raw: its bytes, as `raw_input_contents` has them; None for none.
        typed: its values, for the field of its datatype.
        name: where it is another.
    """

    datatype: str
    shape: tuple[int, ...]
    raw: bytes | None = None
    typed: Iterable[Any] | None = None
    name: str = ""


def infer(
    model: str,
    *tensors: Tensor,
    outputs: Iterable[tuple[str, Mapping[str, Any]]] = (),
    parameters: Mapping[str, Any] | None = None,
    **more: Any,  # noqa: ANN401 (fields of the message)
) -> bytes:
    """A ModelInferRequest."""
    request = triton.ModelInferRequest(model_name=model, **more)
    for tensor in tensors:
        given = request.inputs.add(name=tensor.name or tensor.datatype.lower(), datatype=tensor.datatype)
        given.shape.extend(tensor.shape)
        if tensor.typed is not None:
            getattr(given.contents, TYPED[tensor.datatype]).extend(tensor.typed)
        if tensor.raw is not None:
            request.raw_input_contents.append(tensor.raw)
    for name, asked in outputs:
        _fill(request.outputs.add(name=name).parameters, asked)
    _fill(request.parameters, parameters or {})
    return encoded(request)


def encoded(message: Message) -> bytes:
    """The message's bytes, maps in order."""
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _fill(parameters: Any, values: Mapping[str, Any]) -> None:  # noqa: ANN401 (a protobuf map)
    for name, value in values.items():
        field = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(parameters[name], field, value)


def health(service: str) -> bytes:
    """A HealthCheckRequest."""
    return field(1, service.encode()) if service else b""


def field(number: int, data: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number: int) -> bytes:
    """The number in groups of seven bits."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*groups, number))


class Values(NamedTuple):
    """An output, however it travelled."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


def values(response: Any) -> list[Values]:  # noqa: ANN401 (a ModelInferResponse)
    """The outputs of an answer; typed contents become what they are raw."""
    raw = list(response.raw_output_contents)
    return [
        Values(one.name, one.datatype, tuple(one.shape), raw[number] if number < len(raw) else _raw(one))
        for number, one in enumerate(response.outputs)
    ]


def _raw(output: Any) -> bytes:  # noqa: ANN401 (a tensor)
    held = getattr(output.contents, TYPED[output.datatype])
    if output.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(one)) + one for one in held)
    return struct.pack(f"<{len(held)}{_LETTER[output.datatype]}", *held)
