"""Takes clients' connections from a socket that several workers share, and keeps their shares of them even.

The kernel gives a connection to whichever worker asks first, and a few long-lived ones would stay where they happened
to fall. So each worker takes one at a time, and one that holds more than 1.25 times the mean leaves the next to the
others for a moment. It does take it when nobody else has: a worker that hangs must not keep clients waiting.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, Self

_log = logging.getLogger(__name__)
_BACKLOG = 4096
_MOST_TO_MEAN = 1.25
_LEAVES_IT_S = 0.02
_AFTER_A_FAILURE_S = 0.1
_ABSENT: Final = -1
_BYTES = 8


class Shares:
    """How many connections each worker holds, in memory that they share; each writes its own slot only.

    Args:
        fd: of the shared memory.
        slots: how many workers there may be at once.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, slots * _BYTES)
        self._counts = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, slots: int) -> Self:
        """Fresh memory, with nobody in it."""
        fd = os.memfd_create("gateway-connections")
        os.truncate(fd, slots * _BYTES)
        shares = cls(fd, slots)
        for slot in range(slots):
            shares.put(slot, _ABSENT)
        return shares

    def put(self, slot: int, count: int) -> None:
        """What the worker of this slot holds."""
        self._counts[slot] = count

    def leave(self, slot: int) -> None:
        """The worker of this slot takes no more: the others are compared without it."""
        self._counts[slot] = _ABSENT

    def may_take(self, slot: int) -> bool:
        """Whether one more keeps the worker of this slot within its share; who holds fewest always may."""
        counts = [count for count in self._counts if count != _ABSENT]
        own = self._counts[slot]
        return own <= min(counts, default=0) or own + 1 <= _MOST_TO_MEAN * (sum(counts) + 1) / len(counts)

    def counts(self) -> list[int]:
        """Of the workers that take connections."""
        return [count for count in self._counts if count != _ABSENT]

    def close(self) -> None:
        """Lets go of the memory."""
        self._counts.release()
        self._memory.close()
        os.close(self.fd)


class Encryption(NamedTuple):
    """How connections are encrypted.

    Attributes:
        context: shows the certificate (`serving.tls`).
        handshake_s: how long a client may take to shake hands.
        goodbye_s: how long what is still to be sent, and the client's goodbye, may take at the end.
        most_handshakes: at once; further clients are dropped, for nobody counts them among the connections yet.
    """

    context: ssl.SSLContext
    handshake_s: float
    goodbye_s: float
    most_handshakes: int


class Door:
    """One worker's way to new connections.

    Args:
        listener: bound; shared with the other workers.
        new: makes the protocol of a connection.
        may_take: whether this worker should take the next one, unless nobody else does.
        encryption: None for connections in the clear.
    """

    def __init__(
        self,
        listener: socket.socket,
        new: Callable[[], asyncio.Protocol],
        may_take: Callable[[], bool],
        encryption: Encryption | None = None,
    ) -> None:
        self._listener = listener
        self._new = new
        self._may_take = may_take
        self._encryption = encryption
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        """From here on connections are taken."""
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._knocked)

    def close(self) -> None:
        """No more."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _knocked(self) -> None:
        """Somebody is there; one at a time, so that the other workers have their turn."""
        if self._may_take():
            self._take()
        else:
            self._pause(_LEAVES_IT_S)

    def _take(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another worker was faster
            return
        except OSError as error:
            _log.error("no connection can be taken: %s", error)
            self._pause(_AFTER_A_FAILURE_S)
            return
        if self._encryption is not None and len(self._tasks) >= self._encryption.most_handshakes:
            accepted.close()
            return
        accepted.setblocking(False)
        task = self._loop.create_task(self._admit(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit(self, accepted: socket.socket) -> None:
        encryption = self._encryption
        try:
            if encryption is None:
                await self._loop.connect_accepted_socket(self._new, accepted)
            else:
                await self._loop.connect_accepted_socket(
                    self._new, accepted, ssl=encryption.context, ssl_handshake_timeout=encryption.handshake_s,
                    ssl_shutdown_timeout=encryption.goodbye_s,
                )  # fmt: skip
        except OSError:  # gone before it was in, or no handshake of ours: a scanner's, or plain HTTP
            accepted.close()

    def _pause(self, for_s: float) -> None:
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(for_s, self._resume)

    def _resume(self) -> None:
        self._later = None
        self._loop.add_reader(self._listener, self._knocked)
        self._take()
