"""Heads as they come in frames: HEADERS and as many CONTINUATION as the peer needs, within limits."""

from __future__ import annotations

from serving.gateway.h2.fields import Block, BlockDecoder
from serving.gateway.h2.frames import END_HEADERS, END_STREAM, PADDED, PRIORITISED, ConnectionBroken, ErrorCode

_MOST_FRAMES = 64
_ROOM = 2  # a head that is not twice too large is decoded, so that the connection outlives it
_PRIORITY_SIZE = 5


class Blocks:
    """One connection's heads, of which one can be under way at a time.

    Args:
        header_list: the largest list of fields in bytes, counted as RFC 9113 (6.5.2) does.

    Attributes:
        open: whether one is under way.
        number: of its stream.
        ends: whether it ends its stream.
        known: what blocks stand for that came before, as long as it is true.
    """

    __slots__ = ("_decoder", "_most", "_parts", "_size", "ends", "known", "number", "open")

    def __init__(self, header_list: int) -> None:
        self.open = False
        self.number = 0
        self.ends = False
        self._decoder = BlockDecoder(header_list)
        self.known = self._decoder.known
        self._most = _ROOM * header_list
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self, payload: bytes, flags: int, number: int) -> Block | None:
        """A HEADERS frame; the head, where that was all of it."""
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & PRIORITISED:
            if len(payload) < _PRIORITY_SIZE:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            payload = payload[_PRIORITY_SIZE:]
        self._size = 0
        if flags & END_HEADERS:
            return self._decode(payload)
        self.open, self.number, self.ends = True, number, bool(flags & END_STREAM)
        self._parts = []
        self._add(payload)
        return None

    def go_on(self, payload: bytes, flags: int) -> Block | None:
        """A CONTINUATION frame; the head, where that was the rest of it."""
        if not self.open:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of no head")
        self._add(payload)
        if not flags & END_HEADERS:
            return None
        self.open = False
        payload, self._parts, self._size = b"".join(self._parts), [], 0
        return self._decode(payload)

    def _add(self, payload: bytes) -> None:
        self._parts.append(payload)
        self._check(len(payload))
        if len(self._parts) > _MOST_FRAMES:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"a head in more than {_MOST_FRAMES} frames")

    def _decode(self, payload: bytes) -> Block:
        self._check(len(payload))
        return self._decoder.decode(payload)

    def _check(self, more: int) -> None:
        self._size += more
        if self._size > self._most:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"a head of more than {self._most} bytes")


def unpadded(payload: bytes) -> bytes:
    """What lies between the length of the padding and the padding."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a frame with more padding than payload")
    return payload[1 : len(payload) - payload[0]]
