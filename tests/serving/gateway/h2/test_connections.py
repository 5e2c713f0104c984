"""Connections over real sockets: how they begin, how long they may be silent, how they end, and what they write."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from serving.gateway.config import WorkerConfig
from serving.gateway.h2.client import ClientConnection
from serving.gateway.h2.frames import LAST_STREAM, ErrorCode
from serving.gateway.h2.server import ServerConnection
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import Fields, ServerStream
from serving.gateway.pauses import Pauses
from serving.tls import HTTP_2, ServerCertificate, client_context
from tests.serving.certificates import Authority
from tests.serving.gateway.h2.ends import Echo, Told
from tests.serving.gateway.h2.wire import (
    ACK,
    ANSWER,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    REQUEST,
    RST,
    TRAILERS,
    Frame,
    data,
    frame,
    head,
    long,
    read,
    settings,
)  # fmt: skip

_PATIENCE_S = 10.0
_CONFIG = WorkerConfig(worker="w")
_HELLO = PREFACE + settings()


@dataclass
class Site:
    """A server, its connections, and their handlers."""

    port: int
    open: list[ServerConnection] = field(default_factory=list)
    closed: list[ServerConnection] = field(default_factory=list)
    handlers: list[Told] = field(default_factory=list)

    @property
    def connection(self) -> ServerConnection:
        """The latest."""
        return self.open[-1]


@asynccontextmanager
async def _site(
    make: Callable[[], Told] = Echo,
    limits: Limits | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    on_open: Callable[[ServerConnection], None] = lambda _: None,
    pauses: Pauses | None = None,
) -> AsyncIterator[Site]:
    site, loop = Site(0), asyncio.get_running_loop()

    def begin(stream: ServerStream, _fields: Fields) -> Told:
        handler = make()
        handler.stream = stream
        site.handlers.append(handler)
        return handler

    def opened(connection: ServerConnection) -> None:
        site.open.append(connection)
        on_open(connection)

    def new() -> ServerConnection:
        return ServerConnection(
            begin, limits or Limits(), loop, on_open=opened, on_close=site.closed.append, pauses=pauses
        )

    server = await loop.create_server(new, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for connection in site.open:
            connection.cut()
        await _until(lambda: len(site.closed) == len(site.open))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not holds():  # noqa: ASYNC110 (what is waited for is not ours to set an event)
            await asyncio.sleep(0.005)


class Raw:
    """A client that says bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._found: list[Frame] = []
        self._got = b""

    async def frames(self, wanted: Callable[[list[Frame]], bool]) -> list[Frame]:
        """What came, once it is what was wanted; or the end."""
        async with asyncio.timeout(_PATIENCE_S):
            while not wanted(found := self._whole()):
                more = await self._reader.read(65_536)
                assert more, f"the server has closed after {found}"
                self._got += more
        return found

    async def kinds(self, *kinds: int) -> list[Frame]:
        """The same, once a frame of each of these kinds has come."""
        return await self.frames(lambda found: set(kinds) <= {each.kind for each in found})

    async def rest(self) -> bytes:
        """What has not been read of it, to the end."""
        async with asyncio.timeout(_PATIENCE_S):
            return self._got + await self._reader.read()

    def _whole(self) -> list[Frame]:
        at, got = 0, self._got
        while len(got) >= at + 9 and len(got) >= (end := at + 9 + int.from_bytes(got[at : at + 3], "big")):
            self._found += read(got[at:end])
            at = end
        self._got = got[at:]
        return self._found


@asynccontextmanager
async def _raw(site: Site, said: bytes = _HELLO, tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=tls)
    writer.write(said)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def test_a_call() -> None:
    """A request is answered, and the connection is counted in and out."""
    async with _site() as site:
        async with _raw(site, _HELLO + head(1) + data(1, b"abc", end=True)) as raw:
            found = await raw.kinds(HEADERS, DATA)
            assert [each.payload for each in found if each.kind == DATA] == [b"abc"]
            host, port = raw.writer.get_extra_info("sockname")
            assert site.connection.address == f"{host}:{port}"
            assert site.connection.streams == 0
        await _until(lambda: site.closed == site.open)


async def test_tls(tmp_path: Path) -> None:
    """The same through TLS, where `h2` is agreed on."""
    files = Authority(tmp_path).issue()
    server = ServerCertificate(files.certificate, files.key, min_version="1.2", speaks=HTTP_2)
    client = client_context(files.authority, speaks=HTTP_2)
    async with _site(tls=server.context) as site, _raw(site, _HELLO + head(1, end=True), client) as raw:
        assert raw.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        await raw.kinds(HEADERS)
        site.connection.close_idle()
        assert read(await raw.rest())[-1].kind == GOAWAY


