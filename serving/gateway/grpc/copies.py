"""Copies of calls for versions whose answers nobody gets: as over HTTP, each a message of its own, sent afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.gateway.attempts import SERVER_ERROR
from serving.gateway.counters import outcome_of
from serving.gateway.grpc.framing import framed
from serving.gateway.grpc.leg import Asker, Leg
from serving.gateway.grpc.messages import with_version
from serving.gateway.paths import Operation
from serving.gateway.ration import Dropped
from serving.gateway.shadow import Copy, due

if TYPE_CHECKING:
    from serving.gateway.attempts import Asks
    from serving.gateway.dispatch import Way
    from serving.gateway.grpc.answers import Answer
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import Upstream
    from serving.gateway.worker import Worker


def send(worker: Worker, way: Way, head: CallHead, body: Asks, message: bytes) -> None:
    """A copy for each shadow whose sample the call's unit is in, and whose conditions it fulfils.

    Args:
        worker: that sends.
        way: of the call.
        head: of the call.
        body: whether it is still held.
        message: the request in the clear.
    """
    if head.target.operation is not Operation.INFER:
        return
    for route, upstream in due(worker, way, head, body):
        if upstream.lines is None:
            route.state.ration.drop(Dropped.NO_REPLICA)
            continue
        copy = CopiedCall(worker, route, upstream, framed(with_version(message, b"%d" % route.version)), head)
        worker.shadows.add(copy)
        upstream.lines.carry(copy)


class CopiedCall(Copy, Asker):
    """One copy on its way."""

    __slots__ = ("_head",)

    def __init__(self, worker: Worker, route: VersionRoute, upstream: Upstream, data: bytes, head: CallHead) -> None:
        super().__init__(worker, route, upstream, data, Operation.INFER)
        self._head = head

    def on_line(self, line: ClientConnection) -> None:
        """A connection stands: out with it."""
        leg = self._connection = Leg(self)
        data, self._data = self._data, b""
        leg.open(line, self._head.block, [data], end=True)

    def on_piece(self, leg: Leg, data: bytes) -> None:
        """Nobody gets it."""
        leg.take(len(data))

    def on_answered(self, leg: Leg, answer: Answer) -> None:
        """Nobody gets it; that it came is counted."""
        del leg
        self._connection = None
        if self._upstream is not None and answer.code < SERVER_ERROR:
            self._upstream.health.succeeded()
        self._end(outcome_of(answer.code))

    def on_not_taken(self, leg: Leg) -> None:
        """Its connection was about to end: a copy is not worth a second try."""
        self.on_upstream_lost(leg)

    def on_room(self, leg: Leg) -> None:
        """All of it is written already."""
