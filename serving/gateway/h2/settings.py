"""What a connection allows its peer, and what the peer allows it (RFC 9113, section 6.5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from serving.gateway.h2.frames import (
    ACK,
    FIRST_WINDOW,
    LEAST_FRAME,
    MOST_FRAME,
    MOST_WINDOW,
    SETTINGS,
    ConnectionBroken,
    ErrorCode,
    frame_head,
)

ENABLE_PUSH = 2
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6
SETTINGS_ACK = frame_head(0, SETTINGS, ACK, 0)
_SETTING = struct.Struct(">HL")
_STREAMS_BEFORE_TOLD = 100
MOST_STREAMS = 1 << 30
"""Of one connection: as many numbers as there are."""
_MOST_SETTINGS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What we announce and what we put up with. Sizes in bytes, times in seconds.

    Attributes:
        streams: that a client may have open at once.
        stream_window: what a peer may send on one stream before it is consumed.
        connection_window: what it may send on all of them before that has arrived.
        unconsumed: what may have arrived on all streams without being consumed; more, and the connection's window
            stays shut until some of it is.
        frame: the largest frame that we take.
        header_list: the largest head, counted as RFC 9113 (6.5.2) does.
        keepalive_s: after this long without a word, while streams are open, a PING asks for one; 0 for never.
        ping_timeout_s: how long its answer may take.
        rapid_s: a client that gives a stream up sooner than this pays for it.
        rapid_resets: how often it may at once; each stream that ends well earns one, and so does each 10 ms.
        idle_frames: how many frames that lead to nothing it may send at once; each request earns ten, and so does
            each 10 ms.
    """

    streams: int = 1000
    stream_window: int = 1024 * 1024
    connection_window: int = 8 * 1024 * 1024
    unconsumed: int = 64 * 1024 * 1024
    frame: int = 64 * 1024
    header_list: int = 64 * 1024
    keepalive_s: float = 30.0
    ping_timeout_s: float = 20.0
    rapid_s: float = 0.1
    rapid_resets: int = 500
    idle_frames: int = 2000

    def __post_init__(self) -> None:
        windows = self.stream_window, self.connection_window
        if not all(FIRST_WINDOW <= window <= MOST_WINDOW for window in windows):
            raise ValueError(f"windows are {windows}: make them {FIRST_WINDOW} to {MOST_WINDOW} bytes")
        if not LEAST_FRAME <= self.frame <= MOST_FRAME:
            raise ValueError(f"frame is {self.frame}: make it {LEAST_FRAME} to {MOST_FRAME} bytes")
        least = min(self.streams, self.header_list, self.unconsumed, self.rapid_resets, self.idle_frames)
        if least < 1 or min(self.keepalive_s, self.ping_timeout_s, self.rapid_s) < 0:
            raise ValueError("limits of HTTP/2 are positive: nothing works below them")

    def announced(self, *, by_server: bool) -> bytes:
        """Our SETTINGS frame."""
        told = [(INITIAL_WINDOW_SIZE, self.stream_window), (MAX_FRAME_SIZE, self.frame)]
        told += [(MAX_HEADER_LIST_SIZE, self.header_list)]
        told += [(MAX_CONCURRENT_STREAMS, self.streams)] if by_server else [(ENABLE_PUSH, 0)]
        payload = b"".join([_SETTING.pack(*setting) for setting in told])
        return frame_head(len(payload), SETTINGS, 0, 0) + payload


class PeerSettings:
    """What the peer allows us, as far as it has said so."""

    __slots__ = ("_told", "frame", "streams", "window")

    def __init__(self) -> None:
        self.frame = LEAST_FRAME
        self.window = FIRST_WINDOW
        self.streams = _STREAMS_BEFORE_TOLD
        self._told = False

    def take(self, payload: bytes, *, from_server: bool) -> int:
        """Takes what a SETTINGS frame says.

        Returns:
            By how much the window of every stream changes, in bytes.

        Raises:
            ConnectionBroken: a value that is not allowed.
        """
        before = self.window
        if not self._told:  # who names no limit has none
            self._told, self.streams = True, MOST_STREAMS
        for key, value in _settings(payload):
            if key == INITIAL_WINDOW_SIZE:
                _check(value <= MOST_WINDOW, "SETTINGS_INITIAL_WINDOW_SIZE", ErrorCode.FLOW_CONTROL_ERROR)
                self.window = value
            elif key == MAX_FRAME_SIZE:
                _check(LEAST_FRAME <= value <= MOST_FRAME, "SETTINGS_MAX_FRAME_SIZE")
                self.frame = value
            elif key == MAX_CONCURRENT_STREAMS:
                self.streams = value
            elif key == ENABLE_PUSH:
                _check(value <= (0 if from_server else 1), "SETTINGS_ENABLE_PUSH")
        return self.window - before


def _settings(payload: bytes) -> Iterator[tuple[int, int]]:
    if len(payload) % _SETTING.size:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS frame is no multiple of six bytes")
    if len(payload) > _MOST_SETTINGS * _SETTING.size:
        raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"more than {_MOST_SETTINGS} settings in a frame")
    return _SETTING.iter_unpack(payload)


def _check(good: bool, name: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:  # noqa: FBT001 (a condition)
    if not good:
        raise ConnectionBroken(code, f"{name} has a value that is not allowed")
