"""Frames (RFC 9113, sections 4, 6 and 7): their kinds, flags and errors, and how they are written."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first."""
HEAD: Final = struct.Struct(">LBL")
"""Of a frame: its length (24 bits) and its kind (8) in one number, flags, stream."""
HEAD_SIZE: Final = 9
LEAST_FRAME: Final = 1 << 14
"""The largest payload that everybody takes, in bytes."""
MOST_FRAME: Final = (1 << 24) - 1
FIRST_WINDOW: Final = (1 << 16) - 1
"""Of every stream and connection, in bytes, until something else is said."""
MOST_WINDOW: Final = (1 << 31) - 1
LAST_STREAM: Final = (1 << 31) - 1

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
PRIORITISED: Final = 0x20

_LONG = struct.Struct(">L")
_TWO_LONGS = struct.Struct(">LL")
_NUMBER_FRAME = struct.Struct(">HBBBLL")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionBroken(Exception):  # noqa: N818 (what happened, not a mistake of ours)
    """The peer broke a rule in a way that ends the connection.

    Args:
        code: the rule.
        why: in words, for whoever looks after the peer.
    """

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code


def frame_head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine bytes in front of a payload of so many bytes."""
    return HEAD.pack(length << 8 | kind, flags, stream)


def headers(block: bytes, stream: int, most: int, *, end: bool) -> bytes:
    """A header block in a HEADERS frame, and in CONTINUATION frames as far as it is larger than the peer takes.

    Args:
        block: encoded.
        stream: its number.
        most: bytes that the peer takes in one frame.
        end: nothing follows.
    """
    flags = END_STREAM if end else 0
    if len(block) <= most:
        return frame_head(len(block), HEADERS, END_HEADERS | flags, stream) + block
    parts = [block[at : at + most] for at in range(0, len(block), most)]
    frames = [frame_head(len(parts[0]), HEADERS, flags, stream), parts[0]]
    for part in parts[1:]:
        frames += (frame_head(len(part), CONTINUATION, END_HEADERS if part is parts[-1] else 0, stream), part)
    return b"".join(frames)


def rst_stream(stream: int, code: int) -> bytes:
    """Gives a stream up."""
    return _NUMBER_FRAME.pack(0, 4, RST_STREAM, 0, stream, code)


def window_update(stream: int, size: int) -> bytes:
    """So many more bytes may come; on the whole connection where the stream is 0."""
    return _NUMBER_FRAME.pack(0, 4, WINDOW_UPDATE, 0, stream, size)


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    """Eight bytes that the peer sends back, or ours to it."""
    return frame_head(8, PING, ACK if ack else 0, 0) + payload


def goaway(last: int, code: int, debug: bytes = b"") -> bytes:
    """No stream above this one was or will be looked at."""
    return frame_head(8 + len(debug), GOAWAY, 0, 0) + _TWO_LONGS.pack(last, code) + debug


def number(payload: bytes) -> int:
    """The four bytes of a payload, or its first four."""
    value: int = _LONG.unpack_from(payload)[0]
    return value
