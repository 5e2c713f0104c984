"""The load: connections that send the next request when the last is answered (a closed loop), and what came back.

A machine with a GPU need not have `wrk`, so this is Python: uvloop, one protocol object for each connection, no task
for each request. At a few ten thousand requests a second it is the client that is measured; behind Triton's Python
backend nobody gets there. A request without an answer is an answer of status 0 that says why: none is lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter  # uvloop's own clock counts in milliseconds
from typing import NamedTuple

from httptools import HttpParserError, HttpResponseParser

HOST = "127.0.0.1"
OK = 200
_PATIENCE_S = 10.0
_LOOK_S = 0.5
_MS = 1_000.0


class Answer(NamedTuple):
    """What became of one request.

    Attributes:
        number: which it was, from 0, in the order in which they were taken from the list.
        took_s: seconds from its sending until the answer was whole.
        status: the HTTP status; 0 where there was no answer.
        headers: by name in lower case.
        body: of the answer.
        error: why there was none.
    """

    number: int
    took_s: float
    status: int
    headers: Mapping[bytes, bytes] = {}
    body: bytes = b""
    error: str = ""

    @property
    def failure(self) -> str:
        """What went wrong, in a line; empty where nothing did."""
        if self.status == OK:
            return ""
        said = self.body[:200].decode("utf-8", "replace")
        return f"{self.status} {said}" if self.status else self.error


@dataclass(slots=True)
class Load:
    """What a stretch of load found.

    Attributes:
        took_s: how long it lasted, seconds.
        latencies_s: of the requests that were answered well.
        versions: how many answers came from each version, as the gateway's header says; empty without a gateway.
        failures: one line for each request that was not answered well.
    """

    took_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def rps(self) -> float:
        """Good answers in a second."""
        return len(self.latencies_s) / self.took_s if self.took_s else 0.0

    def percentile_ms(self, percentage: float) -> float:
        """The latency that so many of 100 good answers did not exceed (nearest rank); NaN where there was none."""
        ordered = sorted(self.latencies_s)
        if not ordered:
            return float("nan")
        return ordered[min(len(ordered) - 1, int(len(ordered) * percentage / 100))] * _MS

    def hear(self, answer: Answer) -> None:
        """Takes an answer down."""
        if failure := answer.failure:
            self.failures.append(failure)
            return
        self.latencies_s.append(answer.took_s)
        if version := answer.headers.get(b"sluice-version"):
            self.versions[int(version)] += 1


async def ask(port: int, requests: Sequence[bytes], connections: int) -> Sequence[Answer]:
    """The answers to these requests, in the order of the requests."""
    answers: list[Answer] = []
    await send(port, requests, connections, answers.append)
    unsent = set(range(len(requests))) - {answer.number for answer in answers}
    lost = (Answer(number, 0.0, 0, error="no connection was left to send it on") for number in unsent)
    return sorted(chain(answers, lost))


async def drive(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Load with this one request for so long."""
    load, began = Load(), perf_counter()
    await send(port, _until(began + seconds, request), connections, load.hear)
    load.took_s = perf_counter() - began
    return load


def _until(end_s: float, request: bytes) -> Iterator[bytes]:
    while perf_counter() < end_s:
        yield request


async def send(port: int, requests: Iterable[bytes], connections: int, hear: Callable[[Answer], None]) -> None:
    """Sends the requests over so many connections; returns when each that was sent has come to its end.

    A connection that breaks takes no further request, and is not replaced: it is a failure, not weather.
    """
    loop, feed = asyncio.get_running_loop(), enumerate(requests)
    lines: list[_Connection] = []
    for _ in range(connections):
        try:
            _, line = await loop.create_connection(lambda: _Connection(feed, hear), HOST, port)
        except OSError as error:
            hear(Answer(-1, 0.0, 0, error=f"not connected: {error}"))
        else:
            lines.append(line)
    for line in lines:
        line.begin()
    pending = {line.ended for line in lines}
    while pending:
        _, pending = await asyncio.wait(pending, timeout=_LOOK_S)
        for line in lines:
            line.look(perf_counter())


class _Connection(asyncio.Protocol):
    """One connection with one request on it."""

    def __init__(self, feed: Iterator[tuple[int, bytes]], hear: Callable[[Answer], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._feed = feed
        self._hear = hear
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._number: int | None = None
        self._sent_s = 0.0
        self._headers: dict[bytes, bytes] = {}
        self._body = b""

    def begin(self) -> None:
        """Sends the first request; each later one follows an answer."""
        self._next()

    def look(self, now_s: float) -> None:
        """Gives up on an answer that is long overdue."""
        if self._number is not None and now_s - self._sent_s > _PATIENCE_S:
            self._fail(f"no answer within {_PATIENCE_S:g} s")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(f"no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """For asyncio."""
        self._fail(f"the connection was lost: {exc or 'closed by the other side'}")

    def on_message_begin(self) -> None:
        """For httptools, as the rest."""
        self._headers, self._body = {}, b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._number is None:
            self._fail("an answer that nobody asked for")
            return
        number, self._number = self._number, None
        took_s, status = perf_counter() - self._sent_s, self._parser.get_status_code()
        self._hear(Answer(number, took_s, status, self._headers, self._body))
        self._next()

    def _next(self) -> None:
        if self.ended.done():
            return
        following = next(self._feed, None)
        if following is None:
            self._end()
            return
        self._number, request = following
        self._sent_s = perf_counter()
        if self._transport:
            self._transport.write(request)

    def _fail(self, why: str) -> None:
        if self.ended.done():
            return
        number, self._number = self._number, None
        if number is not None:
            self._hear(Answer(number, perf_counter() - self._sent_s, 0, error=why))
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self._transport:
            self._transport.abort()
