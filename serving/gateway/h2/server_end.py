"""The server's end of a connection: streams that a client opens, until one side has had enough."""

from __future__ import annotations

from collections.abc import Callable

from serving.errors import Refusal
from serving.gateway import answers
from serving.gateway.h2 import frames
from serving.gateway.h2.allowance import Allowance
from serving.gateway.h2.fields import Block, Kind
from serving.gateway.h2.frames import LAST_STREAM, ConnectionBroken, ErrorCode
from serving.gateway.h2.reader import Reader
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import NOBODY, Fields, ServerStream, Stream, StreamHandler
from serving.gateway.request import Bad

TOO_LARGE: Fields = ((b":status", b"431"),)
_REQUEST = Kind.REQUEST  # to look a member up costs more than to compare with it
_DRAINS = b"\0drains\0"
_A_REQUEST = 10.0
_A_LARGE_HEAD = 20.0
_RESETS_PER_S = 100.0


class ServerEnd(Reader):
    """What the server's end does with the client's frames.

    Args:
        make_stream: gives each new stream its handler, by its head, of which the handler is told next.
        limits: what the client may do.
        on_output: see `Connection`.
        too_large: the whole answer to a head that is too large.
    """

    by_server = True

    def __init__(
        self,
        make_stream: Callable[[ServerStream, Fields], StreamHandler],
        limits: Limits,
        on_output: Callable[[], None],
        too_large: Fields = TOO_LARGE,
    ) -> None:
        super().__init__(limits, on_output)
        self._make_stream = make_stream
        self._too_large = too_large
        self._rapid = Allowance(limits.rapid_resets, _RESETS_PER_S)
        self._greeted = False
        self._drains = False  # as soon as the client is greeted
        self._last = 0
        self._last_welcome = LAST_STREAM

    # What its owner asks of it.

    def greet(self) -> None:
        """Our settings, which nothing may come before."""
        super().greet()
        self._greeted = True
        if self._drains:
            self.drain()

    def drain(self) -> None:
        """Asks for no more streams; once the client has heard it, none is taken."""
        self._drains = True
        if self._greeted and not self.ended and self._last_welcome == LAST_STREAM:
            self.put(frames.goaway(LAST_STREAM, ErrorCode.NO_ERROR))
            self.put(frames.ping(_DRAINS))

    def take_no_more(self, why: str = "") -> None:
        """No stream that the client has not opened yet; the end, once there is none."""
        if self.ended:
            return
        if self._last_welcome == LAST_STREAM:
            self._last_welcome = self._last
            self.put(frames.goaway(self._last, ErrorCode.NO_ERROR, why.encode()))
        self.moved()

    # What the client does.

    def is_no_peer(self, said: bytes) -> None:
        """A client of HTTP/1 is told in its own words."""
        if said[:1].isalpha():
            bad = Bad(Refusal.BROKEN_FRAMING, "This port takes gRPC, by HTTP/2 without an upgrade: HTTP/1 has its own.")
            self.put(answers.with_header(answers.refusal(*bad), b"Connection: close\r\n"))
            self.lose()
        super().is_no_peer(said)

    def take_head(self, number: int, block: Block, *, end: bool) -> None:
        """A stream's beginning, or its trailers."""
        stream = self.streams.get(number)
        if stream is not None:
            self._take_trailers(stream, block, end=end)
        elif number > self._last and number & 1:
            self._last = number
            if number > self._last_welcome:
                self.ignore(number, self.limits.stream_window)
            elif len(self.streams) >= self.limits.streams:
                self._turn_away(number)
            elif block.kind is _REQUEST:
                self._begin(number, block, end=end)
            else:
                self._refuse(number, block, end=end)
        elif number & 1:
            self._stray(number)
        else:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a client's stream has an odd number")

    def _take_trailers(self, stream: Stream, block: Block, *, end: bool) -> None:
        if stream.told_end:
            self._break(stream, ErrorCode.STREAM_CLOSED)
        elif block.kind is not Kind.TRAILERS or not end:
            self._break(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            self.tell_trailers(stream, block)

    def _begin(self, number: int, block: Block, *, end: bool) -> None:
        self.calm.left += _A_REQUEST
        stream = ServerStream(self, number)
        stream.began = self.heard_at
        stream.handler = NOBODY
        self.streams[number] = stream
        try:
            stream.handler = self._make_stream(stream, block.fields)
        except Exception:  # noqa: BLE001 (it is logged)
            self._failed(stream)
        else:
            self.tell_headers(stream, block, end=end)

    def _turn_away(self, number: int) -> None:
        """One stream too many."""
        self.idle()
        self.put(frames.rst_stream(number, ErrorCode.REFUSED_STREAM))
        self.ignore(number, self.limits.stream_window)

    def _refuse(self, number: int, block: Block, *, end: bool) -> None:
        """A stream whose head is no request."""
        stream = ServerStream(self, number)
        stream.handler = NOBODY
        self.streams[number] = stream
        if block.kind is Kind.TOO_LARGE:
            self.idle(_A_LARGE_HEAD)
            stream.told_end = end
            stream.write_headers(self._too_large, end=True)
        else:
            self.idle()
            self.give_up(stream, ErrorCode.PROTOCOL_ERROR)

    def heard_end(self, stream: Stream) -> None:
        """The answer may still be on its way."""

    def said_end(self, stream: Stream) -> None:
        """An answer is the stream's end, whatever the client had still to send."""
        self._rapid.left += 1.0
        if stream.told_end:
            self.part(stream)
        else:
            self.give_up(stream, ErrorCode.NO_ERROR)

    def was_reset(self, stream: Stream) -> None:
        """Streams that are given up as soon as they are opened pass by the limit to how many there may be."""
        now = self.heard_at
        if now - stream.began < self.limits.rapid_s and not self._rapid.take(now):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many streams given up too soon")

    def answered(self, payload: bytes) -> None:
        """The client has heard that we are about to take no more."""
        if payload == _DRAINS:
            self.take_no_more()

    def sent_away(self, last: int) -> None:
        """We open no streams."""

    def moved(self) -> None:
        """The last stream of a connection that takes no more is its end."""
        if self._last_welcome != LAST_STREAM and not self.streams:
            self.finish()

    def is_idle(self, number: int) -> bool:
        """Whether the client has not opened this stream so far."""
        return number > self._last or not number & 1

    @property
    def last_taken(self) -> int:
        """The client's last stream that was looked at."""
        return min(self._last, self._last_welcome)
