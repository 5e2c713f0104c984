"""What a peer's frames do to a connection: bytes in, calls to handlers, bytes out (RFC 9113).

DATA is handed on as it comes, in parts of frames where frames come in parts; the frames of one stream that come in one
read are one piece, for what is done with a piece costs more than what is done with a frame. Whatever a peer gets wrong
ends the stream or the connection, as the RFC says which.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

from serving.gateway.h2 import frames
from serving.gateway.h2.blocks import Blocks, unpadded
from serving.gateway.h2.controlled import Controlled
from serving.gateway.h2.fields import Block
from serving.gateway.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEAD_SIZE,
    HEADERS,
    LAST_STREAM,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionBroken,
    ErrorCode,
)  # fmt: skip
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import Stream

_KIND_AT, _FLAGS_AT = 3, 4
_KIND_OF_DATA = bytes((DATA,))
_LAST = END_HEADERS | END_STREAM
_PLAIN = (END_HEADERS, _LAST)
"""Flags of a head that is all there is to its frame."""


class Reader(Controlled):
    """A connection that reads.

    Args:
        limits: what the peer may do.
        on_output: told that there is something in `out`, unless bytes are being read.
    """

    def __init__(self, limits: Limits, on_output: Callable[[], None]) -> None:
        super().__init__(limits, on_output)
        self._blocks = Blocks(limits.header_list)
        self._known = self._blocks.known
        self._rest = b""  # of what came: less than a frame
        self._coming: Stream | None = None  # whose DATA frame is under way
        self._left = 0  # bytes of it
        self._ends = 0  # whether it is the last
        self._gathered: dict[Stream, list[tuple[int, int]]] = {}  # DATA of this read: from where to where, by stream
        self._preface = PREFACE if self.by_server else b""  # what the peer has still to say first
        self.owed_since = math.inf
        """Since when the peer owes the rest of a frame or of a head, by the owner's clock, or infinity."""
        self._calls = {
            DATA: self._on_padded, HEADERS: self._on_headers, PRIORITY: self._on_priority, RST_STREAM: self._on_rst,
            SETTINGS: self._on_settings, PUSH_PROMISE: self._on_push, PING: self._on_ping, GOAWAY: self._on_goaway,
            WINDOW_UPDATE: self._on_window, CONTINUATION: self._on_continuation,
        }  # fmt: skip

    def receive(self, data: bytes, now: float) -> None:
        """Whatever came, as of now (seconds of a clock that does not go back)."""
        if self.ended:
            return
        self.heard_at = now
        try:
            if self._preface:
                data = self._take_preface(data)
            self._read(data)
        except ConnectionBroken as broken:
            self.end(broken.code, str(broken))

    @property
    def within_data(self) -> bool:
        """Whether the peer owes the rest of a DATA frame."""
        return self._left > 0

    # What is different at the two ends.

    @abstractmethod
    def take_head(self, number: int, block: Block, *, end: bool) -> None:
        """A HEADERS frame, and what continues it."""

    @abstractmethod
    def heard_end(self, stream: Stream) -> None:
        """The peer has said all on this stream, and the handler knows."""

    # Reading.

    def _take_preface(self, data: bytes) -> bytes:
        """What comes after the words that a client says first."""
        said = data[: len(self._preface)]
        if not self._preface.startswith(said):
            self.is_no_peer(said)
        self._preface = self._preface[len(said) :]
        if not self._preface:
            self.greet()
        return data[len(said) :]

    def is_no_peer(self, said: bytes) -> None:
        """Whoever says this does not speak HTTP/2."""
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, f"no HTTP/2 begins with {said!r}")

    def _read(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at = self._go_on(data) if self._left else 0
        size, most = len(data), self.limits.frame
        unpack, blocks, known = HEAD.unpack_from, self._blocks, self._known
        orderly = self.told and not blocks.open
        while size - at >= HEAD_SIZE and not self.ended:
            word, flags, number = unpack(data, at)
            kind, number = word & 255, number & LAST_STREAM
            start = at + HEAD_SIZE
            end = start + (word >> 8)
            if end - start > most:
                self._too_long(end - start)
            if not orderly:
                self._check_order(kind, flags, number)
            if kind == DATA and not flags & PADDED:
                self._take_data(data, start, end, flags, number)
            elif end > size:
                break
            else:
                if self._gathered:
                    self._hand_all_on(data)
                payload = data[start:end]
                block = known.get(payload) if kind == HEADERS and flags in _PLAIN and number else None
                if block is not None:
                    self.take_head(number, block, end=flags == _LAST)
                else:
                    self._calls.get(kind, self._on_unknown)(payload, flags, number)
                    orderly = self.told and not blocks.open
            at = end
        self._rest = data[at:]
        if self._gathered:
            self._hand_all_on(data)
        self._note_debt(progress=at > 0)

    def _too_long(self, length: int) -> None:
        raise ConnectionBroken(
            ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes; take {self.limits.frame} at most"
        )

    def _note_debt(self, *, progress: bool) -> None:
        within_head = self._blocks.open
        if not self._rest and not within_head:
            self.owed_since = math.inf
        elif (progress and not within_head) or self.owed_since == math.inf:
            self.owed_since = self.heard_at

    def _check_order(self, kind: int, flags: int, number: int) -> None:
        """What may come is limited at the beginning, and within a head that comes in parts."""
        if not self.told and (kind != SETTINGS or flags & ACK):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._blocks.open and (kind != CONTINUATION or number != self._blocks.number):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a frame in the middle of a head")

    # DATA.

    def _take_data(self, data: bytes, start: int, end: int, flags: int, number: int) -> None:
        """A frame that begins here, and whose end may still be to come."""
        length, ends, size = end - start, flags & END_STREAM, len(data)
        stream = self.streams.get(number)
        if (
            stream is not None and stream.headed and not stream.told_end
            and 0 < length <= stream.allowed and length <= self._allowed
        ):  # fmt: skip
            self._allowed -= length
            stream.allowed -= length
        else:
            stream = self._begin_data(number, length, flags)
        if end > size:
            self._coming, self._left, self._ends = stream, end - size, ends
            ends, end = 0, size
        if stream is None:
            pass
        elif not self._gathered and (ends or data[end + _KIND_AT : end + _FLAGS_AT] != _KIND_OF_DATA):
            self._hand_on(stream, data[start:end], ends=ends)
        else:  # more of it may follow at once
            self._gather(stream, data, start, end, ends)
        if self._allowed < self._half:
            self._top_up()

    def _gather(self, stream: Stream, data: bytes, start: int, end: int, ends: int) -> None:
        """What is between these two places is this stream's, and goes on with what follows it at once."""
        cuts = self._gathered.get(stream)
        if cuts is None:
            cuts = self._gathered[stream] = []
        cuts.append((start, end))
        if ends:
            del self._gathered[stream]
            self._hand_on(stream, _joined(data, cuts), ends=ends)

    def _hand_all_on(self, data: bytes) -> None:
        """What was gathered goes on, before anything else is heard."""
        gathered, self._gathered = self._gathered, {}
        for stream, cuts in gathered.items():
            if not stream.closed:
                self._hand_on(stream, _joined(data, cuts), ends=0)

    def _begin_data(self, number: int, length: int, flags: int) -> Stream | None:
        """A frame of this length begins: what is odd or wrong about it, and whose it is, if somebody still wants it."""
        if not number:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "DATA on no stream")
        self._allowed -= length
        if self._allowed < 0:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if not length and not flags & END_STREAM:
            self.idle()
        stream = self.streams.get(number)
        if stream is None:
            self._stray(number, length)
            return None
        stream.allowed -= length
        if stream.told_end or stream.allowed < 0 or not stream.headed:
            self._break(stream, _complaint(stream))
            return None
        return stream

    def _hand_on(self, stream: Stream, data: bytes, *, ends: int) -> None:
        size = len(data)
        if size:
            self.calm.left += 1.0
            stream.unconsumed += size
            self._unconsumed += size
            if stream.left is not None:
                stream.left -= size
                if stream.left < 0:
                    self._break(stream, ErrorCode.PROTOCOL_ERROR)
                    return
            try:
                stream.handler.on_data(data)
            except Exception:  # noqa: BLE001 (it is logged)
                self._failed(stream)
        if ends and not stream.closed:
            stream.told_end = True
            if stream.left:
                self._break(stream, ErrorCode.PROTOCOL_ERROR)
            else:
                try:
                    stream.handler.on_end()
                except Exception:  # noqa: BLE001 (it is logged)
                    self._failed(stream)
                self.heard_end(stream)

    def _go_on(self, data: bytes) -> int:
        """More of a DATA frame; where it ends, or this read does."""
        end = min(self._left, len(data))
        self._left -= end
        stream = self._coming
        if not self._left:
            self._coming = None
        if stream is not None and not stream.closed:
            self._gather(stream, data, 0, end, 0 if self._left else self._ends)
        return end

    def _on_padded(self, payload: bytes, flags: int, number: int) -> None:
        stream = self._begin_data(number, len(payload), flags)
        data = unpadded(payload)
        if not data and not flags & END_STREAM:
            self.idle()
        if stream is not None:
            padding = len(payload) - len(data)
            stream.unconsumed += padding
            self._unconsumed += padding
            stream.consume(padding)
            self._hand_on(stream, data, ends=flags & END_STREAM)
        if self._allowed < self._half:
            self._top_up()

    # Heads.

    def _on_headers(self, payload: bytes, flags: int, number: int) -> None:
        if not number:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "HEADERS on no stream")
        block = self._blocks.begin(payload, flags, number)
        if block is not None:
            self.take_head(number, block, end=bool(flags & END_STREAM))

    def _on_continuation(self, payload: bytes, flags: int, number: int) -> None:
        block = self._blocks.go_on(payload, flags)
        if block is not None:
            self.take_head(number, block, end=self._blocks.ends)

    def tell_headers(self, stream: Stream, block: Block, *, end: bool) -> None:
        """The head of the peer's side of a stream."""
        stream.headed = True
        stream.left = block.length
        stream.told_end = end
        if end and stream.left:
            self._break(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            try:
                stream.handler.on_headers(block.fields, end=end)
            except Exception:  # noqa: BLE001 (it is logged)
                self._failed(stream)
        if end:
            self.heard_end(stream)

    def tell_trailers(self, stream: Stream, block: Block) -> None:
        """The end of the peer's side of a stream."""
        stream.told_end = True
        if stream.left:
            self._break(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            try:
                stream.handler.on_trailers(block.fields)
            except Exception:  # noqa: BLE001 (it is logged)
                self._failed(stream)
            self.heard_end(stream)

    def _stray(self, number: int, length: int = 0) -> None:
        """DATA of so many bytes, or a head, for a stream that is not open."""
        if self.is_idle(number):
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that nobody has opened")
        left = self._given_up.get(number)
        if left is None:
            self.idle()
            self.put(frames.rst_stream(number, ErrorCode.STREAM_CLOSED))
        elif left < length:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window of a stream that is over")
        else:
            self._given_up[number] = left - length


def _joined(data: bytes, cuts: list[tuple[int, int]]) -> bytes:
    """These parts of what came, in one piece; each byte is copied once."""
    if len(cuts) == 1:
        start, end = cuts[0]
        return data[start:end]
    view = memoryview(data)
    return b"".join([view[start:end] for start, end in cuts])


def _complaint(stream: Stream) -> ErrorCode:
    """What is wrong with DATA on this stream."""
    if stream.told_end:
        return ErrorCode.STREAM_CLOSED
    return ErrorCode.FLOW_CONTROL_ERROR if stream.headed else ErrorCode.PROTOCOL_ERROR
