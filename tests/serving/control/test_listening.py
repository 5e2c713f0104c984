"""On real sockets: what is slow, large or no HTTP ends, what is refused is read before the connection closes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from serving.access.security_log import SecurityLog
from serving.control.api import app as app_module
from serving.control.api import create_app
from serving.control.api.gate import Door
from serving.control.api.limits import LARGEST_BODY, BodyLimit
from serving.control.api.listening import LARGEST_HEAD, Impatient, config_of
from serving.control.doorman import Doorman
from serving.control.fake_store import FakeStore
from serving.control.keys import KeyService
from serving.control.service import ControlService

KEYS = "POST /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
STATUS = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n"
SHORT_S = 0.3
"""What the limits are set to here."""
LONG_S = 20.0
"""By when a limit has done its work, on however slow a machine."""


class Soon(Impatient):
    """With less patience."""

    head_s = SHORT_S
    read_s = SHORT_S


@dataclass
class Answer:
    """What came back: status and headers; None and nothing where the connection just ended."""

    status: int | None
    headers: dict[str, str]
    body: bytes


class Peer:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, text: str | bytes) -> None:
        """Sends it as it is."""
        self.writer.write(text.encode() if isinstance(text, str) else text)
        await self.writer.drain()

    async def answer(self) -> Answer:
        """One whole answer, by its length."""
        async with asyncio.timeout(LONG_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, body)

    async def ended(self) -> bytes:
        """What still comes until the other side has closed."""
        async with asyncio.timeout(LONG_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


Dial = Callable[[], Any]


@asynccontextmanager
async def listening(door: Door | None = None, routes: Sequence[APIRoute] = (), **more: object) -> AsyncIterator[Dial]:
    """The whole application behind uvicorn, on a port of its own; with these routes before its own."""
    store = FakeStore()
    app = create_app(ControlService(store, {}), door=door, key_service=KeyService(store))
    app.router.routes[:0] = routes
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(config_of(app, **{"http": Soon, **more}))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        peers: list[Peer] = []

        async def dial() -> Peer:
            peers.append(Peer(*await asyncio.open_connection("127.0.0.1", port)))
            return peers[-1]

        try:
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            yield dial
        finally:
            for peer in peers:
                peer.writer.close()
            server.should_exit = True
            await serving


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "BodyLimit", partial(BodyLimit, slowest_s=SHORT_S, linger_s=SHORT_S))


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """The problem, checked to be one, with what every answer carries."""
    body: dict[str, Any] = json.loads(answer.body)
    assert (answer.status, body["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["connection"] == "close"
    return body


@pytest.mark.parametrize("begun", ["", "G", STATUS, STATUS + "X-Long: "])
async def test_a_head_that_does_not_come_ends_the_connection(begun: str) -> None:
    """Nothing at all, a letter, or all but the last line: who waits is cut off."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(begun)
        assert await peer.ended() == b""


async def test_a_head_that_comes_in_drops_is_a_head_that_does_not_come() -> None:
    """A byte now and then buys no time."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(STATUS + "X-Slow: ")

        async def drip() -> None:
            while True:
                await peer.send("x")
                await asyncio.sleep(SHORT_S / 10)

        dripping = asyncio.create_task(drip())
        assert await peer.ended() == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_second_head_has_no_more_time_than_the_first() -> None:
    """A connection that was answered once is not trusted for it."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(STATUS + "\r\n")
        assert (await peer.answer()).status == 200
        await peer.send(STATUS)
        assert await peer.ended() == b""


async def test_an_answer_may_take_longer_than_a_head_may() -> None:
    """Whoever is waited for is the application, and not the peer."""

    async def slow(_scope: object, _receive: object, send: Any) -> None:  # noqa: ANN401 - ASGI's
        await asyncio.sleep(3 * SHORT_S)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config_of(slow, http=Soon))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        peer = Peer(*await asyncio.open_connection(*listener.getsockname()[:2]))
        await peer.send(STATUS + "\r\n")
        assert (await peer.answer()).body == b"ok"
        peer.writer.close()
        server.should_exit = True
        await serving


