"""Connections to Redis whose commands can be cancelled, for every client of ours.

redis-py 8.1 sends a command within `asyncio.wait_for`. Python 3.11's loses a cancellation that comes just as what it
waits for ends (python/cpython#86296, mended in 3.12), so that a loop which is cancelled while it sends goes on for
ever. `asyncio.timeout` loses none, and needs no task of its own for each command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from redis import exceptions
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection


def make_cancellable(pool: ConnectionPool) -> None:
    """Has this pool make such connections from now on; it must not have made any."""
    pool.connection_class = _CANCELLABLE[pool.connection_class]


class _Cancellable(AbstractConnection):
    """A connection that sends within `asyncio.timeout`."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        """Sends it.

        Raises:
            redis.exceptions.TimeoutError: not within the socket's timeout; the connection is closed then.
        """
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]  # redis-py says nothing of it
        # Where there is no socket timeout, redis-py sends without wait_for. A connection has one command at a time.
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health=False)
        except TimeoutError:
            raise exceptions.TimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit_s


class _Tcp(_Cancellable, Connection):
    """By TCP."""


class _Tls(_Cancellable, SSLConnection):
    """By TLS."""


class _Local(_Cancellable, UnixDomainSocketConnection):
    """By a socket of this machine."""


_CANCELLABLE: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Local,
}
