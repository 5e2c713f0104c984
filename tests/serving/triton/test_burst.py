"""A burst counts answers, keeps as many under way as it was told, and ends in time."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from serving.triton import burst as bursting
from serving.triton.burst import Request, burst

BODY = b"a request"


class Counting:
    """An HTTP server that takes a while for each answer.

    Attributes:
        answered: how many it has answered.
        most: how many it had at once.
        clients: the tasks that serve them.
    """

    def __init__(self, status: bytes, takes_s: float) -> None:
        self.answered = 0
        self.most = 0
        self.clients: set[asyncio.Task[None]] = set()
        self._now = 0
        self._status = status
        self._takes_s = takes_s

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client."""
        self.clients.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"POST /v2/x HTTP/1.1" in head
                assert await reader.readexactly(len(BODY)) == BODY
                self._now += 1
                self.most = max(self.most, self._now)
                await asyncio.sleep(self._takes_s)
                self._now -= 1
                self.answered += 1
                writer.write(b"HTTP/1.1 %s\r\ncontent-length: 2\r\n\r\nok" % self._status)
        finally:
            writer.close()


@asynccontextmanager
async def serving(status: bytes = b"200 OK", takes_s: float = 0.01) -> AsyncIterator[tuple[Counting, Request]]:
    """Such a server, and the request for it."""
    counting = Counting(status, takes_s)
    server = await asyncio.start_server(counting, "127.0.0.1", 0)
    try:
        yield counting, Request("127.0.0.1", server.sockets[0].getsockname()[1], "/v2/x", BODY)
    finally:
        server.close()
        for client in counting.clients:
            client.cancel()
        await asyncio.gather(*counting.clients, return_exceptions=True)


async def test_a_burst_counts_what_was_answered() -> None:
    """The rate is the server's own count over the time, with exactly so many requests under way."""
    async with serving() as (counting, request):
        rate = await burst(request, 5, 0.3)
        assert counting.most == 5
        assert 0 < rate * 0.3 <= counting.answered


async def test_refusals_are_not_answers() -> None:
    """A server that refuses everything carries nothing."""
    async with serving(b"503 Service Unavailable", 0.0) as (counting, request):
        assert await burst(request, 2, 0.1) == 0.0
        assert counting.answered > 0


async def test_a_server_that_does_not_answer_ends_no_later() -> None:
    """A burst is over in its time, whatever the server does."""
    async with serving(takes_s=30.0) as (_, request):
        began = time.monotonic()
        assert await burst(request, 3, 0.2) == 0.0
        assert time.monotonic() - began < 5.0


async def test_nobody_listens() -> None:
    """A server that is gone carries nothing, and is no error of the burst's."""
    async with serving() as (_, request):
        pass
    assert await burst(request, 3, 0.1) == 0.0


async def test_connections_that_are_not_taken_in_time_are_clients_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with no room for more is measured by those that it took, and none of them is left open."""
    monkeypatch.setattr(bursting, "_CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        request = Request("127.0.0.1", full.getsockname()[1], "/v2/x", BODY)
        assert await burst(request, 8, 0.1) == 0.0
        await asyncio.sleep(0.05)  # transports close in the loop's next turn
        full.settimeout(2.0)
        taken, _ = full.accept()
        taken.settimeout(2.0)
        with taken, contextlib.suppress(ConnectionResetError):
            while taken.recv(4_096):
                pass
