"""The gateway's side that faces Triton: a pool of warm connections per replica, one `asyncio.Protocol` each.

Here is what speaks HTTP/1.1; a replica's connections for gRPC are in `grpc.lines`. A connection carries one attempt at
a time. What comes back is handed on as a head, pieces and an end; a whole answer that came in one read is handed on as
one. Which replica a request goes to is decided elsewhere, and so is what happens when one breaks off.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar, cast

from httptools import HttpParserError, HttpResponseParser

from serving.endpoint import NO_LOAD, Endpoint
from serving.gateway.counters import Ended, Outcome, Role, Series
from serving.gateway.grpc.lines import Lines
from serving.gateway.health import Health
from serving.gateway.remembered import Remembered
from serving.gateway.streaming import StreamWatch

_log = logging.getLogger(__name__)
_HOP_BY_HOP = frozenset(
    (b"connection", b"content-length", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
     b"upgrade")
)  # fmt: skip
_OURS = b"sluice-"
_NO_BODY = frozenset((204, 304))
_FIRST_FINAL = 200
_NAMES_NO_HEADER = frozenset((b"close", b"keep-alive"))
_CHUNKED = -1  # in the place of a length
_Connection = TypeVar("_Connection", bound=asyncio.Protocol)


class Trust(NamedTuple):
    """What an encrypted server's certificate is checked with, by the protocol that it is asked for."""

    http_1: ssl.SSLContext
    http_2: ssl.SSLContext


class AnswerHead(NamedTuple):
    """The head of an upstream's answer.

    Attributes:
        code: the status code.
        phrase: the reason phrase as the upstream wrote it.
        headers: the end-to-end headers, each line ended, ready to be written.
        length: of the body in bytes, None where the upstream did not say.
    """

    code: int
    phrase: bytes
    headers: bytes
    length: int | None


