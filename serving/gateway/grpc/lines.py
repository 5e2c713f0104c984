"""The gateway's side that faces a Triton's gRPC port: a few connections that each carry many calls.

A call goes out on the first connection that has room for one more stream, and where none has, on a new one; those that
come while it is dialled wait for the same. A connection whose server sends it away, or that has no numbers left for
streams, is used no more, and the next call dials another.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from serving.gateway.h2.client import ClientConnection
from serving.gateway.h2.settings import Limits

if TYPE_CHECKING:
    from serving.gateway.upstream import Upstream

_MOST = 4
"""Connections to one server; where all are full, streams wait their turn on one of them."""
_LIMITS = Limits(keepalive_s=0)  # Triton hangs up on who asks whether it is there


class Call(Protocol):
    """What a connection is wanted for."""

    __slots__ = ()

    @abstractmethod
    def awaits(self, upstream: Upstream) -> bool:
        """Whether it still waits for a connection to this upstream."""

    @abstractmethod
    def on_line(self, line: ClientConnection) -> None:
        """A connection stands: the request may be sent."""

    @abstractmethod
    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand."""


class Lines:
    """The connections to one Triton's gRPC port.

    Args:
        upstream: whose they are; it dials.
        loop: that of the worker.
    """

    __slots__ = ("_dial_task", "_lines", "_loop", "_upstream", "_waiting")

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self._upstream = upstream
        self._loop = loop
        self._lines: list[ClientConnection] = []
        self._waiting: list[Call] = []
        self._dial_task: asyncio.Task[None] | None = None

    def carry(self, call: Call) -> None:
        """Sends the call on a connection that stands, or on a new one as soon as it does."""
        for line in self._lines:
            if not line.end.full:
                call.on_line(line)
                return
        if len(self._lines) >= _MOST:
            call.on_line(min(self._lines, key=lambda line: line.streams))
            return
        self._waiting.append(call)
        if self._dial_task is None:
            self._dial_task = self._loop.create_task(self._dial())

    async def warm_up(self) -> None:
        """Opens one connection ahead of the first call; a failure is left for that call to find."""
        if self._dial_task is None and not self._lines:
            self._dial_task = self._loop.create_task(self._dial())

    def retire(self) -> None:
        """No more calls: idle connections close now, busy ones after their last answer."""
        for line in self._lines:
            line.retire()

    def sweep(self, now: float, idle_before: float) -> None:
        """Closes what has been idle for too long or does not answer, and asks whether the others are there.

        Args:
            now: seconds of the loop's clock.
            idle_before: those whose last call ended before that are closed.
        """
        for line in list(self._lines):
            if line.overdue(now):
                line.close()
            elif line.idle_since() < idle_before:
                line.retire()
            else:
                line.probe()

    async def _dial(self) -> None:
        try:
            line = await self._upstream.connect(self._new, self._upstream.grpc_port, http_2=True)
        except OSError:  # TimeoutError is one
            line = None
        self._dial_task = None
        waiting, self._waiting = self._waiting, []
        wanted = [call for call in waiting if call.awaits(self._upstream)]
        if line is None or line.gone:
            for call in wanted:
                call.on_refused(self._upstream)
            return
        if not line.spent:
            self._lines.append(line)
        for call in wanted:
            call.on_line(line)
        if self._upstream.closed:
            line.retire()

    def _new(self) -> ClientConnection:
        return ClientConnection(_LIMITS, self._loop, on_spent=self._forget)

    def _forget(self, line: ClientConnection) -> None:
        if line in self._lines:
            self._lines.remove(line)
