"""A worker's port for gRPC: its clients' connections, and what their calls share.

What the worker does with HTTP's connections it does with these: counts them, turns away what is too many, closes what
owes bytes for too long, and asks them to go where it is about to end.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from serving.errors import Refusal
from serving.gateway.door import Door, Encryption, Shares
from serving.gateway.grpc.answers import Blocks
from serving.gateway.grpc.call import UnaryCall
from serving.gateway.grpc.heads import CallHead, Heads
from serving.gateway.grpc.health import HealthCall
from serving.gateway.grpc.methods import Kind
from serving.gateway.grpc.reflection import ReflectionCall
from serving.gateway.grpc.status import refusal
from serving.gateway.grpc.stream import StreamCall
from serving.gateway.h2.server import ServerConnection
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import Fields, ServerStream, StreamHandler
from serving.gateway.request import Bad

if TYPE_CHECKING:
    from serving.gateway.worker import Worker


class Watcher(Protocol):
    """Who is told when the gateway gets ready, or ends to be."""

    def look(self) -> None:
        """That may have changed."""

    def end(self) -> None:
        """The worker ends."""


class Unfinished(Protocol):
    """A call that owes something."""

    def overdue(self, now: float) -> bool:
        """Whether it has for too long."""

    def time_out(self) -> None:
        """It has."""


class Port:
    """The port of one worker.

    Args:
        worker: whose it is.
    """

    def __init__(self, worker: Worker) -> None:
        config = worker.config
        self.worker = worker
        self.limits = Limits(header_list=config.max_header)
        self.heads = Heads()
        self.blocks = Blocks()
        self.lines: set[ServerConnection] = set()
        """The clients' connections."""
        self.watchers: set[Watcher] = set()
        self.unfinished: set[Unfinished] = set()
        """Calls whose request is still to come, or that may stand still."""
        self._held = 0
        self._door: Door | None = None
        self._shares: tuple[Shares, int] | None = None
        large = f"The request's head is larger than {config.max_header} bytes: send fewer or shorter headers."
        self._too_large = refusal(Bad(Refusal.BROKEN_FRAMING, large))

    # What calls ask of it.

    def hold(self, size: int) -> bool:
        """Whether a large message of so many bytes may be held until it is whole; `release` gives the room back."""
        if self._held and self._held + size > self.worker.config.max_held:
            return False
        self._held += size
        return True

    def release(self, size: int) -> None:
        """So many bytes are held no more."""
        self._held -= size

    # Its life.

    def listen(self, listener: socket.socket, shares: tuple[Shares, int] | None, encryption: Encryption | None) -> None:
        """Serves on a socket that is bound already; see `Worker.listen`."""
        self._shares = shares
        self._tell_share()
        self._door = Door(listener, self._new, self._may_take, encryption)
        self._door.open()

    def stop_listening(self) -> None:
        """Takes no more connections."""
        if self._door is not None:
            self._door.close()
        if self._shares is not None:
            shares, slot = self._shares
            shares.leave(slot)
            self._shares = None

    def drain(self) -> None:
        """Asks all clients to open no more calls here."""
        for line in list(self.lines):
            line.drain()

    def close_idle(self) -> None:
        """Takes no more calls; each connection closes after its last one."""
        for watcher in list(self.watchers):
            watcher.end()
        for line in list(self.lines):
            line.close_idle()

    def cut(self) -> None:
        """Closes all connections at once."""
        for line in list(self.lines):
            line.cut()

    def standing_changed(self) -> None:
        """The gateway may have got ready, or no longer be."""
        for watcher in list(self.watchers):
            watcher.look()

    def sweep(self, now: float) -> None:
        """Ends connections that owe bytes for too long, and asks of the silent ones whether they are there."""
        for line in [line for line in self.lines if line.overdue(now, self.worker.config)]:
            line.time_out()
        for line in list(self.lines):
            line.probe()
        for call in [call for call in self.unfinished if call.overdue(now)]:
            call.time_out()

    def _new(self) -> ServerConnection:
        return Line(self).connection

    def _may_take(self) -> bool:
        return self._shares is None or self._shares[0].may_take(self._shares[1])

    def _tell_share(self) -> None:
        if self._shares is not None:
            self._shares[0].put(self._shares[1], len(self.lines))

    def opened(self, connection: ServerConnection) -> None:
        """Counts a connection in, or turns it away where there are too many."""
        self.lines.add(connection)
        self._tell_share()
        most = self.worker.config.max_connections
        if len(self.lines) > most:
            connection.turn_away(f"The gateway has {most} connections, its limit: try again.")

    def closed(self, connection: ServerConnection) -> None:
        """Counts a connection out."""
        self.lines.discard(connection)
        self._tell_share()

    @property
    def too_large(self) -> Fields:
        """The answer to a head that is larger than heads may be."""
        return self._too_large


class Line:
    """One client's connection, as its calls see it.

    Attributes:
        worker: that has it.
        port: of that worker.
        connection: itself.
    """

    __slots__ = ("connection", "port", "worker")

    def __init__(self, port: Port) -> None:
        self.port = port
        self.worker = port.worker
        self.connection = ServerConnection(
            self._begin, port.limits, port.worker.loop,
            on_open=port.opened, on_close=port.closed, too_large=port.too_large,
            pauses=port.worker.pauses,
        )  # fmt: skip

    @property
    def address(self) -> str:
        """Of the client: host and port."""
        return self.connection.address

    def _begin(self, stream: ServerStream, fields: Fields) -> StreamHandler:
        """Who takes the call that begins with this head."""
        head = self.port.heads.of(fields)
        return _TAKES.get(head.kind.kind, UnaryCall)(self, stream, head)


class _Takes(Protocol):
    def __call__(self, line: Line, stream: ServerStream, head: CallHead) -> StreamHandler: ...


_TAKES: dict[Kind, _Takes] = {
    Kind.STREAM: StreamCall, Kind.HEALTH: HealthCall, Kind.REFLECTION: ReflectionCall,
}  # fmt: skip
