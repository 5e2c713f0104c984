"""gRPC's own frames: five bytes before each message, which say its length and whether it is compressed.

A call of one message is held until it is whole, for what names its model may stand anywhere in it. A compressed message
is inflated to be read, as far as it may grow; where it must be changed, it goes on as it was inflated.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from serving.errors import Refusal
from serving.gateway.request import Bad

PREFIX = 5
_PREFIX = Struct(">BL")
_PLAIN, _COMPRESSED = 0, 1
_ERROR = b"\n"  # ModelStreamInferResponse.error_message comes first, where there is one
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


class Cut(NamedTuple):
    """Whole messages of an answer, each with its five bytes.

    Attributes:
        data: all of them; empty for none.
        messages: how many they are.
        errors: how many of them say that something went wrong.
    """

    data: bytes
    messages: int
    errors: int


_NOTHING = Cut(b"", 0, 0)


def framed(message: bytes) -> bytes:
    """A message that is not compressed, as it is sent."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


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

    __slots__ = ("_most", "ended", "held", "pieces", "received", "size")

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = -1
        """Bytes that it has, its five among them, as soon as these are there."""
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

    def take(self, data: bytes) -> Bad | None:
        """More of it; why the call may go no further."""
        self.pieces.append(data)
        self.received += len(data)
        if self.size < 0:
            if self.received < PREFIX:
                return None
            flag, size = _PREFIX.unpack_from(data if len(self.pieces) == 1 else b"".join(self.pieces))
            if flag > _COMPRESSED:
                return _NO_FLAG
            self.size = size + PREFIX
            if size > self._most:
                return too_large(size, self._most)
        return _MORE if self.size < self.received else None

    def end(self) -> Bad | None:
        """No more comes; why that is too soon, if so."""
        if self.received == self.size:
            self.ended = True
            return None
        if not self.received:
            return _NONE
        return Bad(Refusal.MALFORMED, "The call ended in the middle of its message.")

    def whole(self) -> bytes:
        """All of it, its five bytes among them, in one piece from here on."""
        if len(self.pieces) > 1:
            self.pieces = [b"".join(self.pieces)]
        return self.pieces[0]

    def let_go(self) -> None:
        """It cannot be sent again from here on."""
        self.held = False
        self.pieces = []


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


class Cutter:
    """Where the messages of an answer end, for what goes on as it came."""

    __slots__ = ("_held", "_missing")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._missing = 0  # bytes without which what is held is not whole

    def feed(self, data: bytes) -> Cut:
        """What these bytes complete."""
        if self._held:
            self._held.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return _NOTHING
            data, self._held = b"".join(self._held), []
        at = messages = errors = 0
        size, stop = len(data), PREFIX
        while stop <= size:
            flag, length = _PREFIX.unpack_from(data, at)
            stop = at + PREFIX + length
            if stop > size:
                break
            messages += 1
            errors += flag == _PLAIN and data.startswith(_ERROR, at + PREFIX, stop)
            at, stop = stop, stop + PREFIX
        if at == size:
            return Cut(data, messages, errors)
        self._held, self._missing = [data[at:]], stop - size
        return Cut(data[:at], messages, errors)


def too_large(size: int, most: int) -> Bad | None:
    """Why a message of this size may not come, if so."""
    if size <= most:
        return None
    return Bad(Refusal.TOO_LARGE, f"The body has {size} bytes, the gateway takes {most} at most.")