async def test_http_1() -> None:
    """A client of HTTP/1 is told in its own words, and hung up on."""
    async with _site() as site, _raw(site, b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n\r\n") as raw:
        answer = await raw.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"gRPC" in answer


async def test_something_else() -> None:
    """Anything else gets GOAWAY."""
    async with _site() as site, _raw(site, b"\x16\x03\x01\x02\x00") as raw:
        (away,) = read(await raw.rest())
        assert away.code == ErrorCode.PROTOCOL_ERROR


async def test_last_word_arrives() -> None:
    """What a client still sends after its mistake does not take our last word away."""
    async with _site() as site, _raw(site, _HELLO + data(9, b"x")) as raw:
        for _ in range(20):
            raw.writer.write(data(1, bytes(10_000)))
            await asyncio.sleep(0.001)
        assert read(await raw.rest())[-1].code == ErrorCode.PROTOCOL_ERROR
        assert not site.closed
        now = asyncio.get_running_loop().time()
        assert not site.connection.overdue(now, _CONFIG)
        assert site.connection.overdue(now + 3, _CONFIG)
        site.connection.time_out()
        await _until(lambda: bool(site.closed))


async def test_one_write_for_many_answers() -> None:
    """Requests that come in one read are answered in one write."""
    async with _site() as site, _raw(site) as raw:
        await raw.kinds(4)
        writes = _counted(site.connection)
        raw.writer.write(b"".join(head(number, end=True) for number in range(1, 41, 2)))
        await raw.frames(lambda found: sum(each.kind == HEADERS for each in found) == 40)
        assert len(writes) == 1


class _Counting:
    """A transport that counts its writes."""

    def __init__(self, transport: asyncio.Transport, writes: list[int]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, piece: bytes) -> None:
        self._writes.append(len(piece))
        self._transport.write(piece)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        pieces = list(pieces)
        self._writes.append(sum(map(len, pieces)))
        self._transport.writelines(pieces)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


def _counted(connection: ServerConnection) -> list[int]:
    writes: list[int] = []
    connection._transport = cast("asyncio.Transport", _Counting(connection._transport, writes))
    return writes


async def test_one_write_for_what_comes_later() -> None:
    """So are answers that come in one step of the loop."""
    async with _site(Told) as site, _raw(site, _HELLO + head(1, end=True) + head(3, end=True)) as raw:
        await _until(lambda: len(site.handlers) == 2)
        writes = _counted(site.connection)
        for handler in site.handlers:
            stream = handler.stream
            assert isinstance(stream, ServerStream)
            stream.write_whole(ANSWER, [b"x"], TRAILERS)
        assert writes == []
        await raw.frames(lambda found: sum(each.kind == HEADERS for each in found) == 4)
        assert len(writes) == 1


OVERDUE = {
    "no preface": (b"", _CONFIG.header_timeout_s),
    "half a preface": (PREFACE[:9], _CONFIG.header_timeout_s),
    "no settings": (PREFACE, _CONFIG.header_timeout_s),
    "half a frame": (_HELLO + head(1)[:-1], _CONFIG.header_timeout_s),
    "half a head": (_HELLO + frame(HEADERS, 0, 1), _CONFIG.header_timeout_s),
    "half a frame of data": (_HELLO + head(1) + data(1, b"abc")[:-1], _CONFIG.upstream_timeout_s),
    "no request": (_HELLO, _CONFIG.idle_timeout_s),
    "no further request": (_HELLO + head(1, end=True), _CONFIG.idle_timeout_s),
}


@pytest.mark.parametrize("case", OVERDUE)
async def test_overdue(case: str) -> None:
    """A client that owes something may take its time, but not for ever."""
    said, limit = OVERDUE[case]
    async with _site() as site, _raw(site, said) as raw:
        await raw.writer.drain()
        await _until(lambda: bool(site.open))
        await asyncio.sleep(0.03)
        connection, now = site.connection, asyncio.get_running_loop().time()
        assert not connection.overdue(now + limit - 2, _CONFIG)
        assert connection.overdue(now + limit + 0.1, _CONFIG)
        connection.time_out()
        told = await raw.rest()
        assert (GOAWAY in {each.kind for each in read(told)}) == case.endswith(("request", "frame", "head"))


async def test_not_overdue() -> None:
    """One whose request is under way owes nothing."""
    async with _site(Told) as site, _raw(site, _HELLO + head(1)):
        await _until(lambda: bool(site.handlers))
        assert not site.connection.overdue(asyncio.get_running_loop().time() + 10_000, _CONFIG)


async def test_reads_too_slowly() -> None:
    """A client that does not read is asked for nothing more, and is overdue at last."""
    windows = settings((4, LAST_STREAM)) + frame(8, 0, 0, long(LAST_STREAM - 65_535))
    async with _site(Told) as site, _raw(site, PREFACE + windows + head(1, end=True)) as raw:
        await _until(lambda: bool(site.handlers))
        stream = site.handlers[0].stream
        stream.write_headers(ANSWER)
        while not stream.full:
            stream.write_data([bytes(1_000_000)])
            await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        raw.writer.write(head(3, end=True))
        await asyncio.sleep(0.05)
        assert len(site.handlers) == 1
        assert not site.connection.overdue(now + _CONFIG.upstream_timeout_s - 1, _CONFIG)
        assert site.connection.overdue(now + _CONFIG.upstream_timeout_s + 1, _CONFIG)
        stream.write_trailers(TRAILERS)
        await raw.frames(lambda found: sum(each.kind == HEADERS for each in found) == 2)
        await _until(lambda: len(site.handlers) == 2)
        assert site.handlers[0].writable >= 0


async def test_keepalive() -> None:
    """A client that is silent while an answer is owed to it is asked whether it is there; no answer is one, too."""
    limits = Limits(keepalive_s=0.01, ping_timeout_s=5)
    async with _site(Told, limits) as site, _raw(site) as raw:
        await raw.kinds(4)
        assert not site.connection.half_closed
        raw.writer.write(head(1, end=True))
        await _until(lambda: site.connection.half_closed)
        await asyncio.sleep(0.02)
        site.connection.probe()
        ping = (await raw.kinds(PING))[-1]
        now = asyncio.get_running_loop().time()
        assert not site.connection.overdue(now, _CONFIG)
        assert site.connection.overdue(now + 6, _CONFIG)
        raw.writer.write(frame(PING, ACK, 0, ping.payload))
        await _until(lambda: not site.connection.overdue(now + 6, _CONFIG))
        raw.writer.transport.abort()
        await _until(lambda: site.handlers[0].last_word is not None)


async def test_turned_away() -> None:
    """One connection too many is told why, and nothing it says is looked at."""
    site_that_is_full = _site(on_open=lambda connection: connection.turn_away("too many"))
    async with site_that_is_full as site, _raw(site, _HELLO + head(1, end=True)) as raw:
        (away,) = read(await raw.rest())
        assert (away.kind, away.number, away.payload[8:]) == (GOAWAY, 0, b"too many")
        assert not site.handlers


async def test_draining() -> None:
    """What is under way is answered, in two steps; then the connection ends."""
    async with _site(Told) as site, _raw(site, _HELLO + head(1, end=True)) as raw:
        await _until(lambda: bool(site.handlers))
        site.connection.drain()
        found = await raw.kinds(GOAWAY, PING)
        raw.writer.write(head(3, end=True) + frame(PING, ACK, 0, found[-1].payload))
        await _until(lambda: len(site.handlers) == 2)
        await raw.frames(lambda found: [each.number for each in found if each.kind == GOAWAY] == [LAST_STREAM, 3])
        for handler in site.handlers:
            handler.stream.write_headers(ANSWER, end=True)
        assert [each.stream for each in read(await raw.rest()) if each.kind == HEADERS] == [1, 3]


async def test_closes_idle() -> None:
    """An idle connection closes at once, a busy one after its answer."""
    async with _site(Told) as site, _raw(site, _HELLO + head(1, end=True)) as busy, _raw(site) as idle:
        await busy.kinds(4)
        await idle.kinds(4)
        await _until(lambda: bool(site.handlers))
        for connection in site.open:
            connection.close_idle()
        assert read(await idle.rest())[-1].kind == GOAWAY
        site.handlers[0].stream.write_headers(ANSWER, end=True)
        assert read(await busy.rest())[-1].kind == HEADERS


async def test_client_vanishes() -> None:
    """Whoever has a stream is told, and what they write then goes nowhere."""
    async with _site(Told) as site:
        async with _raw(site, _HELLO + head(1)):
            await _until(lambda: bool(site.handlers))
        handler = site.handlers[0]
        await _until(lambda: handler.last_word is not None)
        assert handler.last_word == "lost"
        handler.stream.write_headers(ANSWER)
        handler.stream.write_data([b"x" * 100_000])
        site.connection.drain()
        site.connection.close_idle()
        await asyncio.sleep(0.01)


async def test_after_a_standstill() -> None:
    """What comes after the worker stood still waits until it has caught up."""
    loop = asyncio.get_running_loop()
    pauses, caught_up = Pauses(loop), asyncio.Event()

    async def catch_up() -> None:
        await caught_up.wait()

    async with _site(pauses=pauses) as site, _raw(site) as raw:
        await raw.kinds(4)
        pauses.watch(catch_up)
        pauses.awake_until_s = pauses.lease_until_s = loop.time() - 1
        raw.writer.write(head(1, end=True))
        await asyncio.sleep(0.03)
        assert not site.handlers
        caught_up.set()
        await raw.kinds(HEADERS)


async def _dial(site: Site, limits: Limits | None = None) -> tuple[ClientConnection, list[ClientConnection]]:
    spent: list[ClientConnection] = []
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: ClientConnection(limits or Limits(), loop, on_spent=spent.append), "127.0.0.1", site.port
    )
    return connection, spent


