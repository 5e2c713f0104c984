"""The gateway's side that faces the client: one `asyncio.Protocol` per connection, requests answered in order.

Turns bytes into exchanges and keeps the connection's rules: limits, pipelining, `Expect`, HTTP/1.0, and an `Upgrade`
that is ignored (every stock Java client offers h2c; Triton answers it 200). What becomes of a request is the
exchange's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from serving.errors import STATUS, Refusal
from serving.gateway import answers
from serving.gateway.config import WorkerConfig
from serving.gateway.exchange import Exchange
from serving.gateway.request import Bad, HeadBuilder, RequestHead, broken

if TYPE_CHECKING:
    from serving.gateway.worker import Worker

_MOST_PIPELINED = 16
LINGER_S = 2.0
"""How long what a refused client still sends is read and dropped, so that the answer reaches it before a reset."""


class ClientConnection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_builder", "_closing", "_deaf", "_draws_head", "_eof", "_exchanges", "_fed", "_head_done", "_lingers_until",
        "_parser", "_reading", "_receiving", "_resuming", "_transport", "_upgrading",
        "_waits_since", "_worker", "_writable",
    )  # fmt: skip

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._transport: asyncio.Transport
        self._parser = HttpRequestParser(self)
        self._exchanges: deque[Exchange] = deque()
        self._receiving: Exchange | None = None  # the exchange whose body is coming
        self._builder = HeadBuilder()
        self._draws_head = False
        self._head_done = False  # a head was completed by the read under way
        self._fed = 0  # bytes since the last head or body: the parser itself sets no limit
        self._upgrading: RequestHead | None = None
        self._resuming = False  # the next head is our own synthetic one
        self._reading = True
        self._writable = True
        self._eof = False
        self._deaf = False  # framing is lost, or the last request is in: nothing more is parsed
        self._closing = False
        self._waits_since = 0.0
        """Since when the client owes us bytes (a head, a body, or the next request), by the loop's clock."""
        self._lingers_until = 0.0

    # What the transport tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._waits_since = self._worker.loop.time()
        self._worker.add_client(self)

    def data_received(self, data: bytes) -> None:
        """Parses what came, then lets the exchange whose turn it is make what it can of it."""
        if self._deaf:
            return
        if not self._draws_head:  # the clock of a head runs from its first byte: slow drops do not reset it
            self._waits_since = self._worker.loop.time()
        self._parse(data)
        if self._head_done or self._receiving is not None:
            self._head_done = False
            self._fed = 0
        else:
            self._fed += len(data)
            self._check_head_size(self._fed)
        if self._exchanges:
            self._exchanges[0].proceed()
            if len(self._exchanges) > _MOST_PIPELINED:
                self.pause_reading()

    def eof_received(self) -> bool:
        """A client that has sent everything may still read: answers under way are finished first."""
        self._eof = True
        return bool(self._exchanges) and self._exchanges[0].ended and not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything that it asked for is given up."""
        del exc
        self._deaf = self._closing = True
        self._worker.drop_client(self)
        for exchange in self._exchanges:
            exchange.abandon()
        self._exchanges.clear()
        self._receiving = None

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._writable = False
        if self._exchanges:
            self._exchanges[0].on_client_full()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        if self._exchanges:
            self._exchanges[0].on_client_ready()

    # What the parser tells it.

    def on_message_begin(self) -> None:
        """A head begins."""
        self._draws_head = True
        if not self._resuming:
            self._builder = HeadBuilder()

    def on_url(self, url: bytes) -> None:
        """May come in pieces."""
        self._builder.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the head; those after the body (trailers) end here."""
        if self._draws_head and not self._resuming:
            self._builder.add(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: an exchange begins."""
        self._draws_head = False
        self._head_done = True
        if self._deaf or self._resuming:
            self._resuming = False
            return
        parser, builder = self._parser, self._builder
        if not self._check_head_size(builder.size):
            return
        head = builder.build(
            parser.get_method(), parser.get_http_version(), self._worker.config.max_body,
            keep_alive=parser.should_keep_alive(),
        )  # fmt: skip
        if head.bad is not None and STATUS[head.bad.kind].closes:
            self._end_with(head)
            return
        if parser.should_upgrade():
            self._upgrading = head
        self._begin(Exchange(self, self._worker, head))

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, chunk framing removed."""
        if self._receiving is not None:
            self._receiving.receive(piece)

    def on_message_complete(self) -> None:
        """The body is complete, unless this is an upgrade's empty message."""
        if self._upgrading is not None and self._parser.should_upgrade():
            return
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.receive_end()

    # What an exchange asks of it.

    def write(self, data: bytes) -> bool:
        """Bytes to the client; False when it should be given a rest."""
        self._transport.write(data)
        return self._writable

    def write_answer(self, whole: bytes, head: RequestHead) -> None:
        """A complete answer of the gateway's own."""
        ending = self.connection_header(head)
        if ending:
            start, mark, rest = whole.partition(b"\r\n\r\n")
            whole = start + b"\r\n" + ending + mark[2:] + rest
        self._transport.write(whole)

    def refuse(self, bad: Bad, head: RequestHead) -> None:
        """An error of the gateway's own; the connection ends where the table says so."""
        if STATUS[bad.kind].closes or self._worker.draining:
            head.keep_alive = False
        self._transport.write(answers.refusal(bad.kind, bad.sentence, allow=bad.allow, close=not head.keep_alive))
        if STATUS[bad.kind].closes:
            self._linger()

    def connection_header(self, head: RequestHead) -> bytes:
        """What the answer says about the connection."""
        if self._worker.draining:
            head.keep_alive = False
        if not head.keep_alive:
            return b"Connection: close\r\n"
        return b"" if head.http_1_1 else b"Connection: keep-alive\r\n"

    def finished(self, exchange: Exchange) -> None:
        """The exchange is over; the next in line has its turn."""
        if self._closing or not self._exchanges or self._exchanges[0] is not exchange:
            return
        self._exchanges.popleft()
        self._waits_since = self._worker.loop.time()
        if not exchange.keep_alive:
            self._close()
        elif self._exchanges:
            self._worker.loop.call_soon(self._next)  # not from here: a thousand pipelined answers would nest
        else:
            self.resume_reading()
            if self._eof or self._worker.closes_idle:
                self._close()

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def cut(self) -> None:
        """An answer that has begun cannot be finished: the client must see that it is not whole."""
        self._deaf = self._closing = True
        self._transport.abort()

    # What the worker asks of it.

    def turn_away(self, sentence: str) -> None:
        """One connection too many: told so before it says a word."""
        self._end_with(broken(Bad(Refusal.OVERLOADED, sentence)))

    def overdue(self, now: float, config: WorkerConfig) -> bool:
        """Whether the client owes bytes (a head, a body, the next request) for longer than it may."""
        if self._closing:
            return bool(self._lingers_until) and now > self._lingers_until
        if self._draws_head:
            return now - self._waits_since > config.header_timeout_s
        if self._receiving is not None:
            return self._reading and now - self._waits_since > config.upstream_timeout_s
        return not self._exchanges and now - self._waits_since > config.idle_timeout_s

    def close_idle(self) -> None:
        """Closes if no request is under way."""
        if not self._exchanges and not self._draws_head:
            self._close()

    def time_out(self) -> None:
        """The client owes bytes for too long, or will not stop sending."""
        if self._closing:
            self._transport.abort()
            return
        late = Bad(Refusal.BROKEN_FRAMING, "The request did not arrive in time: send it faster.")
        if self._receiving is not None and self._receiving is self._exchanges[0]:
            self._receiving.refuse(late)
        elif self._draws_head:
            self._end_with(broken(late))
        else:
            self._close()

    # Its own steps.

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data, upgrade.args[0])
        except HttpParserError:
            if not self._deaf:
                self._end_with(broken(Bad(Refusal.BROKEN_FRAMING, "This is no well-formed HTTP/1.1 request.")))

    def _ignore_upgrade(self, data: bytes, offset: int) -> None:
        """Goes on as if `Upgrade` had not been there: a fresh parser gets a head with the same framing."""
        head, self._upgrading = self._upgrading, None
        if self._deaf or head is None:
            return
        framing = b"Transfer-Encoding: chunked" if head.length is None else b"Content-Length: %d" % head.length
        ending = b"" if head.keep_alive else b"Connection: close\r\n"
        self._parser = HttpRequestParser(self)
        self._resuming = True
        self._parse(b"POST / HTTP/1.1\r\nHost: -\r\n%s%s\r\n\r\n" % (ending, framing))
        if offset < len(data):
            self._parse(data[offset:])

    def _check_head_size(self, size: int) -> bool:
        limit = self._worker.config.max_header
        if size > limit and not self._deaf:
            large = f"The request's head is larger than {limit} bytes: send fewer or shorter headers."
            self._end_with(broken(Bad(Refusal.BROKEN_FRAMING, large)))
        return size <= limit

    def _begin(self, exchange: Exchange) -> None:
        self._receiving = exchange
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1:
            exchange.open()

    def _next(self) -> None:
        if self._exchanges and not self._closing and not self._exchanges[0].opened:
            exchange = self._exchanges[0]
            exchange.open()
            exchange.proceed()
            if len(self._exchanges) <= _MOST_PIPELINED:
                self.resume_reading()

    def _end_with(self, head: RequestHead) -> None:
        """The last request of this connection: refused when its turn comes, and nothing after it is read."""
        self._deaf = True
        if self._receiving is not None:  # it will never be whole: the refusal takes its place
            self._receiving.abandon()
            self._exchanges.pop()
            if self._receiving.answering:
                self.cut()
                return
            self._receiving = None
        last = Exchange(self, self._worker, head)
        last.ended = True
        self._exchanges.append(last)
        if len(self._exchanges) == 1:
            last.open()

    def _linger(self) -> None:
        """Closes our side at once and the other's when it is done sending: a reset would swallow the answer."""
        self._deaf = self._closing = True
        self._lingers_until = self._worker.loop.time() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if not self._reading:
            self.resume_reading()

    def _close(self) -> None:
        self._deaf = self._closing = True
        self._transport.close()
