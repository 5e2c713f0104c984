"""The client's end of a connection: streams that we open, and those that wait for one of them to end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from serving.gateway.h2 import frames
from serving.gateway.h2.fields import Block, Kind
from serving.gateway.h2.frames import LAST_STREAM, PREFACE, ErrorCode
from serving.gateway.h2.reader import Reader
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import ClientHandler, ClientStream, Fields, Piece, Stream

_ANSWER, _TRAILERS = Kind.ANSWER, Kind.TRAILERS  # to look a member up costs more than to compare with it


class ClientEnd(Reader):
    """What the client's end does with streams of ours and with the server's frames.

    Args:
        limits: what the server may do.
        on_output: see `Connection`.
        on_spent: told once, when no more streams can be opened.

    Attributes:
        spent: whether no more streams can be opened.
        waiting: streams for which the server has no room yet, with their heads.
    """

    def __init__(self, limits: Limits, on_output: Callable[[], None], on_spent: Callable[[], None]) -> None:
        super().__init__(limits, on_output)
        self.spent = False
        self.waiting: deque[tuple[ClientStream, Fields | bytes]] = deque()
        self._on_spent = on_spent
        self._next = 1

    # What its owner asks of it.

    def greet(self) -> None:
        """What a client says first, our settings, and a window for all streams."""
        self.put(PREFACE)
        super().greet()

    def open(
        self, fields: Fields | bytes, handler: ClientHandler, pieces: Sequence[Piece] = (), *, end: bool = False
    ) -> ClientStream:
        """A new stream; where there is no room it waits, and on a connection that is spent it is nothing."""
        stream = ClientStream(self)
        stream.handler = handler
        if not (self.spent or self.waiting) and len(self.streams) < self.peer.streams:
            self._start(stream, fields, pieces, end=end)
        elif self.spent:
            stream.clear()
        else:
            stream.write_data(pieces, end=end)
            self.waiting.append((stream, fields))
        return stream

    @property
    def full(self) -> bool:
        """Whether a stream that is opened now has to wait, or is nothing."""
        return self.spent or len(self.streams) >= self.peer.streams or bool(self.waiting)

    def forget(self, stream: Stream) -> None:
        """One that waits to be opened will not be."""
        super().forget(stream)
        self.waiting = deque(waits for waits in self.waiting if waits[0] is not stream)

    def spend(self) -> None:
        """No more streams; those that wait are refused, and after the last one of the others comes the end."""
        if not self.spent:
            self.spent = True
            waiting, self.waiting = self.waiting, deque()
            for stream, _ in waiting:
                stream.clear()
                self._call(stream, stream.handler.on_unseen)
            self._on_spent()
        if not self.streams and not self.ended:
            self.put(frames.goaway(0, ErrorCode.NO_ERROR))
            self.finish()

    def lose(self) -> None:
        """The transport is gone."""
        self.ended = True
        self.spend()
        super().lose()

    # What the server does.

    def take_head(self, number: int, block: Block, *, end: bool) -> None:
        """The head of an answer, or its trailers."""
        stream, kind = self.streams.get(number), block.kind
        if stream is None:
            self._stray(number)
        elif stream.told_end:
            self._break(stream, ErrorCode.STREAM_CLOSED)
        elif kind is _TRAILERS and stream.headed and end:
            self.tell_trailers(stream, block)
        elif kind is _ANSWER and not stream.headed:
            self.tell_headers(stream, block, end=end)
        elif kind is Kind.INTERIM and not (stream.headed or end):
            self.idle()
        else:
            self._break(stream, ErrorCode.PROTOCOL_ERROR)

    def heard_end(self, stream: Stream) -> None:
        """An answer is the stream's end, whatever we had still to send."""
        if stream.closed:
            return
        if stream.said_end:
            self.part(stream)
        else:
            self.give_up(stream, ErrorCode.NO_ERROR)

    def said_end(self, stream: Stream) -> None:
        """The answer is still to come."""

    def was_reset(self, stream: Stream) -> None:
        """The server may."""

    def answered(self, payload: bytes) -> None:
        """We send no other PING."""

    def sent_away(self, last: int) -> None:
        """Of our streams, the server has looked at none above this one."""
        unseen = [stream for number, stream in self.streams.items() if number > last]
        self.spend()  # first, or one that waits would take the place of one that is refused
        for stream in unseen:
            self.drop(stream)
            self._call(stream, stream.handler.on_unseen)

    def moved(self) -> None:
        """A stream that waits has its turn."""
        while self.waiting and len(self.streams) < self.peer.streams and not self.spent:
            stream, fields = self.waiting.popleft()
            self._start(stream, fields)
        if self.spent and not self.streams:
            self.spend()

    def _start(
        self, stream: ClientStream, fields: Fields | bytes, pieces: Sequence[Piece] = (), *, end: bool = False
    ) -> None:
        number = self._next
        self._next += 2
        self.streams[number] = stream
        stream.start(number, fields, pieces, end=end)
        if self._next > LAST_STREAM:
            self.spend()

    def is_idle(self, number: int) -> bool:
        """Whether we have not opened this stream so far."""
        return number >= self._next or not number & 1

    @property
    def last_taken(self) -> int:
        """No server may open one."""
        return 0
