"""Whatever bytes a client sends, an upstream sees its requests and no others, and each is answered once.

FUZZ_CASES says how many streams are tried; without it the same few hundred are tried every time, and the same two
thousand in the slow set.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, cast

import h11
import pytest
import uvloop
from hypothesis import HealthCheck, given, note, settings

from router.policy import Policy
from serving.access.keys import KeyRecord
from serving.access.roles import Role
from serving.endpoint import Endpoint
from tests.examples import examples
from tests.serving.gateway.callers import Holder, lets_in
from tests.serving.gateway.reference import Ending, Reading, Told, read_stream
from tests.serving.gateway.rig import HEAD, PATIENCE_S, Rig, eventually, running
from tests.serving.gateway.streams import KEY, Stream, streams
from tests.serving.gateway.wire import Answer, Answers

CASES = int(os.environ.get("FUZZ_CASES") or examples(2000))
SHOWN = 3000
_SHOWN_KEY = re.compile(rb"(?i:bearer) +%s" % KEY.text.encode())
_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding"))
Seen = tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...], bytes]


class Upstream(asyncio.Protocol):
    """One connection of the upstream, which reads by h11 and answers each request with its number.

    Args:
        desk: what the connections share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._transport: asyncio.Transport
        self._parser = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Reads strictly; a second request before the answer to the first is a mistake, too."""
        try:
            self._parser.receive_data(data)
            while not isinstance(event := self._parser.next_event(), type):
                if isinstance(event, h11.Request):
                    self._request = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    self._answer()
                    return
        except h11.RemoteProtocolError as error:
            self._desk.mistakes.append(f"{error}: {data[:200]!r}")
            self._transport.abort()

    def _answer(self) -> None:
        request, rest = self._request, self._parser.trailing_data[0]
        if request is None or rest:
            raise h11.RemoteProtocolError(f"bytes after a request: {rest[:200]!r}")
        headers = tuple(
            (bytes(name), bytes(value)) for name, value in request.headers.raw_items() if name.lower() not in _FRAMING
        )
        number = len(self._desk.seen)
        self._desk.seen.append((bytes(request.method), bytes(request.target), headers, bytes(self._body)))
        self._parser, self._request, self._body = h11.Connection(h11.SERVER), None, bytearray()
        self._transport.write(_ANSWERS[self._desk.style] % number)
        if self._desk.style == _UNTIL_END:
            self._transport.close()


_UNTIL_END = 2
_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 2\r\n\r\n{}",
]


class Desk:
    """What the upstream's connections share.

    Attributes:
        seen: complete requests, without their framing.
        mistakes: what h11 would not read.
        style: how answers are framed.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.mistakes: list[str] = []
        self.style = 0