async def test_whoever_does_not_read_is_hung_up_on() -> None:
    """Answers that nobody takes hold a place for a while only; the description is a large one, and asks for no key."""

    async def large(_scope: object, _receive: object, send: Any) -> None:  # noqa: ANN401 - ASGI's
        size = 64 * 1024 * 1024
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config_of(large, http=Soon))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        with socket.create_connection(listener.getsockname()[:2]) as peer:
            peer.sendall((STATUS + "\r\n").encode())
            async with asyncio.timeout(LONG_S):
                while not server.server_state.connections:  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
                while server.server_state.connections:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
        server.should_exit = True
        await serving


async def test_requests_that_follow_each_other_are_all_answered() -> None:
    """On one connection, one after the other and two at once."""
    async with listening() as dial:
        peer = await dial()
        for _ in range(3):
            await peer.send((STATUS + "\r\n") * 2)
            assert [(await peer.answer()).status for _ in range(2)] == [200, 200]
            await asyncio.sleep(SHORT_S / 3)


async def test_a_body_that_does_not_come_is_408() -> None:
    """Half of it, then drops: it must be there in time as a whole."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(KEYS + "Content-Length: 1000\r\n\r\n{")

        async def drip() -> None:
            while True:
                await peer.send(" ")
                await asyncio.sleep(SHORT_S / 10)

        dripping = asyncio.create_task(drip())
        assert "did not arrive" in problem(await peer.answer(), 408)["detail"]
        await peer.ended()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_body_whose_length_is_too_much_is_refused_before_it_comes() -> None:
    """By what it says; nothing of it need be sent."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(KEYS + f"Content-Length: {LARGEST_BODY + 1}\r\n\r\n")
        problem(await peer.answer(), 413)
        assert await peer.ended() == b""


async def test_a_body_that_says_no_length_is_refused_once_it_is_too_much() -> None:
    """In chunks, of which no more is kept than is read."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(KEYS + "Transfer-Encoding: chunked\r\n\r\n")
        piece = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        for _ in range(LARGEST_BODY // 0x8000 + 1):
            await peer.send(piece)
        problem(await peer.answer(), 413)
        await peer.ended()


async def test_a_head_that_is_too_large_is_no_request() -> None:
    """It is refused while it comes, in whatever part it is too large."""
    for head in (
        f"GET /{'a' * LARGEST_HEAD} HTTP/1.1\r\n",
        f"{STATUS}X: {'a' * LARGEST_HEAD}\r\n",
        STATUS + "X: y\r\n" * 20_000,
    ):
        async with listening() as dial:
            peer = await dial()
            await peer.send(head)
            problem(await peer.answer(), 400)
            await peer.ended()


@pytest.mark.parametrize(
    "said",
    [
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "hello\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: localhost\r\n\r\n",
        f"{KEYS.replace('1.1', '1.0')}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"{KEYS}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        f"{KEYS}Content-Length: -1\r\n\r\n",
        f"{KEYS}Content-Length: 1_0\r\n\r\n",
        f"{KEYS}Transfer-Encoding: gzip, chunked\r\n\r\n",
        f"{KEYS}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        f"{KEYS}Content-Length : 1\r\n\r\n",
        f"{KEYS}X: a\r\n b\x00\r\n\r\n",
        f"{KEYS}Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_request_or_two_at_once_is_400(said: str) -> None:
    """Smuggling, other protocols, and nonsense: a problem with its headers, and the end of the connection."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(said.encode("latin-1"))
        problem(await peer.answer(), 400)
        assert b"HTTP/1.1 2" not in await peer.ended()


