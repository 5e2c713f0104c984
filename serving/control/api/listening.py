"""How the control API listens: what uvicorn is told, and what it does not do by itself.

It waits without end for a request's head, and for its answer to be read. So a connection has so long for each, whether
it has just come or has been answered before, and there is a most to how many there are. Forwarded headers are believed
of nobody: the address in the ledger is the socket's.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.control.api.headers import SECURITY_HEADERS
from serving.control.api.problems import PROBLEM_TYPE, refusal_response
from serving.errors import Refusal

HEAD_S: Final = 10.0
"""How long a connection may take to bring a whole head, from its first byte or from its beginning."""
READ_S: Final = 30.0
"""How long what was answered may wait to be read."""
LARGEST_HEAD: Final = 64 * 1024
MOST_CONNECTIONS: Final = 512
"""Operators, their tools and pipelines; beyond it, 503."""

_BROKEN: Final = bytes(
    refusal_response(
        Refusal.BROKEN_FRAMING,
        "This is no HTTP request that can be read.",
        f"Its head may have {LARGEST_HEAD:,} bytes. Plain HTTP and TLS are not mixed on one port.",
    ).body
)
_BROKEN_HEADERS: Final = [
    ("content-type", PROBLEM_TYPE),
    ("content-length", str(len(_BROKEN))),
    ("connection", "close"),
    *SECURITY_HEADERS.items(),
]
_GOODBYE_S: Final = 2
_KEEP_ALIVE_S: Final = 5


class Impatient(H11Protocol):
    """One connection, which ends unless heads come and answers are read in time; `h11` bounds the size of heads."""

    head_s = HEAD_S
    read_s = READ_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first head."""
        self._waiting: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > 2 * MOST_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Passes on what came; afterwards either a request is under way, or a head is waited for."""
        super().data_received(data)
        if self._is_busy():
            self._wait_no_more()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._wait_no_more()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More was written than is read."""
        super().pause_writing()
        self._watch_reading()

    def on_response_complete(self) -> None:
        """All is written; that is not all that there is to it."""
        super().on_response_complete()
        self._watch_reading()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Refuses what is no HTTP, in the form that all refusals have."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()  # the answer to this request has begun already
            return
        for event in (h11.Response(status_code=400, headers=_BROKEN_HEADERS), h11.Data(_BROKEN), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.head_s, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self._is_busy():
            self.transport.abort()  # nothing of use was sent, so nothing is owed: no answer, no waiting for it to go

    def _watch_reading(self) -> None:
        if self._unread is None and self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(self.read_s, self._give_up_on_reader)

    def _give_up_on_reader(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()


def config_of(app: ASGIApp, **more: Any) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's own
    """What uvicorn is told.

    Args:
        app: what answers.
        more: further arguments, such as those of TLS.
    """
    said: dict[str, Any] = {
        "http": Impatient,
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "proxy_headers": False,
        "server_header": False,
        "limit_concurrency": MOST_CONNECTIONS,
        "h11_max_incomplete_event_size": LARGEST_HEAD,
        "timeout_keep_alive": _KEEP_ALIVE_S,
        "timeout_graceful_shutdown": _GOODBYE_S,
    }
    return uvicorn.Config(app, **{**said, **more})
