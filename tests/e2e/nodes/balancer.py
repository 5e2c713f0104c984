"""A Service in front of gateways: each new connection goes to one of those that are ready, turn about."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from types import TracebackType
from typing import Self

_STARTS_WITHIN_S = 10.0
_PIECE = 65_536


class Balancer:
    """Relays bytes for as long as the block lasts, as the kernel does for a Service; it retries nothing.

    Attributes:
        host: where it listens.
        port: where it listens.
        ready: addresses of those that get new connections, all on one port; change it at any time.
    """

    host = "127.0.0.1"

    def __init__(self, ready: tuple[str, ...], port: int) -> None:
        self.ready = ready
        self.port = 0
        self._there = port
        self._turns = itertools.count()
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._relays: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(_STARTS_WITHIN_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, self.host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        server.close()
        for relay in self._relays:
            relay.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._relays, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._relay(reader, writer)
        finally:
            writer.close()
            self._relays.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = self.ready
        host = ready[next(self._turns) % len(ready)]
        with contextlib.suppress(OSError):
            their_reader, their_writer = await asyncio.open_connection(host, self._there)
            try:
                await asyncio.gather(_pass_on(reader, their_writer), _pass_on(their_reader, writer))
            finally:
                their_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side has said all it has to say."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