class Attempt(Protocol):
    """What a connection carries: told of everything that comes of it."""

    __slots__ = ()

    @abstractmethod
    def awaits(self, upstream: Upstream) -> bool:
        """Whether it still waits for a connection to this upstream."""

    @abstractmethod
    def on_connected(self, connection: UpstreamConnection) -> None:
        """A connection stands: the request may be written."""

    @abstractmethod
    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand."""

    @abstractmethod
    def on_upstream_lost(self, connection: UpstreamConnection) -> None:
        """It broke before the answer was complete."""

    @abstractmethod
    def on_upstream_full(self) -> None:
        """It takes no more for now."""

    @abstractmethod
    def on_upstream_ready(self) -> None:
        """It takes more."""

    @abstractmethod
    def on_answer(self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes]) -> None:
        """A part of the answer."""

    @abstractmethod
    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """The rest of the answer, or all of it."""


class Upstream:
    """One Triton that answers for one version: its address, its connections, what it is busy with and how it fares.

    Args:
        endpoint: where it is.
        loop: that of the worker.
        connect_timeout_s: how long a connection may take to stand, its handshake included.
        health: how it fares.
        known: heads of answers that were parsed before.
        tls: what an encrypted one's certificate is checked with; for such endpoints only.
    """

    __slots__ = (
        "_connect_timeout_s", "_dials", "_distrusted", "_loop", "_series", "_tls", "capacity", "closed", "grpc_port",
        "health", "host", "idle", "in_flight", "known", "lines", "load", "model", "place", "port", "priority_levels",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        loop: asyncio.AbstractEventLoop,
        connect_timeout_s: float,
        health: Health,
        known: Remembered[AnswerHead],
        *,
        tls: Trust | None = None,
    ) -> None:
        self._tls = tls
        self._distrusted = False
        self.host = endpoint.host
        self.port = endpoint.http_port
        self.grpc_port = endpoint.grpc_port
        self.lines = Lines(self, loop) if endpoint.grpc_port else None
        """Its connections for gRPC; None where it has no port for that."""
        self.place = f"{endpoint.host}:{endpoint.http_port}\0".encode()
        """Names it among the replicas of its version."""
        self.model = endpoint.model
        self.version = endpoint.version
        self.capacity = endpoint.capacity
        """How many requests it works on at once."""
        self.priority_levels = endpoint.priority_levels
        """That its model's queue has."""
        self.load = NO_LOAD
        """How busy it was when its lease was last read."""
        self.health = health
        self.known = known
        self.idle: list[UpstreamConnection] = []
        self.in_flight = 0
        self.closed = False
        self._series: list[Series | None] = [None] * len(Role)
        self._loop = loop
        self._connect_timeout_s = connect_timeout_s
        self._dials: set[asyncio.Task[None]] = set()

    @property
    def ejected(self) -> bool:
        """Whether it is to be left alone for now."""
        return self.health.ejected

    @property
    def firsts(self) -> Series | None:
        """First attempts; None where there was none."""
        return self._series[Role.FIRST]

    def count_prediction(self, label: str) -> None:
        """The answer to a first attempt, which is counted as any other, predicts this."""
        series = self._series[Role.FIRST]
        if series is None:
            series = self._series[Role.FIRST] = Series()
        series.add_prediction(label)

    def count(self, role: Role, outcome: Outcome, seconds: float) -> int:
        """One more attempt is over; the bucket of how long it took."""
        series = self._series[role]
        if series is None:
            series = self._series[role] = Series()
        return series.add(outcome, seconds)

    def count_stream(self, role: Role, watch: StreamWatch, how: Ended) -> None:
        """The answer to an attempt, which is counted as any other, was a stream: what that was like."""
        series = self._series[role]
        if series is None:
            series = self._series[role] = Series()
        series.add_stream(watch, how)

    def counted(self) -> Iterator[tuple[Role, Series]]:
        """What was counted, by role."""
        for role, series in zip(Role, self._series, strict=True):
            if series is not None:
                yield role, series

    def carry(self, attempt: Attempt) -> None:
        """Sends the attempt on a warm connection, or on a new one as soon as it stands."""
        if self.idle:
            self.idle.pop().begin(attempt)
        else:
            self.dial(attempt)

    def dial(self, attempt: Attempt) -> None:
        """Sends the attempt on a connection that nobody has used."""
        task = self._loop.create_task(self._dial(attempt))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def warm_up(self) -> None:
        """Opens one connection ahead of the first request; a failure is left for that request to find."""
        try:
            connection = await self._connect()
        except OSError:
            return
        connection.rest()

    def retire(self) -> None:
        """No more requests: idle connections close now, busy ones after their answer."""
        self.closed = True
        if self.lines is not None:
            self.lines.retire()
        for connection in self.idle:
            connection.close()
        self.idle.clear()

    def close_idle_since(self, limit: float) -> None:
        """Closes what has rested since before `limit` (seconds of the loop's clock), before the upstream does."""
        while self.idle and self.idle[0].rested_at < limit:  # the longest rest is at the front
            self.idle.pop(0).close()

    async def _dial(self, attempt: Attempt) -> None:
        try:
            connection = await self._connect()
        except OSError:  # TimeoutError is one
            attempt.on_refused(self)
            return
        if connection.gone:  # accepted and dropped at once: nothing was sent on it
            attempt.on_refused(self)
        elif attempt.awaits(self):
            connection.begin(attempt)
        else:
            connection.rest()

    async def _connect(self) -> UpstreamConnection:
        return await self.connect(lambda: UpstreamConnection(self, self._loop), self.port)

    async def connect(self, new: Callable[[], _Connection], port: int, *, http_2: bool = False) -> _Connection:
        """A connection to one of its ports.

        Args:
            new: makes its protocol.
            port: which.
            http_2: whether that is spoken there, which matters to an encrypted one.

        Raises:
            OSError: it did not come to stand in time, or is not trusted.
        """
        async with asyncio.timeout(self._connect_timeout_s):
            if self._tls is None:
                _, protocol = await self._loop.create_connection(new, self.host, port)
                return protocol
            trust = self._tls.http_2 if http_2 else self._tls.http_1
            try:
                _, protocol = await self._loop.create_connection(
                    new, self.host, port, ssl=trust, server_hostname=self.host
                )
            except ssl.SSLError as error:
                self._distrust(error)
                raise
        self._distrusted = False
        return protocol

    def _distrust(self, error: ssl.SSLError) -> None:
        """Says once why nothing is sent there: to whoever asks, it looks like a replica that is away."""
        if not self._distrusted:
            words = getattr(error, "verify_message", "") or error.reason or "no TLS"
            _log.error("%s/%d at %s:%d is not trusted: %s", self.model, self.version, self.host, self.port, words)
        self._distrusted = True


