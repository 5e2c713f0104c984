"""A connection to each gateway worker, known by the process that holds its other end.

Workers share one port, and whichever is free takes a connection; an answer does not say whose it is. The kernel does:
the socket that has our port as its peer belongs to one process. A worker hangs up on whoever it turns away, so lost
connections are opened anew until every worker has one again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Self

import psutil

from loadtests.installation import Failed

LET_IN, REFUSED = 200, 401
_WITHIN_S = 20.0
_AT_ONCE = 3

Request = Callable[[str], bytes]
"""The bytes of a request that shows this key or token."""


class Connection:
    """One connection, one request on it at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """A new one."""
        return cls(*await asyncio.open_connection(host, port))

    @property
    def port(self) -> int:
        """Our end's."""
        return int(self._writer.get_extra_info("sockname")[1])

    async def ask(self, request: bytes) -> int:
        """The status of the answer.

        Raises:
            Failed: there was none.
        """
        try:
            async with asyncio.timeout(_WITHIN_S):
                self._writer.write(request)
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                _, _, after = head.partition("\r\ncontent-length:")
                await self._reader.readexactly(int(after.partition("\r\n")[0] or 0))
        except (OSError, EOFError, TimeoutError) as error:
            raise Failed(f"A gateway did not answer: {error!r}") from error
        return int(head.split(" ", 2)[1])

    async def close(self) -> None:
        """Ends it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Workers:
    """All workers behind one address, each with a connection of its own.

    Args:
        host: where they listen.
        port: likewise.
        request: what is asked of them.
        good: a key that is always let in.
        count: how many there are.
    """

    def __init__(self, host: str, port: int, request: Request, good: str, count: int) -> None:
        self._place = host, port
        self._request = request
        self._good = good
        self._count = count
        self._pids: frozenset[int] = frozenset()
        self._connections: dict[int, Connection] = {}

    async def ready(self) -> Collection[int]:
        """The workers' process ids, once there is a connection to each.

        Raises:
            Failed: that did not come about.
        """
        deadline = time.monotonic() + _WITHIN_S
        while len(self._connections) < self._count:
            if time.monotonic() > deadline:
                raise Failed(f"Connections reach {len(self._connections)} of {self._count} gateway workers.")
            await self._open_some()
        return self._connections.keys()

    async def ask(self, worker: int, shown: str) -> int:
        """The status of this worker's answer to whoever shows this."""
        status = await self._connections[worker].ask(self._request(shown))
        if status == REFUSED:
            await self._connections.pop(worker).close()
        return status

    async def ask_each(self, shown: str) -> Mapping[int, int]:
        """Each worker's answer."""
        workers = tuple(await self.ready())
        statuses = await asyncio.gather(*(self.ask(worker, shown) for worker in workers))
        return dict(zip(workers, statuses, strict=True))

    async def close(self) -> None:
        """Ends all connections."""
        while self._connections:
            await self._connections.popitem()[1].close()

    async def _open_some(self) -> None:
        """Some more connections; those to workers that had none are kept."""
        opened = [await Connection.open(*self._place) for _ in range(_AT_ONCE)]
        try:
            for one in opened:
                if await one.ask(self._request(self._good)) != LET_IN:
                    raise Failed("A gateway refuses a key that is good.")
            holders = await asyncio.to_thread(self._holders)
            for one in opened:
                if worker := holders.get(one.port, 0):
                    self._connections.setdefault(worker, one)
        finally:
            kept = self._connections.values()
            for one in opened:
                if one not in kept:
                    await one.close()

    def _holders(self) -> Mapping[int, int]:
        """Process ids by the port at the other end, of connections to the workers' address."""
        found = {
            one.raddr.port: pid
            for pid, one in (_connections_of(self._pids) if self._pids else _all_connections())
            if one.laddr and one.raddr and one.laddr.port == self._place[1]
        }
        if len(pids := frozenset(found.values())) == self._count:
            self._pids = pids  # from here on nobody else need be looked at
        return found


def _connections_of(pids: Collection[int]) -> Iterator[tuple[int, Any]]:
    """Their TCP connections, each with its holder's process id."""
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            for one in psutil.Process(pid).net_connections("tcp"):
                yield pid, one


def _all_connections() -> Iterator[tuple[int, Any]]:
    """Likewise, of everybody whom this process may look at."""
    return ((one.pid, one) for one in psutil.net_connections("tcp") if one.pid)
