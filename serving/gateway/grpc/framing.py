"""gRPC's own frames: five bytes before each message, which say its length and whether it is compressed.

A call of one message is held until it is whole, for what names its model may stand anywhere in it. A compressed message
is inflated to be read, as far as it may grow; where it must be changed, it goes on as it was inflated.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from serving.errors import Refusal
from serving.gateway.request import Bad

PREFIX = 5
_PLAIN, _COMPRESSED = 0, 1
_WINDOWS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_NO_FLAG = Bad(Refusal.BROKEN_FRAMING, "This is no message of gRPC: it begins with 0, or 1 where it is compressed.")
_NONE = Bad(Refusal.MALFORMED, "This method takes one message, and none was sent.")
_MORE = Bad(Refusal.MALFORMED, "This method takes one message: send each further one in a call of its own.")


class Sent(NamedTuple):
    """A message as it came.

    Attributes:
        compressed: whether it is.
        data: without the five bytes.
    """

    compressed: bool
    data: bytes


def framed(message: bytes) -> bytes:
    """A message that is not compressed, as it is sent."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


def reframed(sent: Sent) -> bytes:
    """A message as it came, as it is sent on."""
    return b"%c%b%b" % (sent.compressed, len(sent.data).to_bytes(4, "big"), sent.data)


def inflated(sent: Sent, coding: bytes, most: int) -> bytes | Bad:
    """The message in the clear.

    Args:
        sent: as it came.
        coding: the call's `grpc-encoding`.
        most: bytes that it may have.
    """
    if not sent.compressed:
        return sent.data
    window = _WINDOWS.get(coding)
    if window is None:
        shown = coding[:40].decode("utf-8", "replace")
        return Bad(Refusal.WRONG_METHOD, f"Messages compressed by {shown!r} are not read here: use gzip or deflate.")
    inflater = zlib.decompressobj(window)
    try:
        message = inflater.decompress(sent.data, most + 1)
    except zlib.error:
        return Bad(Refusal.MALFORMED, "The message is not compressed as grpc-encoding says.")
    if len(message) > most:
        return Bad(Refusal.TOO_LARGE, f"The body is larger than {most} bytes: send less.")
    if not inflater.eof:
        return Bad(Refusal.MALFORMED, "The message is not compressed as grpc-encoding says.")
    return message


class Single:
    """The one message of a call, as it comes.

    Args:
        most: bytes that it may have.
    """

    __slots__ = ("_most", "_size", "ended", "held", "pieces", "received")

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = -1  # with its five bytes, as soon as these are there
        self.ended = False
        """Whether it is whole."""
        self.held = True
        """Whether it can be sent again."""
        self.received = 0
        """Bytes so far, its five among them."""
        self.pieces: list[bytes] = []
        """All that came, while `held`."""

    def limit(self, most: int) -> None:
        """Takes no more than this, where that is less."""
        self._most = min(self._most, most)

    @property
    def size(self) -> int | None:
        """Of the message in bytes, as soon as that is known."""
        return None if self._size < 0 else self._size - PREFIX

    def take(self, data: bytes) -> Bad | None:
        """More of it; why the call may go no further."""
        self.pieces.append(data)
        self.received += len(data)
        if self._size < 0 and self.received >= PREFIX:
            bad = self._begin(data if len(self.pieces) == 1 else b"".join(self.pieces))
            if bad is not None:
                return bad
        return _MORE if 0 <= self._size < self.received else None

    def end(self) -> Bad | None:
        """No more comes; why that is too soon, if so."""
        if self.received == self._size:
            self.ended = True
            return None
        if not self.received:
            return _NONE
        return Bad(Refusal.MALFORMED, "The call ended in the middle of its message.")

    def whole(self) -> Sent:
        """The message, all of it in one piece from here on."""
        if len(self.pieces) > 1:
            self.pieces = [b"".join(self.pieces)]
        data = self.pieces[0]
        return Sent(bool(data[0]), data[PREFIX:])

    def let_go(self) -> None:
        """It cannot be sent again from here on."""
        self.held = False
        self.pieces = []

    def _begin(self, data: bytes) -> Bad | None:
        """Reads the five bytes."""
        if data[0] not in {_PLAIN, _COMPRESSED}:
            return _NO_FLAG
        size = int.from_bytes(data[1:PREFIX], "big")
        self._size = size + PREFIX
        return too_large(size, self._most)


class Splitter:
    """The messages of a stream, however they are cut.

    Args:
        most: bytes that one may have.
    """

    __slots__ = ("_held", "_most")

    def __init__(self, most: int) -> None:
        self._held = bytearray()
        self._most = most

    @property
    def between(self) -> bool:
        """Whether no message is under way."""
        return not self._held

    def limit(self, most: int) -> None:
        """Takes no larger ones than this, where that is less."""
        self._most = min(self._most, most)

    def feed(self, data: bytes) -> Iterator[Sent | Bad]:
        """The messages that these bytes complete; what is bad about one is the last word."""
        held = self._held
        held += data
        at = 0
        while len(held) - at >= PREFIX:
            if held[at] not in {_PLAIN, _COMPRESSED}:
                yield _NO_FLAG
                return
            size = int.from_bytes(held[at + 1 : at + PREFIX], "big")
            bad = too_large(size, self._most)
            if bad is not None:
                yield bad
                return
            stop = at + PREFIX + size
            if len(held) < stop:
                break
            yield Sent(bool(held[at]), bytes(held[at + PREFIX : stop]))
            at = stop
        del held[:at]


def too_large(size: int, most: int) -> Bad | None:
    """Why a message of this size may not come, if so."""
    if size <= most:
        return None
    return Bad(Refusal.TOO_LARGE, f"The body has {size} bytes, the gateway takes {most} at most.")
