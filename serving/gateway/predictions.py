"""What answers predict, counted on a sample of them: whether two versions answer alike is judged by others.

One of eight requests is looked at, and no more than `MOST_PER_S` of a model's in a second; of its answer, the first
element of the output that the policy observes. A class is the place of the largest number of a row, or the whole number
or text that it is; a row of one number is a score and no class. A score is told by the bucket that it falls into, four
to each power of two.

Nothing is paid for this where the model's policy observes nothing. Nothing is raised, whatever a model answers: what
cannot be read is not counted, and neither is an answer of more than `MOST_BYTES`, which would take too long to read.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from router.observed import Observed, Reading
from serving.gateway.grpc.messages import fields_of

MOST_PER_S: Final = 200
MOST_BYTES: Final = 16 * 1024
LONGEST_LABEL: Final = 64
_OF_NONCES: Final = 7
"""These bits of a request's nonce are 0 where its answer is looked at."""
_SMALLEST: Final = 20
"""Scores nearer to 0 than 2 to minus this share a bucket with 0."""
_PER_POWER: Final = 4
_HEADER_LENGTH: Final = re.compile(
    rb"^inference-header-content-length:[ \t]*([0-9]{1,9})", re.IGNORECASE | re.MULTILINE
)
_FORMATS: Final[Mapping[str, str]] = MappingProxyType({
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
})  # fmt: skip
_FLOATS: Final = ("FP", "BF")
_OUTPUT, _RAW = 5, 6
_NAME, _DATATYPE, _SHAPE = 1, 2, 3
_PREFIX: Final = 5
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, struct.error)
_Values = Sequence[float | int | str]


class Observer:
    """What one model's answers are asked for.

    Args:
        observed: the output, and how it is read.
    """

    __slots__ = ("_name", "_reading", "_second", "_taken")

    def __init__(self, observed: Observed) -> None:
        self._name = observed.output
        self._reading = observed.kind
        self._second = -1
        self._taken = 0

    def wants(self, nonce: int, now: float) -> bool:
        """Whether this request's answer is to be looked at; it is counted against the second's allowance then.

        Args:
            nonce: the request's own.
            now: seconds of the loop's clock.
        """
        if nonce & _OF_NONCES:
            return False
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return self._taken <= MOST_PER_S

    def label(self, headers: bytes, body: bytes) -> str | None:
        """What an answer over HTTP predicts; None where that cannot be read.

        Args:
            headers: lines, each ended by CRLF.
            body: all of it.
        """
        if len(body) > MOST_BYTES:
            return None
        try:
            return self._told(_in_body(self._name, headers, body))
        except _UNREADABLE:
            return None

    def label_of_message(self, message: bytes) -> str | None:
        """The same of an answer over gRPC, with what says how long it is before it."""
        if len(message) > MOST_BYTES or not message or message[0]:  # compressed
            return None
        try:
            return self._told(_in_message(self._name, message[_PREFIX:]))
        except _UNREADABLE:
            return None

    def _told(self, values: _Values) -> str | None:
        if not values:
            return None
        first = values[0]
        if self._reading is Reading.SCORE:
            return None if isinstance(first, str) else score_label(first)
        if isinstance(first, float):
            return str(max(range(len(values)), key=values.__getitem__)) if len(values) > 1 else None
        label = first if isinstance(first, str) else str(int(first))
        return label[:LONGEST_LABEL].encode(errors="replace").decode()  # JSON may have half a character


def score_label(value: float) -> str:
    """A score's bucket: "b0" around 0, four to each power of two, "b-…" below 0."""
    if not math.isfinite(value):
        return str(float(value))
    mantissa, exponent = math.frexp(abs(value))  # the mantissa is in [0.5, 1)
    bucket = (exponent + _SMALLEST) * _PER_POWER + int((mantissa - 0.5) * 2 * _PER_POWER) if value else 0
    return f"b{'-' if value < 0 < bucket else ''}{max(bucket, 0)}"


# An answer over HTTP: JSON, and maybe binary tensors after it.


def _in_body(name: str, headers: bytes, body: bytes) -> _Values:
    found = _HEADER_LENGTH.search(headers)
    size = len(body) if found is None else int(found[1])
    at = size
    for output in json.loads(body[:size])["outputs"]:
        length = output.get("parameters", {}).get("binary_data_size")
        if output["name"] == name:
            row = _row(output["shape"])
            if length is None:
                values = _first_row(output["data"], row)
                return tuple(map(float, values)) if output["datatype"].startswith(_FLOATS) else values
            return _unpacked(output["datatype"], body[at : at + length], row)
        at += length or 0
    return ()


def _first_row(data: Any, row: int) -> _Values:  # noqa: ANN401 (any JSON)
    while isinstance(data[0], list):
        data = data[0]
    values = data[:row]
    return values if all(isinstance(value, float | int | str) for value in values) else ()


def _row(shape: Sequence[int]) -> int:
    """How many numbers the first element has: those of the last dimension."""
    return shape[-1] if shape else 1


# One over gRPC.


def _in_message(name: str, message: bytes) -> _Values:
    outputs: list[bytes] = []
    raw: list[bytes] = []
    for number, value in fields_of(message):
        if isinstance(value, bytes):
            if number == _OUTPUT:
                outputs.append(value)
            elif number == _RAW:
                raw.append(value)
    for output, data in zip(outputs, raw, strict=False):
        parts = {number: value for number, value in fields_of(output) if isinstance(value, bytes)}
        if parts[_NAME] == name.encode():
            return _unpacked(parts[_DATATYPE].decode(), data, _last_of(parts.get(_SHAPE, b"\1")))
    return ()


def _last_of(packed: bytes) -> int:
    """The last of several varints."""
    last, value, shift = 1, 0, 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 (the bit that says that there is more)
            last, value, shift = value, 0, 0
    return last


def _unpacked(datatype: str, data: bytes, row: int) -> _Values:
    """The first row of a tensor's bytes; of text, the first."""
    if datatype == "BYTES":
        (length,) = struct.unpack_from("<I", data)
        return (data[4 : 4 + length].decode(errors="replace"),)
    if datatype == "BF16":
        return tuple(
            struct.unpack_from("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, min(2 * row, len(data)), 2)
        )
    return struct.unpack_from(f"<{row}{_FORMATS[datatype]}", data)