class Caller(asyncio.Protocol):
    """The client."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.reset = False
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`."""
        self.data += data
        self._news.set()

    def eof_received(self) -> bool:
        """The gateway says no more; what was to be sent is sent all the same."""
        self.ended = True
        self._news.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        self.ended = True
        self.reset = exc is not None
        self._news.set()

    async def until(self, holds: Callable[[], bool], otherwise: str) -> None:
        """Waits until it holds; a connection that has ended brings nothing more."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not self.ended and not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{otherwise}; it has {bytes(self.data[-300:])!r}") from None


@dataclass
class Front:
    """A gateway that outlives many streams, with an upstream that reads strictly."""

    loop: asyncio.AbstractEventLoop
    rig: Rig
    desk: Desk
    required: bool

    def lets_in(self, told: Told) -> bool:
        """Whether whoever sent this shows the key, or shows nothing and need not."""
        shown = told.all(b"authorization")
        return not self.required if not shown else len(shown) == 1 and bool(_SHOWN_KEY.fullmatch(shown[0]))

    def play(self, stream: Stream) -> Caller:
        """What a client got that sent this."""
        return self.loop.run_until_complete(self._play(stream))

    async def _play(self, stream: Stream) -> Caller:
        self.desk.seen.clear()
        self.desk.style = stream.style
        transport, caller = await self.loop.create_connection(Caller, "127.0.0.1", self.rig.port)
        for piece in stream.pieces:
            if not transport.is_closing():
                transport.write(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if stream.resets:
            transport.abort()
        else:
            if stream.waits:
                reading = read_stream(stream.data)
                await caller.until(
                    lambda: len(_read(bytes(caller.data), reading)[0]) >= len(reading.requests),
                    "the client waits for an answer",
                )
            if not transport.is_closing():
                transport.write_eof()
            await caller.until(lambda: False, "the gateway keeps a connection that its client has closed")
        transport.abort()
        await eventually(lambda: not self.rig.worker.clients and not self.rig._in_flight())
        return caller


@pytest.fixture(scope="module", params=[False, True], ids=["open", "asks for keys"])
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    """One loop and one gateway for all streams, which asks nobody for a key, or everybody."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    context: AbstractAsyncContextManager[Rig] = running(max_header=4096, max_body=1_000_000)
    rig = loop.run_until_complete(context.__aenter__())
    lets_in(rig.worker, Holder(KEY, KeyRecord(KEY.id, "fuzz", KEY.digest, Role.OPERATE)), required=request.param)
    desk = Desk()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = loop.run_until_complete(loop.create_server(lambda: Upstream(desk), sock=listener))
    endpoint = Endpoint("127.0.0.1", port, 0, "m", 1)
    loop.call_soon(lambda: rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(1)}, [endpoint])))
    loop.run_until_complete(asyncio.sleep(0))
    yield Front(loop, rig, desk, request.param)
    loop.run_until_complete(context.__aexit__(None, None, None))
    server.close()
    loop.run_until_complete(asyncio.sleep(0.01))
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.timeout(60 + CASES // 20)
@settings(
    max_examples=CASES,
    deadline=None,
    derandomize="FUZZ_CASES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(stream=streams())
def test_any_bytes(front: Front, stream: Stream) -> None:
    """Nothing crashes, nothing hangs, no request is smuggled in and none is answered twice, whatever a client sends."""
    reading = read_stream(stream.data)
    caller = front.play(stream)
    note(f"read {reading!r:.{SHOWN}}")
    note(f"got {bytes(caller.data)!r:.{SHOWN}}")
    note(f"upstream saw {front.desk.seen!s:.{SHOWN}}")
    assert not front.desk.mistakes
    assert not front.rig.complaints
    _check_seen(front.desk.seen, [told for told in reading.requests if front.lets_in(told)])
    answers, rest = _read(bytes(caller.data), reading)
    assert not rest or caller.reset or stream.resets
    _check_answers(answers, reading, front.desk.seen)
    for told, answer in zip(reading.requests, answers, strict=False):
        _check_door(told, answer, let_in=front.lets_in(told))
    if stream.sound and not stream.resets:
        _check_complete(answers, reading)


def _read(data: bytes, reading: Reading) -> tuple[list[Answer], bytes]:
    """The final answers, and what is left of the bytes."""
    found: list[Answer] = []
    coming = Answers(data)
    while coming.data:
        before = bytes(coming.data)
        known = len(found) < len(reading.requests)
        coming.method = reading.requests[len(found)].method if known else b"POST"
        answer = coming.next(ended=True)
        if answer is None and not known:  # to a request that could not be read, and may have been a HEAD
            coming = Answers(before, b"HEAD")
            answer = coming.next(ended=True)
        if answer is None:
            return found, before
        if answer.code >= 200:
            found.append(answer)
            if _is_whole_refusal(answer, bytes(coming.data)):
                return found, b""
    return found, b""


def _is_whole_refusal(answer: Answer, rest: bytes) -> bool:
    """Whether it refuses a head that could not be read, not even as far as to know that it was a HEAD."""
    return (
        answer.code == 400
        and answer.one("connection") == b"close"
        and answer.one("content-length") == b"%d" % len(rest)
    )


def _check_seen(seen: list[Seen], let_in: list[Told]) -> None:
    """The upstream saw requests that the client had a right to, in their order, each once at most, and no key."""
    sent = iter([told.relayed for told in let_in])
    for one in seen:
        assert not {name.lower() for name, _ in one[2]} & {b"authorization", b"cookie"}
        assert any(one == other for other in sent), f"the upstream saw {one}"


def _check_door(told: Told, answer: Answer, *, let_in: bool) -> None:
    """Who has no right to it gets 401 and the connection's end, unless nothing could be made of what they sent."""
    if let_in:
        assert answer.code != 401
    elif b"/v2/health/" not in told.target:
        assert answer.code in {400, 401}
        assert answer.code == 400 or answer.one("connection") == b"close"


def _check_answers(answers: list[Answer], reading: Reading, seen: list[Seen]) -> None:
    """Each answer is the one to the request in its place, and the last is the last."""
    unreadable = reading.ending in {Ending.LOST, Ending.PARTIAL} or reading.drags_on
    assert len(answers) <= len(reading.requests) + unreadable
    numbers = [int(number) for answer in answers for number in answer.all("x-number")]
    assert numbers == list(range(len(numbers)))
    for place, answer in enumerate(answers):
        assert answer.one("connection") != b"close" or place == len(answers) - 1
        number = answer.one("x-number")
        assert (number is None) == (answer.one("sluice-request-id") is None)
        assert number is None or seen[int(number)] == reading.requests[place].relayed
    ids: list[Any] = [answer.one("sluice-request-id") for answer in answers if answer.all("x-number")]
    assert len(set(ids)) == len(ids)


def _check_complete(answers: list[Answer], reading: Reading) -> None:
    """Of a sound stream every request is answered, and the connection ends early only for a reason."""
    told = reading.requests[: len(answers)]
    last_closes = bool(answers) and answers[-1].one("connection") == b"close"
    assert len(answers) == len(reading.requests) or (last_closes and _may_close(told[-1], answers[-1]))
    assert last_closes or not told or not told[-1].closes


def _may_close(told: Told, answer: Answer) -> bool:
    holds_back = b"100-continue" in {value.lower() for value in told.all(b"expect")}
    return told.closes or not told.http_1_1 or answer.code == 401 or (holds_back and not answer.all("x-number"))
