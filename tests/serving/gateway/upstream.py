"""An upstream that does as it is told: what it answers, in which pieces, when, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self, cast

from tests.serving.certificates import Files
from tests.serving.gateway.wire import Malformed, Request, Requests, ok

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Then(Enum):
    """What becomes of the connection after an answer."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()


@dataclass(frozen=True)
class Reply:
    """What is done about one request.

    Attributes:
        pieces: written one after the other, with room for the loop in between; none at all hangs.
        early: whether the head of the request is enough to answer.
        then: what becomes of the connection afterwards.
        gate: waited for before the last piece is written.
        make: makes the pieces from the request instead.
    """

    pieces: tuple[bytes, ...] = ()
    early: bool = False
    then: Then = Then.KEEP
    gate: asyncio.Event | None = None
    make: Callable[[Request], bytes] | None = None


def answers(*pieces: bytes, early: bool = False, then: Then = Then.KEEP, gate: asyncio.Event | None = None) -> Reply:
    """A reply of these pieces."""
    return Reply(pieces, early, then, gate)


HANGS = Reply()
CLOSES = Reply(then=Then.CLOSE)
RESETS = Reply(then=Then.RESET)
ECHOES = Reply(make=lambda request: ok(request.body))


class ScriptedUpstream:
    """A listener on a port of its own.

    Attributes:
        usual: what is done where the script has nothing to say.
        script: what is done about the next requests, in order.
        requests: what came, complete requests only.
        heads: the heads of all requests, whole or not.
        latest: the connection that the latest request came on.
        mistakes: what came and is no request: must stay empty.
        reads: whether it reads at all; a slow one can be made by switching this.

    Args:
        tls: what it shows; None in the clear.
    """

    def __init__(self, tls: Files | None = None) -> None:
        self._tls = None if tls is None else tls.server().context
        self.usual: Reply = Reply((ok(),))
        self.script: deque[Reply] = deque()
        self.requests: list[Request] = []
        self.heads: list[Request] = []
        self.mistakes: list[str] = []
        self.connections: set[Connection] = set()
        self.latest: Connection | None = None
        self.accepted = 0
        self.reads = True
        self.drops_at_once = False
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.stop()
        assert not self.mistakes, self.mistakes

    async def listen(self) -> None:
        """Takes connections, on the same port as before."""
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._server = await loop.create_server(lambda: Connection(self), sock=listener, ssl=self._tls)

    def stop(self) -> None:
        """Takes no more connections, and drops those that there are: the next one is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.close(Then.CLOSE)

    def next_reply(self) -> Reply:
        """From the script, else the usual one."""
        return self.script.popleft() if self.script else self.usual


class Connection(asyncio.Protocol):
    """One connection to it."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._coming = Requests()
        self._reply: Reply | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)
        self._upstream.accepted += 1
        self._upstream.connections.add(self)
        if self._upstream.drops_at_once:
            self.close(Then.RESET)
        elif not self._upstream.reads:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        del exc
        self._upstream.connections.discard(self)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Answers what is whole, or what is to be answered early."""
        self._coming.data += data
        try:
            self._take()
        except (Malformed, ValueError) as error:
            self._upstream.mistakes.append(f"{error}: {bytes(self._coming.data[:200])!r}")
            self.close(Then.RESET)

    def close(self, then: Then) -> None:
        """Ends it, in good order or with a reset."""
        if then is Then.RESET and not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()
        else:
            self.transport.close()

    def _take(self) -> None:
        while self._coming.data or self._coming.head:
            if self._coming.begins():
                self._begin()
            request = self._coming.next()
            if request is None:
                return
            self._upstream.requests.append(request)
            reply, self._reply = self._reply, None
            if reply is not None and not reply.early:
                self._answer(reply, request)

    def _begin(self) -> None:
        head = self._coming.head
        if head is None:
            return
        self._upstream.heads.append(head)
        self._upstream.latest = self
        self._reply = self._upstream.next_reply()
        if self._reply.early:
            self._answer(self._reply, head)

    def _answer(self, reply: Reply, request: Request) -> None:
        pieces = reply.pieces if reply.make is None else (reply.make(request),)
        if len(pieces) <= 1 and reply.gate is None:
            if pieces:
                self.transport.write(pieces[0])
            if reply.then is not Then.KEEP:
                self.close(reply.then)
            return
        task = asyncio.get_running_loop().create_task(self._answer_slowly(reply, pieces))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_slowly(self, reply: Reply, pieces: tuple[bytes, ...]) -> None:
        for number, piece in enumerate(pieces, start=1):
            if number == len(pieces) and reply.gate is not None:
                await reply.gate.wait()
            self.transport.write(piece)
            await asyncio.sleep(0.001)
        if reply.then is not Then.KEEP:
            self.close(reply.then)
