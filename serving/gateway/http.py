"""The gateway's side that faces the client: one `asyncio.Protocol` per connection, requests answered in order.

Keeps the connection's rules: whose turn it is, when it reads on and when it waits, how long a client may owe bytes, and
how it ends, well or not. How bytes become requests is `framing`'s business, what becomes of a request the exchange's.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections import deque
from typing import TYPE_CHECKING, cast

from serving.errors import Refusal
from serving.gateway import answers
from serving.gateway.config import WorkerConfig
from serving.gateway.exchange import STREAM_FROM, Exchange
from serving.gateway.framing import RequestReader
from serving.gateway.generate import exchange_of
from serving.gateway.paths import Operation
from serving.gateway.request import Bad, RequestHead, broken

if TYPE_CHECKING:
    from serving.gateway.worker import Worker

_MOST_PIPELINED = 16
LINGER_S = 2.0
"""How long what a refused client still sends is read and dropped, so that the answer reaches it before a reset."""
_INFER = Operation.INFER  # to look a member up costs more than to compare with it
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientConnection(RequestReader):
    """One client."""

    __slots__ = (
        "_closing", "_ends", "_eof", "_exchanges", "_held", "_lingers_until", "_reading", "_transport", "_waits_since",
        "_writable",
    )  # fmt: skip

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._transport: asyncio.Transport
        self._exchanges: deque[Exchange] = deque()
        self._reading = True
        self._held = False  # the exchange whose turn it is wants no more for now
        self._writable = True
        self._eof = False
        self._ends = False  # the answer under way is the last
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

    @property
    def full(self) -> bool:
        """Whether the client is to be given a rest, for it reads too slowly."""
        return not self._writable

    @property
    def unread(self) -> int:
        """Bytes that were written and that the client's side has not taken, here and in the kernel."""
        waiting = self._transport.get_write_buffer_size()
        with contextlib.suppress(OSError):
            own = self._transport.get_extra_info("socket")
            waiting += int.from_bytes(fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return waiting

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

        A closed socket and one that is closed for sending look the same until something is written to it: what every
        client has to skip, an interim answer or a comment in a stream, and one that is gone answers it with a reset.
        """
        if self._exchanges and self._writable:
            self._transport.write(self._exchanges[0].probe)

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

    def _begin(self, head: RequestHead) -> Exchange:
        new = Exchange if head.target.operation is _INFER else exchange_of
        exchange = self._receiving = new(self, self._worker, head)
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1 and self._writable:
            exchange.open()
        return exchange

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
