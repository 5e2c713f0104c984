"""One stream: what its user may do with it, and whom it tells what the peer does.

Fields are tuples of (name, value) pairs of bytes, names in lower case, pseudo-fields first. They are the same object
each time the peer sends the same block, so whatever is made of them can be remembered by them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.gateway.h2 import frames
from serving.gateway.h2.fields import encode
from serving.gateway.h2.frames import DATA, END_HEADERS, END_STREAM, HEAD, HEADERS, LEAST_FRAME, ErrorCode

if TYPE_CHECKING:
    from serving.gateway.h2.connection import Connection

Fields = tuple[tuple[bytes, bytes], ...]
Piece = bytes | memoryview
_pack = HEAD.pack
_LAST_HEAD = END_HEADERS | END_STREAM


class StreamHandler(ABC):
    """Who is told what becomes of a stream. Nothing that it raises reaches the connection or other streams.

    Exactly one of these ends what the peer says: `on_headers` with `end`, `on_end`, `on_trailers`, `on_reset`, and for
    a client `on_unseen` or `on_lost`. After one of the last three nothing more can be said either; a client may give
    a stream up at any time, so a server's handler may hear `on_reset` until its answer is complete.
    """

    __slots__ = ()

    @abstractmethod
    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """The head (a client is spared interim answers, 1xx); `end` where nothing follows it."""

    @abstractmethod
    def on_data(self, data: bytes) -> None:
        """More of the body. Call the stream's `consume` once these bytes have gone on."""

    @abstractmethod
    def on_end(self) -> None:
        """The body is complete, without trailers."""

    @abstractmethod
    def on_trailers(self, fields: Fields) -> None:
        """The body is complete, and these follow it."""

    @abstractmethod
    def on_reset(self, code: int) -> None:
        """The peer gave the stream up, or broke its rules; a server is also told so when the connection ends."""

    @abstractmethod
    def on_writable(self) -> None:
        """The stream is no longer `full`. May come without need."""

    def on_unseen(self) -> None:
        """The peer certainly did nothing with it."""
        self.on_reset(ErrorCode.REFUSED_STREAM)

    def on_lost(self) -> None:
        """The connection ended first."""
        self.on_reset(ErrorCode.CANCEL)


class ClientHandler(StreamHandler):
    """The same for a stream that we opened."""

    __slots__ = ()

    @abstractmethod
    def on_unseen(self) -> None:
        """The server certainly did nothing with it (REFUSED_STREAM, GOAWAY, never sent): it may be sent again."""

    @abstractmethod
    def on_lost(self) -> None:
        """The connection ended first: what the server did with it is unknown."""


