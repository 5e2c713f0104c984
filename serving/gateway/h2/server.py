"""A client's connection: many streams, each handed to a handler of its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from serving.gateway.config import WorkerConfig
from serving.gateway.h2.carrier import Carrier
from serving.gateway.h2.server_end import TOO_LARGE, ServerEnd
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import Fields, ServerStream, StreamHandler
from serving.gateway.pauses import Pauses

LINGER_S = 2.0
"""How long what a client still sends is read and dropped, so that our last word reaches it before a reset."""


class ServerConnection(Carrier[ServerEnd]):
    """One client, in the clear (prior knowledge) or through TLS (ALPN h2).

    Args:
        make_stream: gives each new stream its handler, by its head; `on_headers` is called next.
        limits: what the client may do.
        loop: that of the worker.
        on_open: told when the connection stands (`Worker.add_client`).
        on_close: told when it is gone, after every handler (`Worker.drop_client`).
        too_large: the whole answer to a head that is larger than `limits.header_list`.
        pauses: the worker's: after one that was too long, what comes waits until the worker has caught up.
    """

    def __init__(
        self,
        make_stream: Callable[[ServerStream, Fields], StreamHandler],
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        on_open: Callable[[ServerConnection], None] = lambda _: None,
        on_close: Callable[[ServerConnection], None] = lambda _: None,
        too_large: Fields = TOO_LARGE,
        pauses: Pauses | None = None,
    ) -> None:
        super().__init__(loop)
        self.end = ServerEnd(make_stream, limits, self.on_output, too_large)
        self._on_open = on_open
        self._on_close = on_close
        self._pauses = pauses
        self._lingers_until = math.inf

    # What the transport tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        super().connection_made(transport)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """Feeds it, unless the worker has to catch up first."""
        pauses, now = self._pauses, self.loop.time()
        if pauses is not None and now > pauses.awake_until_s and pauses.holds(now, lambda: self._go_on(data)):
            self._transport.pause_reading()
        else:
            self.feed(data, now)

    def _go_on(self, data: bytes) -> None:
        """What came while the worker was catching up has its turn."""
        if self._transport.is_closing():
            return
        self._steer()
        self.data_received(data)

    def pause_writing(self) -> None:
        """A client that does not read its answers asks for no more of them."""
        super().pause_writing()
        self._steer()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._steer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._on_close(self)

    def _steer(self) -> None:
        if self._transport.is_closing():
            return
        if self.end.paused and not self.closing:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # What the worker asks of it.

    @property
    def address(self) -> str:
        """Of the client, as the socket has it: host and port."""
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self.end.streams)

    @property
    def half_closed(self) -> bool:
        """Whether an answer is owed to a client that may be gone without a word: `probe` finds out."""
        return bool(self.end.streams) and not self.closing

    def probe(self) -> None:
        """A PING, where the client has been silent for `keepalive_s`; may be called often."""
        end, now = self.end, self.loop.time()
        if 0 < end.limits.keepalive_s < now - end.heard_at:
            end.ask(now)

    def overdue(self, now: float, config: WorkerConfig) -> bool:
        """Whether the client owes bytes (the preface, a head, a body, an answer to a PING, its attention) too long."""
        end = self.end
        if self.closing:
            return now > self._lingers_until
        if not end.told:
            return now - self.opened_at > config.header_timeout_s
        if end.asked_at is not None and now - end.asked_at > end.limits.ping_timeout_s:
            return True
        return (
            now - end.owed_since > config.header_timeout_s
            or now - self.stuck_at > config.upstream_timeout_s
            or (end.within_data and now - end.heard_at > config.upstream_timeout_s)
            or now - self.idle_at > config.idle_timeout_s
        )

    def time_out(self) -> None:
        """Ends what is overdue: an idle connection by GOAWAY, any other at once."""
        if self.idle_at < math.inf and self.end.told and not self.closing:
            self.close_idle()
        else:
            self.cut()

    def drain(self) -> None:
        """The first step of a graceful end: the client is asked to open no more streams; those it opens are served.

        The second follows by itself once the client has heard the first. To be called for every connection when the
        worker begins to drain.
        """
        self.end.drain()

    def close_idle(self) -> None:
        """The second step: no stream is taken any more, and the connection closes after the last one."""
        self.end.take_no_more()

    def turn_away(self, sentence: str) -> None:
        """One connection too many: GOAWAY with this sentence as its debug data, before a stream is opened."""
        self.end.take_no_more(sentence)

    def cut(self) -> None:
        """Closes at once; every handler hears `on_reset`."""
        self.end.lose()
        self.abort()

    def hang_up(self) -> None:
        """Closes our side at once and the other's when it is done sending: a reset would swallow our last word."""
        self.closing = True
        self._lingers_until = self.loop.time() + LINGER_S
        self._steer()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
