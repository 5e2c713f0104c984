"""A constant stream of requests, and what became of each: open loop, so that a server that stalls hides nothing.

A request is due at a moment of the timetable, whatever became of those before it. Its latency counts from that moment,
not from when a connection was free for it (what is called coordinated omission is left out by nobody here). One loop,
raw connections, one request on each at a time: at some hundred requests a second the client costs a few per cent of a
core, so that it does not measure itself.

What is sent and whether an answer is right is its caller's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from httptools import HttpParserCallbackError, HttpParserError, HttpResponseParser

TIMEOUT_S = 10.0
_TICK_S = 0.002


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    Attributes:
        number: which it was, from 0.
        due_s: when it was due, seconds of the loop's clock.
        took_s: from then until the answer was whole, seconds.
        status: the HTTP status; 0 where there was no answer.
        headers: by name in lower case.
        body: of the answer.
        error: why there was none.
        sent_s: when it went out, seconds of the loop's clock; 0 where it never did.
    """

    number: int
    due_s: float
    took_s: float
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    sent_s: float = 0.0


class Steady:
    """Sends requests at a constant rate for as long as the block lasts, and hands each answer to `hear`.

    Args:
        host: where to.
        port: where to.
        rate: requests a second.
        request: the bytes of request number n.
        hear: told of each answer, in the loop.
        connections: how many at most; a request for which none is free waits, and its latency with it.
    """

    def __init__(
        self,
        host: str,
        port: int,
        rate: float,
        request: Callable[[int], bytes],
        hear: Callable[[Answer], None],
        *,
        connections: int = 64,
    ) -> None:
        self._place = host, port
        self._rate = rate
        self._request = request
        self._hear = hear
        self._most = connections
        self._open = 0
        self._free: list[_Connection] = []
        self._waiting: deque[tuple[int, float]] = deque()
        self._unanswered = 0
        self._last = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._clock = asyncio.create_task(self._keep_time())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._clock:
            self._clock.cancel()
        if self._unanswered:  # each ends by itself, answered or timed out
            await self._last.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # a connection that is being made is then free, too
        for connection in self._free:
            connection.close()

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        while True:
            while (due_s := began + number / self._rate) <= loop.time():
                self._unanswered += 1
                self._last.clear()
                self._waiting.append((number, due_s))
                number += 1
            self._send()
            await asyncio.sleep(_TICK_S)

    def _send(self) -> None:
        while self._waiting and self._free:
            number, due_s = self._waiting.popleft()
            self._free.pop().ask(number, due_s, self._request(number))
        for _ in range(min(len(self._waiting), self._most - self._open)):
            self._open += 1
            task = asyncio.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: _Connection(self), *self._place)
        except OSError as error:  # a refused connection is a request that failed, not one that waits for better times
            self._open -= 1
            if self._waiting:
                number, due_s = self._waiting.popleft()
                self.told(Answer(number, due_s, loop.time() - due_s, 0, error=f"not connected: {error}"))
            self._send()
            return
        self.freed(connection)

    # What the connections say.

    def told(self, answer: Answer) -> None:
        """A request has come to its end."""
        self._unanswered -= 1
        self._hear(answer)
        if self._unanswered == 0:
            self._last.set()

    def freed(self, connection: _Connection) -> None:
        """A connection can take the next request."""
        self._free.append(connection)
        self._send()

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._open -= 1
        if connection in self._free:
            self._free.remove(connection)
        self._send()  # what waits for a connection needs another one


class _Connection(asyncio.Protocol):
    """One connection with one request on it at most."""

    def __init__(self, owner: Steady) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._asked: tuple[int, float] | None = None
        self._sent_s = 0.0
        self._timeout: asyncio.TimerHandle | None = None
        self._parser = HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def ask(self, number: int, due_s: float, request: bytes) -> None:
        """Sends the request that was due at that moment."""
        self._asked, self._sent_s = (number, due_s), self._loop.time()
        self._timeout = self._loop.call_later(TIMEOUT_S, self._end, 0, f"no answer within {TIMEOUT_S:g} s")
        if self._transport:
            self._transport.write(request)

    def close(self) -> None:
        """Ends the connection."""
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError:  # a mistake of whoever hears the answers must not pass for one of the server
            raise
        except HttpParserError as error:
            self._end(0, f"no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio."""
        self._end(0, f"the connection was lost: {exc}")
        self._owner.lost(self)

    def on_message_begin(self) -> None:
        """For httptools, as the rest."""
        self._headers, self._body = {}, bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The answer is whole."""
        stays = self._parser.should_keep_alive()
        self._end(self._parser.get_status_code())
        if stays:
            self._owner.freed(self)
        else:
            self.close()

    def _end(self, status: int, error: str = "") -> None:
        if self._asked is None:
            return
        (number, due_s), self._asked = self._asked, None
        if self._timeout:
            self._timeout.cancel()
        took_s = self._loop.time() - due_s
        self._owner.told(Answer(number, due_s, took_s, status, self._headers, bytes(self._body), error, self._sent_s))
        if not status:
            self.close()
