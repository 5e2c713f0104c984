"""Protobuf as far as a gateway needs it: a few fields are read where they lie, and small messages are written by hand.

Messages of inference stay bytes. What is read of one are its model, its version and its sequence, by walking over its
top-level fields, each skipped by its length; what is changed is the version, by appending the field once more, for the
last value of a scalar field wins. There is no descriptor and no object per field.

The wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
_MORE = 0x80
_LOW = 0x7F
_MODEL = 1 << 3 | _BYTES
_VERSION = 2 << 3 | _BYTES
_PARAMETERS = 4 << 3 | _BYTES
_FIELDS = frozenset(number << 3 | _BYTES for number in range(1, 16))
"""Keys of one byte, of fields that have a length: all that inference has."""
_ID = 3
_SEQUENCE_KEY = b"sequence_id"
_WORD = (1 << 64) - 1
_PREFIX = 5  # bytes before a message, see `framing`


class Malformed(ValueError):  # noqa: N818 - says what the message is
    """These bytes are no message."""


class Named(NamedTuple):
    """What a request says of where it is to go, as its bytes have it.

    Attributes:
        model: the model's name.
        version: the version; empty where the gateway is to choose.
        sequence: what its sequence is called; None where it is part of none.
    """

    model: bytes
    version: bytes
    sequence: bytes | None = None


def named_in_inference(message: bytes, at: int = 0) -> Named:
    """What a ModelInferRequest names; it begins at this byte.

    Raises:
        Malformed: it cannot be walked over.
    """
    model = version = b""
    sequence: bytes | None = None
    end = len(message)
    while at < end:
        tag = message[at]
        if tag not in _FIELDS or at + 1 == end:
            at = _skip(message, at, end)  # no field of this message: of a newer protocol, or not sound
            continue
        size = message[at + 1]
        at += 2
        if size >= _MORE:
            size, at = _varint(message, at - 1, end)
        stop = at + size
        if stop > end:
            raise Malformed("a field goes on after the end of its message")
        if tag <= _PARAMETERS:  # tensors come after it
            if tag == _MODEL:
                model = message[at:stop]
            elif tag == _VERSION:
                version = message[at:stop]
            elif tag == _PARAMETERS:
                found = _sequence_in(message[at:stop])
                sequence = sequence if found is None else found
        at = stop
    return Named(model, version, sequence or None)


def named_in_question(message: bytes, at: int = 0) -> Named:
    """What a ModelReadyRequest, or one for metadata, configuration or statistics, names; it begins at this byte.

    Raises:
        Malformed: it cannot be walked over.
    """
    found = {number: value for number, value in fields_of(message, at) if isinstance(value, bytes)}
    return Named(found.get(1, b""), found.get(2, b""))


def request_id_in(message: bytes) -> bytes:
    """The id that a ModelInferRequest gives itself; empty where it gives none.

    Raises:
        Malformed: it cannot be walked over.
    """
    return next((value for number, value in fields_of(message) if number == _ID and isinstance(value, bytes)), b"")


def for_version(sent: bytes, version: bytes) -> list[bytes | memoryview]:
    """The same request, or question, for this version and no other, in pieces: a large one is not copied.

    Args:
        sent: the message, not compressed, with the five bytes that gRPC puts before it.
        version: in decimal.
    """
    field = b"\x12%c%b" % (len(version), version)
    size = len(sent) - _PREFIX + len(field)
    return [b"\0%b" % size.to_bytes(4, "big"), memoryview(sent)[_PREFIX:], field]


def fields_of(message: bytes, at: int = 0) -> Iterator[tuple[int, int | bytes]]:
    """The fields in their order, by number, from this byte on: bytes for what has a length, else the number's bits.

    Raises:
        Malformed: it cannot be walked over.
    """
    end = len(message)
    while at < end:
        tag, at = _varint(message, at, end)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(message, at, end)
            stop = at + size
            value: int | bytes = message[at:stop]
        elif kind == _VARINT:
            value, stop = _varint(message, at, end)
        elif kind in _WIDTHS:
            stop = at + _WIDTHS[kind]
            value = int.from_bytes(message[at:stop], "little")
        else:
            raise Malformed("a field is of a kind that there is not")
        if stop > end:
            raise Malformed("a field goes on after the end of its message")
        yield tag >> 3, value
        at = stop


def rewritten(message: bytes, number: int, values: Iterable[bytes]) -> bytes:
    """The same message with these where a repeated field of texts had others; at the end where it had none.

    Raises:
        Malformed: it cannot be walked over.
    """
    kept: list[bytes] = []
    place: int | None = None
    at, end = 0, len(message)
    while at < end:
        stop = _skip(message, at, end)
        tag, _ = _varint(message, at, end)
        if tag >> 3 != number:
            kept.append(message[at:stop])
        elif place is None:
            place = len(kept)
        at = stop
    place = len(kept) if place is None else place
    return b"".join((*kept[:place], *(text(number, value) for value in values), *kept[place:]))


# Written.


def text(number: int, value: bytes) -> bytes:
    """A field of text, of bytes, or a message within the message."""
    return _key(number, _BYTES) + varint(len(value)) + value


def whole(number: int, value: int) -> bytes:
    """A field of a whole number, a switch or an enumeration; one that has its default is not written."""
    return _key(number, _VARINT) + varint(value & _WORD) if value else b""


def varint(value: int) -> bytes:
    """A number from 0 up, seven bits a byte."""
    written = bytearray()
    while value >= _MORE:
        written.append(value & _LOW | _MORE)
        value >>= 7
    written.append(value)
    return bytes(written)


def _key(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins there, and where the next field or value does."""
    value = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= end:
            break
        byte = message[at + place]
        value |= (byte & _LOW) << (7 * place)
        if byte < _MORE:
            return value, at + place + 1
    raise Malformed("a number has no end")


def _skip(message: bytes, at: int, end: int) -> int:
    """Where the field after this one begins."""
    tag, at = _varint(message, at, end)
    kind = tag & 7
    if kind == _BYTES:
        size, at = _varint(message, at, end)
        at += size
    elif kind == _VARINT:
        _, at = _varint(message, at, end)
    elif kind in _WIDTHS:
        at += _WIDTHS[kind]
    else:
        raise Malformed("a field is of a kind that there is not")
    if at > end or not tag >> 3:
        raise Malformed("a field goes on after the end of its message")
    return at


def _sequence_in(entry: bytes) -> bytes | None:
    """The sequence that this entry of the parameters names; None where it is another parameter's.

    Zero, or an empty text, is no sequence: so Triton has it.
    """
    if _SEQUENCE_KEY not in entry:
        return None
    parts = {number: value for number, value in fields_of(entry) if isinstance(value, bytes)}
    if parts.get(1) != _SEQUENCE_KEY:
        return None
    name = b""
    for number, value in fields_of(parts.get(2, b"")):
        if number == _STRING_PARAMETER and isinstance(value, bytes):
            name = value
        elif number in _WHOLE_PARAMETERS and isinstance(value, int):
            name = b"%d" % value if value else b""
    return name


_STRING_PARAMETER = 3
_WHOLE_PARAMETERS = frozenset((2, 5))
"""Of an InferParameter: int64_param and uint64_param."""
