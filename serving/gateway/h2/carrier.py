"""What carries a connection: an `asyncio.Protocol` that feeds it, and writes what it says in few pieces."""

from __future__ import annotations

import asyncio
import math
from typing import Generic, TypeVar, cast

from serving.gateway.h2.reader import Reader

_JOINED = 64 * 1024
"""Up to so many bytes it costs less to join pieces than to hand each to the transport."""
_BUFFERED = 256 * 1024
"""Bytes that the transport may hold before the other side has to wait."""
_NEVER = math.inf

End = TypeVar("End", bound=Reader)


class Carrier(asyncio.Protocol, Generic[End]):
    """One transport.

    Args:
        loop: that of the worker.

    Attributes:
        end: what is fed.
        closing: whether nothing more is written.
        opened_at: when it stood, by the loop's clock; the others are by the same.
        idle_at: when the last stream ended; infinity while there is one.
        stuck_at: since when the peer does not read; infinity while it does.
    """

    end: End

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.closing = False
        self.opened_at = math.inf
        self.idle_at = math.inf
        self.stuck_at = math.inf
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_BUFFERED)
        self.opened_at = self.idle_at = self.end.heard_at = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`."""
        self.feed(data, self.loop.time())

    def feed(self, data: bytes, now: float) -> None:
        """What came, as of now: the end hears it, and what it has to say to that is written."""
        end = self.end
        end.awake = True
        end.receive(data, now)
        self.flush()

    def eof_received(self) -> bool:
        """A peer that says no more cannot open windows either: our side closes, too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Every handler is told."""
        del exc
        self.closing = True
        self.end.lose()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self.stuck_at = self.loop.time()
        self.end.pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self.stuck_at = math.inf
        self.end.resume()

    @property
    def gone(self) -> bool:
        """Whether it is closed, or about to be."""
        return self.closing or self.end.ended or self._transport.is_closing()

    def on_output(self) -> None:
        """Something was said while nothing was read: it goes out at the end of this step of the loop."""
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Writes what there is."""
        end = self.end
        end.awake = False
        out = end.out
        if out:
            end.out = []
            self._write(out)
        self.idle_at = _NEVER if end.streams else self.loop.time()
        if end.ended and not self.closing:
            self.hang_up()

    def hang_up(self) -> None:
        """Everything is said."""
        self.closing = True
        self._transport.close()

    def abort(self) -> None:
        """Closes at once; what was not sent is not."""
        self.closing = True
        self._transport.abort()

    def _write(self, out: list[bytes | memoryview]) -> None:
        if self.closing or self._transport.is_closing():
            return
        if sum(map(len, out)) <= _JOINED:
            self._transport.write(b"".join(out))
        else:
            self._transport.writelines(out)