class _Nobody(StreamHandler):
    """In place of a handler, where there is none."""

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `StreamHandler`."""

    def on_data(self, data: bytes) -> None:
        """Part of `StreamHandler`."""

    def on_end(self) -> None:
        """Part of `StreamHandler`."""

    def on_trailers(self, fields: Fields) -> None:
        """Part of `StreamHandler`."""

    def on_reset(self, code: int) -> None:
        """Part of `StreamHandler`."""

    def on_writable(self) -> None:
        """Part of `StreamHandler`."""


NOBODY = _Nobody()


class Stream:
    """What both sides may do with a stream. Once it is `closed`, everything here does nothing.

    Made by the connection alone.

    Attributes:
        handler: who is told.
        number: of the stream on its connection; 0 while it waits to be opened.
        closed: whether both sides are done, or one has given up.
        window: how many bytes the peer takes on this stream; below 0 where it changed its mind.
        allowed: how many bytes the peer may send on this stream.
        unconsumed: how many bytes of what came have not gone on.
        headed: whether the peer's head is in.
        told_end: whether the peer will send no more.
        said_end: whether we will send no more.
        left: bytes of the body still to come where its length is known.
        began: when the peer opened it, by the connection's clock.
    """

    __slots__ = (
        "_due", "_ending", "_pending", "_pending_size", "allowed", "began", "closed", "connection", "handler", "headed",
        "left", "number", "said_end", "told_end", "unconsumed", "window",
    )  # fmt: skip

    def __init__(self, connection: Connection, number: int = 0) -> None:
        self.connection = connection
        self.handler: StreamHandler
        self.number = number
        self.closed = False
        self.window = connection.peer.window if number else 0
        self.allowed = connection.limits.stream_window
        self.unconsumed = 0
        self.headed = False
        self.told_end = False
        self.said_end = False
        self.left: int | None = None
        self.began = 0.0
        self._due = 0  # consumed, and the peer not told yet
        self._pending: deque[Piece] | None = None
        self._pending_size = 0
        self._ending: bytes | None = None  # what ends the stream after what is pending: trailers, or nothing (b"")

    @property
    def full(self) -> bool:
        """Whether what was written waits for the peer: write no more until `on_writable`."""
        return self._pending_size > 0 or self.connection.paused

    def write_headers(self, fields: Fields | bytes, *, end: bool = False) -> None:
        """The head: once, on a server (a client's goes out as it is opened).

        Args:
            fields: or a block that `fields.encode` made; blocks may be concatenated.
            end: nothing follows.
        """
        if self.closed or self.said_end:
            return
        connection = self.connection
        block = connection.block(fields)
        size = len(block)
        if size <= LEAST_FRAME:  # as good as always: nothing to cut, and nothing to copy
            flags = END_HEADERS | END_STREAM if end else END_HEADERS
            connection.out += (HEAD.pack(size << 8 | HEADERS, flags, self.number), block)
            if not connection.awake:
                connection.wake()
        else:
            connection.put(frames.headers(block, self.number, connection.peer.frame, end=end))
        if end:
            self._end()

    def write_data(self, pieces: Sequence[Piece], *, end: bool = False) -> None:
        """More of the body; kept, however much it is, until the peer's windows have room."""
        if self.closed or self.said_end or self._ending is not None:
            return
        connection = self.connection
        size = sum(map(len, pieces))
        if self._pending_size or not self.number or not connection.takes(size, self.window):
            self._keep(pieces, size, end=end)
        elif size or end:
            self._put(size, pieces, end=end)

    def write_trailers(self, fields: Fields | bytes) -> None:
        """The end, with these after the body."""
        if self.closed or self.said_end or self._ending is not None:
            return
        block = fields if isinstance(fields, bytes) else encode(fields)
        if self._pending_size:
            self._ending = block
        else:
            self.write_headers(block, end=True)

    def write_end(self) -> None:
        """The end, without trailers."""
        self.write_data((), end=True)

    def write_whole(self, headers: Fields | bytes, pieces: Sequence[Piece], trailers: Fields | bytes) -> None:
        """A server's whole answer. What the client had still to send is not awaited (RST_STREAM with NO_ERROR)."""
        if self.closed or self.said_end:
            return
        head = self.connection.block(headers)
        end = trailers if isinstance(trailers, bytes) else encode(trailers)
        if not self._put_whole(head, pieces, end):
            self.write_headers(head)
            self.write_data(pieces)
            self.write_trailers(end)

    def reset(self, code: int) -> None:
        """Gives the stream up (`frames.ErrorCode`); its handler hears no more."""
        if self.closed:
            return
        if self.number:
            self.connection.give_up(self, code)
        else:
            self.connection.forget(self)

    def consume(self, size: int) -> None:
        """So many bytes of what came have gone on: the peer may send as many more."""
        if self.closed:
            return
        connection = self.connection
        size = min(size, self.unconsumed)
        self.unconsumed -= size
        connection.released(size)
        self._due += size
        if self._due >= connection.limits.stream_window >> 1 and not self.told_end:
            connection.put(frames.window_update(self.number, self._due))
            self.allowed += self._due
            self._due = 0

    # What the connection asks of it.

    def start(self, number: int, fields: Fields | bytes, pieces: Sequence[Piece] = (), *, end: bool = False) -> None:
        """A stream of ours is opened: its head goes out, and what was written while it waited, or else these pieces."""
        self.number = number
        self.window = self.connection.peer.window
        kept = self._pending_size
        head = self.connection.block(fields)
        if end and not kept and self._put_whole(head, pieces):
            return
        alone = not kept and not pieces and (end or self._ending is not None)
        self.write_headers(head, end=alone)
        if kept:
            self.pump()
        elif pieces:
            self.write_data(pieces, end=end)

    def pump(self) -> None:
        """Sends what is pending, as far as the windows go."""
        while self._pending_size and self.pump_once():
            pass

    def pump_once(self) -> bool:
        """Sends one frame of what is pending; False where a window is shut."""
        connection = self.connection
        room = min(self.window, connection.window, connection.peer.frame)
        if room <= 0:
            if self.window > 0:
                connection.blocked[self.number] = self
            return False
        pieces, size = self._take(room)
        ending = None if self._pending_size else self._ending
        self._put(size, pieces, end=ending == b"")
        if ending:
            self._ending = None
            self.write_headers(ending, end=True)
        return True

    @property
    def pending(self) -> bool:
        """Whether anything waits for a window."""
        return self._pending_size > 0

    def clear(self) -> None:
        """Nothing more is sent."""
        self.closed = True
        self._pending = self._ending = None
        self._pending_size = 0

    # Its own steps.

    def _keep(self, pieces: Sequence[Piece], size: int, *, end: bool) -> None:
        if self._pending is None:
            self._pending = deque()
        self._pending += pieces
        self._pending_size += size
        if end:
            self._ending = b""
        self.pump()

    def _put(self, size: int, pieces: Sequence[Piece], *, end: bool) -> None:
        """One frame of data."""
        connection = self.connection
        self.window -= size
        connection.window -= size
        connection.calm.left += 1.0  # the peer may answer it with a word on its windows
        out = connection.out
        out.append(HEAD.pack(size << 8 | DATA, END_STREAM if end else 0, self.number))
        out += pieces
        if not connection.awake:
            connection.wake()
        if end:
            self._end()

    def _put_whole(self, head: bytes, pieces: Sequence[Piece], trailers: bytes = b"") -> bool:
        """All that is said on this stream, at once; False where that is not a frame each of what everybody takes."""
        connection, size, number = self.connection, sum(map(len, pieces)), self.number
        if not 0 < size <= LEAST_FRAME or size > self.window or size > connection.window:
            return False
        if len(head) > LEAST_FRAME or len(trailers) > LEAST_FRAME:
            return False
        start = _pack(len(head) << 8 | HEADERS, END_HEADERS, number)
        if trailers:
            end = _pack(len(trailers) << 8 | HEADERS, _LAST_HEAD, number)
            connection.out += (start, head, _pack(size << 8 | DATA, 0, number), *pieces, end, trailers)
        else:
            connection.out += (start, head, _pack(size << 8 | DATA, END_STREAM, number), *pieces)
        self.window -= size
        connection.window -= size
        connection.calm.left += 1.0
        if not connection.awake:
            connection.wake()
        self.said_end = True
        connection.said_end(self)
        return True

    def _take(self, room: int) -> tuple[list[Piece], int]:
        """So many bytes of what is pending, at most, and their number; nothing is copied."""
        pending, size = self._pending, 0
        taken: list[Piece] = []
        while pending and size < room:
            piece = pending.popleft()
            over = size + len(piece) - room
            if over > 0:
                view = memoryview(piece)
                pending.appendleft(view[-over:])
                piece = view[:-over]
            taken.append(piece)
            size += len(piece)
        self._pending_size -= size
        return taken, size

    def _end(self) -> None:
        self.said_end = True
        self.connection.said_end(self)


ServerStream = Stream
"""One that a client opened."""
ClientStream = Stream
"""One that we opened. Both are one class, for Python is quick only where it meets one (PEP 659): 3 % of a call."""