@pytest.mark.parametrize("chunk", ["zz\r\n", "-1\r\n", "ffffffffffffffffffff\r\n", "1\r\nab"])
async def test_a_chunk_that_is_none_is_no_failure_of_ours(chunk: str, caplog: pytest.LogCaptureFixture) -> None:
    """The head was good; the body is not: 400, or no answer, and nothing after it is another request."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(KEYS + "Transfer-Encoding: chunked\r\n\r\n" + chunk + STATUS + "\r\n")
        said = await peer.ended()
        assert said.count(b"HTTP/1.1 ") <= 1
        assert b"HTTP/1.1 2" not in said
        assert b"HTTP/1.1 5" not in said
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.fixture
def shut(tmp_path: Path) -> Door:
    """Where everybody is asked for a key, and nobody has one."""
    return Door(Doorman(required=True), log=SecurityLog(str(tmp_path / "security.log")))


async def test_a_stranger_is_answered_before_the_body_and_reads_the_answer(shut: Door) -> None:
    """The answer comes at once; what is under way meanwhile is thrown away, and resets nothing."""
    async with listening(shut) as dial:
        peer = await dial()
        await peer.send(KEYS + "Content-Length: 4000000\r\n\r\n")
        problem(await peer.answer(), 401)
        peer = await dial()
        await peer.send(KEYS + "Content-Length: 1000000\r\n\r\n" + "x" * 900_000)
        problem(await peer.answer(), 401)
        await peer.send("x" * 100_000)
        assert await peer.ended() == b""


async def test_a_stranger_is_not_asked_for_a_body_that_waits(shut: Door) -> None:
    """`Expect: 100-continue` is answered by 401 alone."""
    async with listening(shut) as dial:
        peer = await dial()
        await peer.send(KEYS + "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        problem(await peer.answer(), 401)
        assert await peer.ended() == b""


async def test_a_stranger_who_never_ends_is_hung_up_on(shut: Door) -> None:
    """What is thrown away is thrown away for a moment only."""
    async with listening(shut) as dial:
        peer = await dial()
        await peer.send(KEYS + "Transfer-Encoding: chunked\r\n\r\n")
        problem(await peer.answer(), 401)

        async def flood() -> None:
            while True:
                await peer.send(b"8000\r\n" + b" " * 0x8000 + b"\r\n")

        flooding = asyncio.create_task(flood())
        assert await peer.ended() == b""
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_nothing_that_follows_a_refusal_on_its_connection_is_heard(shut: Door) -> None:
    """What looks like a body's rest to us may be a request to somebody before us."""
    async with listening(shut) as dial:
        peer = await dial()
        await peer.send(KEYS + "Content-Length: 2\r\n\r\n{}" + "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        problem(await peer.answer(), 401)
        assert await peer.ended() == b""


@pytest.mark.parametrize(
    "body", ["Content-Length: 9000000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n", "Content-Length: 1\r\n\r\nx"]
)
async def test_a_body_that_nobody_asked_for_breaks_no_answer_in_pieces(
    body: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream looks whether its reader is still there, which is no asking for a body: nothing is refused half-way."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"alpha", b"beta", b"gamma"):
            yield piece
            await asyncio.sleep(SHORT_S / 3)

    async def stream() -> StreamingResponse:
        return StreamingResponse(pieces(), media_type="text/plain")

    async with listening(routes=[APIRoute("/api/v1/ledger", stream)], timeout_keep_alive=1) as dial:
        peer = await dial()
        await peer.send(f"GET /api/v1/ledger HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n{body}")
        said = await peer.ended()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert [said.count(piece) for piece in (b"alpha", b"beta", b"gamma")] == [1, 1, 1]
        assert said.endswith(b"0\r\n\r\n")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_the_address_is_the_sockets(shut: Door, tmp_path: Path) -> None:
    """A forwarded one is believed of nobody, not of loopback either."""
    async with listening(shut) as dial:
        peer = await dial()
        await peer.send(STATUS + "X-Forwarded-For: 203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n\r\n")
        problem(await peer.answer(), 401)
    line = json.loads((tmp_path / "security.log").read_text())
    assert line["address"] == "127.0.0.1"


async def test_there_is_a_most_to_how_many_are_listened_to() -> None:
    """503 beyond it, and room again once somebody has gone."""
    async with listening(limit_concurrency=3) as dial:
        held = [await dial() for _ in range(3)]
        await asyncio.sleep(0.05)
        peer = await dial()
        await peer.send(STATUS + "\r\n")
        assert (await peer.answer()).status == 503
        for one in held:
            await one.ended()  # they never said anything
        peer = await dial()
        await peer.send(STATUS + "\r\n")
        assert (await peer.answer()).status == 200


async def test_it_does_not_say_what_it_is_made_of() -> None:
    """No server header."""
    async with listening() as dial:
        peer = await dial()
        await peer.send(STATUS + "\r\n")
        assert "server" not in (await peer.answer()).headers
