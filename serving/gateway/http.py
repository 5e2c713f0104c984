"""The gateway's side that faces the client: one `asyncio.Protocol` per connection, requests answered in order.

Turns bytes into exchanges and keeps the connection's rules: limits, pipelining, `Expect`, HTTP/1.0, and an `Upgrade`
that is ignored (every stock Java client offers h2c; Triton answers it 200). What becomes of a request is the
exchange's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from serving.errors import STATUS, Refusal
from serving.gateway import answers
from serving.gateway.config import WorkerConfig
from serving.gateway.exchange import STREAM_FROM, Exchange
from serving.gateway.request import Bad, HeadBuilder, RequestHead, broken

if TYPE_CHECKING:
    from serving.gateway.worker import Worker

_MOST_PIPELINED = 16
LINGER_S = 2.0
"""How long what a refused client still sends is read and dropped, so that the answer reaches it before a reset."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientConnection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_builder", "_closing", "_deaf", "_draws_head", "_ends", "_eof", "_exchanges", "_fed", "_held",
        "_left", "_lingers_until", "_moved", "_parsed", "_parser", "_passes", "_reading", "_receiving", "_resuming",
        "_transport", "_upgrading", "_waits_since", "_worker", "_writable",
    )  # fmt: skip

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._transport: asyncio.Transport
        self._parser = HttpRequestParser(self)
        self._exchanges: deque[Exchange] = deque()
        self._receiving: Exchange | None = None  # the exchange whose body is coming
        self._builder = HeadBuilder()
        self._draws_head = False
        self._moved = False  # a head, a body or a part of one was completed by the read under way
        self._fed = 0  # bytes since then: the parser itself sets no limit to heads, chunk extensions and trailers
        self._left = 0  # bytes of the body still to come, where its length is known
        self._passes = False  # they go past the parser, which would copy each
        self._upgrading: RequestHead | None = None
        self._resuming = False  # the next head is our own synthetic one
        self._reading = True
        self._held = False  # the exchange whose turn it is wants no more for now
        self._writable = True
        self._eof = False
        self._ends = False  # the answer under way is the last
        self._parsed: RequestHead | None = None  # what the read under way is the head of, if of one only
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
        now, pauses = self._worker.loop.time(), self._worker.pauses
        if now > pauses.awake_until_s and pauses.holds(now, lambda: self._go_on(data)):
            self._transport.pause_reading()
            return
        if not self._draws_head:  # the clock of a head runs from its first byte: slow drops do not reset it
            self._waits_since = now
        if self._passes:
            data = self._take_body(data)
        between = self._receiving is None and not self._draws_head and not self._fed
        known = self._worker.heads.whole(data) if between else None
        if known is not None:
            head, body = known
            self._take_whole(head, body)
        elif data:
            self._take(data)
            if between and self._receiving is None:
                self._remember(data)
        if self._exchanges:
            self._exchanges[0].proceed()
            if len(self._exchanges) > 1 or not self._writable:
                self._steer()

    def _go_on(self, data: bytes) -> None:
        """What came while the worker was catching up has its turn."""
        if self._transport.is_closing():
            return
        if self._reading:
            self._transport.resume_reading()
        self.data_received(data)

    def eof_received(self) -> bool:
        """A client that has sent everything may still read: answers under way are finished first."""
        self._eof = self._deaf = True
        self._draws_head = False
        if self._receiving is not None and not self._receiving.opened:  # it will never be whole
            self._exchanges.pop()
            self._receiving = None
        if self._closing or not self._exchanges or self._receiving is not None:
            return False
        self.probe()
        return self._transport.can_write_eof()  # a TLS connection has no half that could stay open

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
        self._steer()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        if self._exchanges:
            self._exchanges[0].on_client_ready()
            self._next()
        self._steer()

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
        self._moved = True
        if self._deaf or self._resuming:
            self._resuming = False
            return
        parser, builder = self._parser, self._builder
        self._parsed = None
        if not self._check_head_size(builder.size + len(builder.url), parser.get_method()):
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
        else:
            self._parsed = head
        self._left = head.length or 0
        self._begin(Exchange(self, self._worker, head))

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, chunk framing removed."""
        self._moved = True
        self._left -= len(piece)
        if self._receiving is not None:
            self._receiving.receive(piece)

    def on_message_complete(self) -> None:
        """The body is complete, unless this is an upgrade's empty message."""
        self._moved = True
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

    def write_own(self, answer: bytes, head: RequestHead, *, last: bool) -> None:
        """A complete answer of the gateway's own. The last one ends the connection, whatever else is sent on it."""
        self._ends |= last
        ending = self.connection_header(head)
        if ending:
            answer = answers.with_header(answer, ending)
        if head.method == b"HEAD":
            answer = answers.without_body(answer)
        self._transport.write(answer)
        if last:
            self.hang_up()

    def connection_header(self, head: RequestHead) -> bytes:
        """What the answer says about the connection."""
        if self._worker.draining or not head.keep_alive:
            self._ends = True
        if self._ends:
            return b"Connection: close\r\n"
        return b"" if head.http_1_1 else b"Connection: keep-alive\r\n"

    def finished(self, exchange: Exchange) -> None:
        """The exchange is over; the next in line has its turn."""
        if self._closing or not self._exchanges or self._exchanges[0] is not exchange:
            return
        self._exchanges.popleft()
        self._waits_since = self._worker.loop.time()
        self._held = False
        if self._ends or not exchange.keep_alive:
            self._close()
            return
        if not self._reading:
            self._steer()
        if self._exchanges:
            self._worker.loop.call_soon(self._next)  # not from here: a thousand pipelined answers would nest
        elif self._eof or self._worker.closes_idle:
            self._close()

    def ends_with_this(self) -> None:
        """The answer under way has no other end than the connection's."""
        self._ends = True

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        self._held = True
        self._steer()

    def resume_reading(self) -> None:
        """Read on, as far as this exchange is concerned."""
        self._held = False
        if not self._reading:
            self._steer()

    def cut(self) -> None:
        """An answer that has begun cannot be finished: the client must see that it is not whole.

        By a reset, for the end of a connection is also how an HTTP/1.0 answer ends well.
        """
        self._deaf = self._closing = True
        if not self._transport.is_closing():
            with contextlib.suppress(OSError):
                own = self._transport.get_extra_info("socket")
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def hang_up(self) -> None:
        """Closes our side at once and the other's when it is done sending: a reset would swallow the answer."""
        if self._eof:  # the other side is done
            self._close()
            return
        self._deaf = self._closing = True
        self._lingers_until = self._worker.loop.time() + LINGER_S
        self._steer()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS has a goodbye for each side: ours goes out at once, and what comes before the client's is dropped
            self._transport.close()

    # What the worker asks of it.

    def turn_away(self, sentence: str) -> None:
        """One connection too many: told so before it says a word."""
        bad = Bad(Refusal.OVERLOADED, sentence)
        self.write_own(answers.refusal(*bad), broken(bad), last=True)

    @property
    def address(self) -> str:
        """Of the client, as the socket has it: host and port."""
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""

    @property
    def half_closed(self) -> bool:
        """Whether the client will send no more, and an answer is owed to it."""
        return self._eof and not self._closing

    def probe(self) -> None:
        """Finds out whether a client that sends no more still reads.

        A closed socket and one that is closed for sending look the same until something is written to it; an interim
        answer is what every client has to skip, and one that is gone answers it with a reset.
        """
        if self._exchanges and self._exchanges[0].takes_interim:
            self._transport.write(answers.CONTINUE)

    def overdue(self, now: float, config: WorkerConfig) -> bool:
        """Whether the client owes bytes (a head, a body, the next request), or its attention, longer than it may."""
        if self._closing:
            return now > self._lingers_until
        waited = now - self._waits_since
        if self._draws_head:
            return self._reading and waited > config.header_timeout_s
        if self._receiving is not None:
            return self._reading and waited > config.upstream_timeout_s
        return not self._exchanges and waited > config.idle_timeout_s

    def close_idle(self) -> None:
        """Closes if no request is under way."""
        if not self._exchanges and not self._draws_head:
            self._close()

    def time_out(self) -> None:
        """The client owes bytes for too long, or will not stop sending, or will not read."""
        if self._closing:
            self._transport.abort()
        elif self._draws_head or self._receiving is not None:
            late = "The request did not arrive in time: send it faster."
            self._end_with(broken(Bad(Refusal.BROKEN_FRAMING, late)))
        else:
            self._close()

    # Its own steps.

    def _take(self, data: bytes) -> None:
        """What came, whatever it is."""
        self._moved = False
        self._parsed = None
        self._parse(data)
        if self._moved:
            self._fed = 0
            self._passes = self._left > 0 and self._receiving is not None
        else:
            self._fed += len(data)
            self._check_head_size(self._fed)

    def _take_body(self, data: bytes) -> bytes:
        """More of a body that has nothing to parse; what came after it, if this was its end."""
        exchange = self._receiving
        if exchange is None:
            return b""
        piece, data = data[: self._left], data[self._left :]
        self._left -= len(piece)
        exchange.receive(piece)
        if self._left or self._receiving is None:
            return b""
        self._passes = False
        self._parser = HttpRequestParser(self)  # the old one waits for the body
        self._receiving = None
        exchange.receive_end()
        self._deaf |= bool(data) and not exchange.keep_alive
        return b"" if self._deaf else data

    def _take_whole(self, head: RequestHead, body: bytes) -> None:
        """A whole request whose head is known: what the parser would have made of it, without the parser."""
        exchange = Exchange(self, self._worker, head)
        self._begin(exchange)
        if body:
            exchange.receive(body)
        self._receiving = None
        exchange.receive_end()

    def _remember(self, data: bytes) -> None:
        """Keeps the head of what was one plain request, whole in one read."""
        head, self._parsed = self._parsed, None
        if head is not None and head.plain:
            self._worker.heads.put(data, head)

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if not self._ignores_upgrade():
                    return
                data = memoryview(data)[upgrade.args[0] :]
            except HttpParserCallbackError:  # a mistake of ours: the loop reports it and closes the connection
                raise
            except HttpParserError:
                if not self._deaf:
                    self._end_with(broken(Bad(Refusal.BROKEN_FRAMING, "This is no well-formed HTTP/1.1 request.")))
                return
            else:
                return

    def _ignores_upgrade(self) -> bool:
        """Goes on as if `Upgrade` had not been there: a fresh parser gets a head with the same framing."""
        head, self._upgrading = self._upgrading, None
        if self._deaf or head is None:
            return False
        framing = b"Transfer-Encoding: chunked" if head.length is None else b"Content-Length: %d" % head.length
        ending = b"" if head.keep_alive else b"Connection: close\r\n"
        self._parser = HttpRequestParser(self)
        self._resuming = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: -\r\n%s%s\r\n\r\n" % (ending, framing))
        return True

    def _check_head_size(self, size: int, method: bytes = b"") -> bool:
        limit = self._worker.config.max_header
        if size > limit and not self._deaf:
            large = f"The request's head is larger than {limit} bytes: send fewer or shorter headers."
            self._end_with(broken(Bad(Refusal.BROKEN_FRAMING, large), method))
        return size <= limit

    def _begin(self, exchange: Exchange) -> None:
        self._receiving = exchange
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1 and self._writable:
            exchange.open()

    def _next(self) -> None:
        """The turn of the first in line, once the client has room for its answer."""
        if self._exchanges and self._writable and not self._closing and not self._exchanges[0].opened:
            exchange = self._exchanges[0]
            exchange.open()
            exchange.proceed()
            if not self._reading:  # it may want more of its body than is read of one that waits for its turn
                self._steer()

    def _steer(self) -> None:
        """Reads on, or leaves what comes in the kernel: decided in one place, for several may object."""
        wanted = self._may_read()
        if wanted is self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._waits_since = self._worker.loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _may_read(self) -> bool:
        if self._closing:
            return True
        if self._held or len(self._exchanges) > _MOST_PIPELINED:
            return False
        receiving = self._receiving
        if receiving is None:  # a client that does not read its answers asks for no more of them
            return self._writable
        return receiving.opened or receiving.body.received < STREAM_FROM

    def _end_with(self, head: RequestHead) -> None:
        """The last request of this connection: refused when its turn comes, and nothing after it is read."""
        self._deaf = True
        self._draws_head = False
        unfinished, self._receiving = self._receiving, None
        if unfinished is not None and not self._gives_up(unfinished):
            return
        last = Exchange(self, self._worker, head)
        last.body.ended = True
        self._exchanges.append(last)
        if len(self._exchanges) == 1:
            last.open()

    def _gives_up(self, unfinished: Exchange) -> bool:
        """A request that will never be whole; whether a refusal can take its place."""
        if unfinished.answered:
            self.hang_up()
        elif unfinished.reply.begun:
            self.cut()
        else:
            unfinished.abandon()
            self._exchanges.pop()
            return True
        return False

    def _close(self) -> None:
        self._deaf = self._closing = True
        self._lingers_until = self._worker.loop.time() + self._worker.config.upstream_timeout_s
        self._transport.close()