def _open(connection: ClientConnection, pieces: Sequence[bytes] = (), *, end: bool = True) -> Told:
    handler = Told()
    handler.stream = connection.open(REQUEST, handler, pieces, end=end)
    return handler


async def test_client() -> None:
    """Calls are answered; who retires says goodbye after the last one, and refuses more."""
    async with _site() as site:
        connection, spent = await _dial(site)
        calls = [_open(connection, [b"%d" % number]) for number in range(10)]
        connection.retire()
        late = _open(connection)
        assert late.last_words == []
        await _until(lambda: all(call.last_word for call in [*calls, late]))
        assert [call.body for call in calls] == [b"%d" % number for number in range(10)]
        assert (late.last_word, spent) == ("refused", [connection])
        await _until(lambda: site.closed == site.open)
        assert connection.gone
        assert connection.streams == 0


async def test_client_rests() -> None:
    """A connection knows since when it has had nothing to do."""
    async with _site(Told) as site:
        connection, _ = await _dial(site)
        assert connection.idle_since() <= asyncio.get_running_loop().time()
        call = _open(connection)
        await _until(lambda: bool(site.handlers))
        assert connection.idle_since() > asyncio.get_running_loop().time()
        call.stream.reset(ErrorCode.CANCEL)
        await _until(lambda: site.handlers[0].last_words == ["head", ErrorCode.CANCEL])
        assert connection.idle_since() <= asyncio.get_running_loop().time()
        connection.close()