class UpstreamConnection(asyncio.Protocol):
    """One connection to a Triton."""

    __slots__ = (
        "_answer", "_attempt", "_between", "_complete", "_headers", "_keep_alive", "_length", "_loop", "_named",
        "_parser", "_phrase", "_pieces", "_rest", "_surplus", "_transport", "_upstream", "full", "rested_at",
    )  # fmt: skip

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self.rested_at = 0.0
        self.full = False
        """Whether the upstream takes no more for now."""
        self._upstream = upstream
        self._loop = loop
        self._attempt: Attempt | None = None
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._phrase = b""
        self._headers: list[bytes] = []
        self._named: list[bytes] = []  # headers that end here because the answer's Connection names them
        self._length: int | None = None
        self._answer: AnswerHead | None = None
        self._pieces: list[bytes] = []
        self._complete = False
        self._keep_alive = False
        self._surplus = False
        self._between = False  # nothing of the answer has come yet
        self._rest = 0  # bytes of the body still to come past the parser, which would copy each

    @property
    def gone(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    # What an attempt asks of it.

    def begin(self, attempt: Attempt) -> None:
        """Takes the attempt; it writes its request at once."""
        self._attempt = attempt
        self._between = True
        attempt.on_connected(self)

    def write(self, data: bytes) -> None:
        """Bytes of the request, framed by the attempt."""
        self._transport.write(data)

    def writelines(self, pieces: list[bytes]) -> None:
        """The same in one system call."""
        self._transport.writelines(pieces)

    def pause(self) -> None:
        """The client does not read: leave the rest of the answer in the kernel."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """The client reads again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def rest(self) -> None:
        """Back into the pool, or away where the pool is closed."""
        if self._upstream.closed or self._transport.is_closing():
            self._transport.close()
            return
        self.rested_at = self._loop.time()
        self._upstream.idle.append(self)

    def close(self) -> None:
        """Closes without a word to any attempt: a request under way is thereby cancelled upstream."""
        self._attempt = None
        self._transport.abort()

    # What the transport tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parses what came and hands it on in as few steps as it came in."""
        attempt = self._attempt
        if attempt is None:  # bytes that nobody asked for
            self._drop_from_pool()
            return
        if self._rest:
            self._take_rest(data)
            self._hand_on(attempt)
            return
        between, self._between = self._between, False
        known = self._upstream.known.whole(data) if between else None
        if known is not None:
            self._attempt = None
            head, body = known
            attempt.on_answer_end(self, head, [body], keep_alive=True)
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            if not self._complete:  # else: bytes after an answer that said it was the last
                self._lost()
                return
            self._keep_alive = False
        answer = self._answer
        if answer is not None:
            if not self._complete:
                self._pass_by_parser(answer)
            elif between and self._keep_alive:
                self._upstream.known.put(data, answer)
        self._hand_on(attempt)

    def eof_received(self) -> bool:
        """Nothing more will come: closes our side too. One that rests is used no more."""
        if self._attempt is None:
            self._drop_from_pool()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer without a length ends here; any other breaks off."""
        attempt = self._attempt
        if attempt is None:
            self._drop_from_pool()
        elif exc is None and self._answer is not None and self._length is None:
            self._complete, self._keep_alive = True, False
            self._hand_on(attempt)
        else:
            self._lost()

    def pause_writing(self) -> None:
        """The upstream does not read: the client has to wait."""
        self.full = True
        if self._attempt is not None:
            self._attempt.on_upstream_full()

    def resume_writing(self) -> None:
        """The upstream reads again."""
        self.full = False
        if self._attempt is not None:
            self._attempt.on_upstream_ready()

    # What the parser tells it.

    def on_message_begin(self) -> None:
        """A second answer to one request: take the first and trust the connection no further."""
        if self._complete:
            self._keep_alive = False
            self._surplus = True

    def on_status(self, phrase: bytes) -> None:
        """The reason phrase; may come in pieces."""
        if self._answer is None:
            self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps end-to-end headers as lines; those after the body (trailers) end here."""
        if self._answer is not None:
            return
        lower = name.lower()
        if lower in _HOP_BY_HOP:
            if lower == b"content-length":
                self._length = int(value)
            elif lower == b"transfer-encoding":
                self._take_encoding(value)
            elif lower == b"connection":
                self._named += value.lower().replace(b" ", b"").split(b",")
            return
        if not lower.startswith(_OURS):
            self._headers.append(b"%s: %s\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        """The head stands, unless it is only a 1xx."""
        code = self._parser.get_status_code()
        if code < _FIRST_FINAL or self._surplus:
            return
        length = None if self._length == _CHUNKED else self._length
        if code in _NO_BODY:
            length = 0
        if self._named:
            self._drop_named()
        self._answer = AnswerHead(code, self._phrase, b"".join(self._headers), length)
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, chunk framing removed."""
        if not self._surplus:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The answer is whole; a 1xx is forgotten."""
        if self._answer is None:
            self._clear()
        else:
            self._complete = True

    # Its own steps.

    def _take_encoding(self, value: bytes) -> None:
        if value.strip().lower() != b"chunked":
            raise ValueError("an answer in a transfer coding that cannot be relayed")  # ends as a broken answer
        self._length = _CHUNKED

    def _drop_named(self) -> None:
        names = set(self._named) - _NAMES_NO_HEADER
        if names:
            self._headers = [line for line in self._headers if line.partition(b":")[0].lower() not in names]

    def _pass_by_parser(self, answer: AnswerHead) -> None:
        """A body whose length is known has nothing to parse, and begins in the read that ended its head."""
        if answer.length is not None and not self._surplus:
            self._rest = answer.length - sum(map(len, self._pieces))

    def _take_rest(self, data: bytes) -> None:
        """More of such a body, or its end."""
        over = len(data) - self._rest
        if over < 0:
            self._rest = -over
        else:
            self._parser = HttpResponseParser(self)  # the old one waits for the body
            self._rest, self._complete = 0, True
            if over:  # bytes after the answer: take it, and trust the connection no further
                self._keep_alive = False
                data = data[:-over]
        self._pieces.append(data)

    def _hand_on(self, attempt: Attempt) -> None:
        answer = self._answer
        if answer is None:
            return
        pieces, self._pieces = self._pieces, []
        if not self._complete:
            attempt.on_answer(self, answer, pieces)
            return
        keep_alive = self._keep_alive
        self._attempt = None
        self._clear()
        attempt.on_answer_end(self, answer, pieces, keep_alive=keep_alive)

    def _clear(self) -> None:
        self._phrase = b""
        self._headers = []
        self._named = []
        self._length = None
        self._answer = None
        self._pieces = []
        self._complete = False
        self._keep_alive = False
        self._surplus = False
        self._rest = 0

    def _lost(self) -> None:
        attempt, self._attempt = self._attempt, None
        self._transport.abort()
        if attempt is not None:
            attempt.on_upstream_lost(self)

    def _drop_from_pool(self) -> None:
        if self in self._upstream.idle:
            self._upstream.idle.remove(self)
        self._transport.abort()
