"""Frames as the tests write and read them, independently of what is tested."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from hpack import Decoder, Encoder

from serving.gateway.h2.frames import ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END, ACK, END_HEADERS, PADDED, PRIORITISED = 1, 1, 4, 8, 0x20
REQUEST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/s/Echo"), (b":authority", b"here"))
ANSWER = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS = ((b"grpc-status", b"0"),)
Pairs = Iterable[tuple[bytes, bytes]]


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> ErrorCode:
        """Of an RST_STREAM or a GOAWAY."""
        return ErrorCode(struct.unpack(">L", self.payload[4:8] if self.kind == GOAWAY else self.payload)[0])

    @property
    def number(self) -> int:
        """The first four bytes of its payload."""
        value: int = struct.unpack_from(">L", self.payload)[0]
        return value


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    return struct.pack(">L", len(payload))[1:] + struct.pack(">BBL", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HL", *pair) for pair in pairs))


def block(fields: Pairs) -> bytes:
    """A header block that leaves tables alone."""
    return Encoder().encode([(name, value, True) for name, value in fields], huffman=False)


def head(stream: int, fields: Pairs = REQUEST, *, end: bool = False) -> bytes:
    """A HEADERS frame with all of these."""
    return frame(HEADERS, END_HEADERS | (END if end else 0), stream, block(fields))


def data(stream: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    """A DATA frame."""
    return frame(DATA, END if end else 0, stream, payload)


def long(value: int) -> bytes:
    """Four bytes."""
    return struct.pack(">L", value)


def read(raw: bytes) -> list[Frame]:
    """The frames in these bytes, all of them whole."""
    found = []
    while raw:
        size = int.from_bytes(raw[:3], "big")
        kind, flags, stream = struct.unpack(">BBL", raw[3:9])
        payload, raw = raw[9 : 9 + size], raw[9 + size :]
        assert len(payload) == size
        found.append(Frame(kind, flags, stream, payload))
    return found


def fields_of(frames: list[Frame]) -> list[tuple[tuple[bytes, bytes], ...]]:
    """What the HEADERS among these say; they may refer to each other, but to nothing before them."""
    decoder = Decoder(max_header_list_size=1 << 20)
    decoder.max_allowed_table_size = 0
    return [
        tuple((bytes(name), bytes(value)) for name, value in decoder.decode(each.payload, raw=True))
        for each in frames
        if each.kind == HEADERS
    ]
