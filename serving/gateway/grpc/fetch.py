"""Questions of the gateway's own to a Triton's gRPC port: one message, one whole answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from serving.gateway.grpc.framing import PREFIX, framed
from serving.gateway.grpc.heads import timeout_field
from serving.gateway.grpc.leg import Asker, Leg
from serving.gateway.h2.fields import encode

if TYPE_CHECKING:
    from serving.gateway.grpc.answers import Answer
    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.upstream import Upstream

_LONGEST = 1024 * 1024
_WELL = 200


async def ask(upstream: Upstream, path: str, message: bytes, within_s: float) -> bytes | None:
    """The answer's message; None where there was no whole and good one in time.

    Args:
        upstream: that has a gRPC port.
        path: of the method.
        message: the question.
        within_s: how long it may take.
    """
    if upstream.lines is None:
        return None
    question = _Question(path, message, within_s)
    try:
        async with asyncio.timeout(within_s):
            upstream.lines.carry(question)
            return await question.answer
    except TimeoutError:
        return None
    finally:
        question.end()


class _Question(Asker):
    """One question on its way."""

    def __init__(self, path: str, message: bytes, within_s: float) -> None:
        self.answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._path = path
        self._message = message
        self._within_s = within_s
        self._leg: Leg | None = None
        self._came = bytearray()

    def end(self) -> None:
        """Nobody waits for the answer any more."""
        self.answer.cancel()
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.close()

    def awaits(self, upstream: Upstream) -> bool:
        """Whether the answer is still wanted."""
        del upstream
        return not self.answer.done()

    def on_line(self, line: ClientConnection) -> None:
        """Out with it."""
        self._leg = Leg(self)
        head = encode(
            (
                (b":method", b"POST"), (b":scheme", b"http"), (b":path", self._path.encode()),
                (b":authority", b"triton"), (b"te", b"trailers"), (b"content-type", b"application/grpc"),
            )
        )  # fmt: skip
        self._leg.open(line, head + timeout_field(self._within_s), [framed(self._message)], end=True)

    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand."""
        del upstream
        self._settle(None)

    def on_piece(self, leg: Leg, data: bytes) -> None:
        """A part of the answer."""
        leg.take(len(data))
        self._came += data
        if len(self._came) > _LONGEST:
            self._settle(None)

    def on_answered(self, leg: Leg, answer: Answer) -> None:
        """All of it."""
        del leg
        self._leg = None
        came = bytes(self._came)
        good = answer.code == _WELL and len(came) >= PREFIX and not came[0]
        self._settle(came[PREFIX:] if good else None)

    def on_upstream_lost(self, leg: Leg) -> None:
        """It broke off."""
        del leg
        self._leg = None
        self._settle(None)

    def on_not_taken(self, leg: Leg) -> None:
        """Nobody has looked at it."""
        self.on_upstream_lost(leg)

    def on_room(self, leg: Leg) -> None:
        """All of it is written already."""

    def _settle(self, answer: bytes | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