async def test_client_asks() -> None:
    """A server that is silent is asked whether it is there, if it is to be asked at all."""
    async with _site(Told) as site:
        for keepalive_s, asks in ((0.01, True), (0.0, False)):
            connection, _ = await _dial(site, Limits(keepalive_s=keepalive_s, ping_timeout_s=5))
            _open(connection)
            await _until(lambda connection=connection: connection.end.told)  # type: ignore[misc]
            await asyncio.sleep(0.02)
            connection.probe()
            assert connection.overdue(asyncio.get_running_loop().time() + 6) is asks
            connection.close()


async def test_client_of_nobody() -> None:
    """A server that says nothing is overdue; one that says nonsense is lost."""
    listener = socket.create_server(("127.0.0.1", 0))
    connection, spent = await _dial(Site(listener.getsockname()[1]))
    call = _open(connection)
    accepted, _ = listener.accept()
    assert not connection.overdue(asyncio.get_running_loop().time())
    assert connection.overdue(asyncio.get_running_loop().time() + 1000)
    accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await _until(lambda: call.last_word == "lost")
    assert spent == [connection]
    accepted.close()
    listener.close()


async def test_failing_client_and_shared_upstream() -> None:
    """What goes wrong for one caller is no matter to the others on the same connection."""

    class Failing(Told):
        def on_data(self, data: bytes) -> None:
            raise RuntimeError(data)

    async with _site() as site:
        connection, _ = await _dial(site)
        bad = Failing()
        bad.stream = connection.open(REQUEST, bad, [b"x"], end=True)
        good = _open(connection, [b"y"])
        await _until(lambda: good.last_word is not None)
        assert (good.body, good.last_word) == (b"y", "trailers")
        assert bad.last_word == ErrorCode.INTERNAL_ERROR
        assert not connection.gone
        connection.close()


async def test_rst_is_not_needed_after_the_end() -> None:
    """A call that ended well on both sides leaves nothing behind, not even a frame."""
    async with _site() as site, _raw(site, _HELLO + head(1, end=True)) as raw:
        found = await raw.frames(lambda found: sum(each.kind == HEADERS for each in found) == 2)
        assert RST not in {each.kind for each in found}
