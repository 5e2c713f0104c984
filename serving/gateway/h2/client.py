"""A connection to one server: many streams, opened by us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from serving.gateway.h2.carrier import Carrier
from serving.gateway.h2.client_end import ClientEnd
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import ClientHandler, ClientStream, Fields, Piece


class ClientConnection(Carrier[ClientEnd]):
    """One connection; made by `loop.create_connection`. Streams may be opened as soon as that returns.

    Args:
        limits: what the server may do. Servers of gRPC hang up on who asks them often whether they are there (Triton:
            three PINGs in five minutes without data), so `keepalive_s` should be 0, or more than 300.
        loop: that of the worker.
        on_spent: told once, when no more streams can be opened (GOAWAY, ids used up, `retire`, lost): dial another.
    """

    def __init__(
        self,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        on_spent: Callable[[ClientConnection], None] = lambda _: None,
    ) -> None:
        super().__init__(loop)
        self.end = ClientEnd(limits, self.on_output, lambda: on_spent(self))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says what a client says first."""
        super().connection_made(transport)
        self.end.awake = True
        self.end.greet()
        self.flush()

    @property
    def spent(self) -> bool:
        """Whether no more streams can be opened."""
        return self.end.spent

    @property
    def streams(self) -> int:
        """How many are open or wait to be."""
        return len(self.end.streams) + len(self.end.waiting)

    def open(
        self, fields: Fields | bytes, handler: ClientHandler, pieces: Sequence[Piece] = (), *, end: bool = False
    ) -> ClientStream:
        """A new stream; what is given here goes out together.

        Where its `end` is `full`, it waits its turn. On a connection that is `spent` its handler is told `on_unseen`,
        soon, never from within this call.

        Args:
            fields: the head, or a block that `fields.encode` made of it.
            handler: told what becomes of it.
            pieces: of the body, as far as it is there.
            end: that was all of it.
        """
        stream = self.end.open(fields, handler, pieces, end=end)
        if stream.closed and not stream.number:
            self.loop.call_soon(handler.on_unseen)
        return stream

    def overdue(self, now: float) -> bool:
        """Whether the server owes an answer to a PING, or its settings, for too long: `close` it."""
        end, limit = self.end, now - self.end.limits.ping_timeout_s
        if self.closing:
            return False
        return (end.asked_at is not None and end.asked_at < limit) or (not end.told and self.opened_at < limit)

    def probe(self) -> None:
        """A PING, where the server has been silent for `keepalive_s`; may be called often."""
        end, now = self.end, self.loop.time()
        if end.streams and 0 < end.limits.keepalive_s < now - end.heard_at:
            end.ask(now)

    def idle_since(self) -> float:
        """When the last stream ended, by the loop's clock; infinity while there is one."""
        return self.idle_at

    def retire(self) -> None:
        """No more streams; it closes after the last one."""
        self.end.spend()

    def close(self) -> None:
        """Closes at once; handlers of open streams hear `on_lost`, of waiting ones `on_unseen`."""
        self.end.lose()
        self.abort()
