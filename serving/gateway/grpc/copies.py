"""Copies of calls for versions whose answers nobody gets: as over HTTP, each a message of its own, sent afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from serving.gateway.attempts import SERVER_ERROR
from serving.gateway.grpc.answers import coding_of
from serving.gateway.grpc.leg import Asker, Leg
from serving.gateway.grpc.messages import for_version
from serving.gateway.lowered import over_grpc
from serving.gateway.paths import Operation
from serving.gateway.shadow import Copy, due, errand_for
from serving.gateway.traceparent import onward

if TYPE_CHECKING:
    from serving.gateway.attempts import Asks
    from serving.gateway.dispatch import Way
    from serving.gateway.grpc.answers import Answer
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.notes import Note
    from serving.gateway.pairs import First
    from serving.gateway.routing import VersionRoute
    from serving.gateway.shadow import Errand
    from serving.gateway.upstream import Upstream
    from serving.gateway.worker import Worker


def send(
    worker: Worker,
    way: Way,
    head: CallHead,
    body: Asks,
    sent: bytes,
    *,
    took_s: float,
    first: First | None = None,
    note: Note | None = None,
) -> None:
    """A copy for each shadow whose sample the call's unit is in, and whose conditions it fulfils.

    Args:
        worker: that sends.
        way: of the call.
        head: of the call.
        body: whether it is still held.
        sent: the request in the clear, with its five bytes.
        took_s: how long the client's answer took.
        first: that answer, where there is a keeper to be told of it.
        note: of the call, where it has one.
    """
    if head.target.operation is not Operation.INFER:
        return
    holds = 2 * len(sent) + (0 if first is None else first.came.size)
    for shadow, route, upstream in due(worker, way, head, body, holds=holds):
        levels = upstream.priority_levels
        data = b"".join(for_version(over_grpc(sent, levels) if levels > 1 else sent, b"%d" % route.version))
        errand = errand_for(worker, shadow, first, Operation.INFER, took_s)
        errand = errand._replace(holds=holds, traced=None if note is None else note.copy())
        copy = CopiedCall(worker, route, upstream, data, errand, head=head)
        worker.shadows.add(copy)
        if upstream.lines is not None:
            upstream.lines.carry(copy)


class CopiedCall(Copy, Asker):
    """One copy on its way."""

    grpc: ClassVar[bool] = True

    __slots__ = ("_head",)

    def __init__(
        self, worker: Worker, route: VersionRoute, upstream: Upstream, data: bytes, errand: Errand, *, head: CallHead
    ) -> None:
        super().__init__(worker, route, upstream, data, errand)
        self._head = head

    def on_line(self, line: ClientConnection) -> None:
        """A connection stands: out with it."""
        leg = self._connection = Leg(self)
        data, self._data = self._data, b""
        traced = self._errand.traced
        block = self._head.onward(None if traced is None else onward(traced, traced.span))
        leg.open(line, block, [data], end=True)

    def on_piece(self, leg: Leg, data: bytes) -> None:
        """Nobody gets it."""
        size = len(data)
        self._take([data], size)
        wait_s = self._worker.pace.wait_s(size, self._worker.loop.time())
        if wait_s:
            self._worker.loop.call_later(wait_s, self._read_more, leg, size)
        else:
            leg.take(size)

    def _read_more(self, leg: Leg, size: int) -> None:
        if leg is self._connection:
            leg.take(size)

    def on_answered(self, leg: Leg, answer: Answer) -> None:
        """Nobody gets it; that it came is counted."""
        del leg
        self._connection = None
        if answer.head is None:  # there is no message
            self._captured = None
        if self._upstream is not None and answer.code < SERVER_ERROR:
            self._upstream.health.succeeded()
        self._answered(answer.code, [value for _, value in answer.trailers], coding=coding_of(answer.head))

    def on_not_taken(self, leg: Leg) -> None:
        """Its connection was about to end: a copy is not worth a second try."""
        self.on_upstream_lost(leg)

    def on_room(self, leg: Leg) -> None:
        """All of it is written already."""
