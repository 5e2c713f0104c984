"""Copies of requests for versions whose answers nobody gets.

A copy goes out once the client has its answer: it can neither delay nor change nor fail that. It is dropped, and that
is counted with the reason, where the shadow's budget is used up, where too many are under way, or where its body was
too large to be held (`ration`). What comes back is counted and thrown away.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from router.choose import shadowed
from router.match import SILENT
from serving.gateway.counters import Outcome, Role, outcome_of
from serving.gateway.dispatch import said_in
from serving.gateway.paths import Operation
from serving.gateway.ration import Dropped

if TYPE_CHECKING:
    from router.policy import Shadow
    from serving.gateway.body import Body
    from serving.gateway.dispatch import Way
    from serving.gateway.request import RequestHead
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import AnswerHead, Upstream, UpstreamConnection
    from serving.gateway.worker import Worker

_COPIED = frozenset((Operation.INFER, Operation.GENERATE))


def send(worker: Worker, way: Way, head: RequestHead, body: Body) -> None:
    """A copy for each shadow whose sample the request's unit is in, and whose conditions it fulfils."""
    if head.target.operation not in _COPIED:
        return
    model = way.model
    for version in shadowed(model.policy, way.unit, said_in(head) if model.shadows_ask else SILENT):
        route = model.versions[version]
        upstream = route.pick()
        if upstream is None:
            route.state.ration.drop(Dropped.NO_REPLICA)
        elif why_not := _why_not(worker, model.shadows[version], route, body):
            route.state.ration.drop(why_not)
        else:
            data = head.rebuilt(route.prefix, body.framing()) + b"".join(body.pieces)
            copy = Copy(worker, route, upstream, data)
            worker.shadows.add(copy)
            upstream.carry(copy)


def _why_not(worker: Worker, shadow: Shadow, route: VersionRoute, body: Body) -> Dropped | None:
    """Why there is no copy; where there is one, it is taken out of the shadow's budget."""
    if not (body.held and body.ended):
        return Dropped.NOT_WHOLE
    if len(worker.shadows) >= worker.config.max_shadows:
        return Dropped.FULL
    return route.state.ration.take(shadow, worker.loop.time())


class Copy:
    """One copy on its way."""

    __slots__ = ("_began", "_connection", "_data", "_route", "_upstream", "_worker", "deadline")

    def __init__(self, worker: Worker, route: VersionRoute, upstream: Upstream, data: bytes) -> None:
        self._worker = worker
        self._route = route
        self._upstream: Upstream | None = upstream
        self._data = data
        self._connection: UpstreamConnection | None = None
        self._began = worker.loop.time()
        self.deadline = self._began + worker.config.upstream_timeout_s
        upstream.in_flight += 1
        route.state.ration.in_flight += 1

    def awaits(self, upstream: Upstream) -> bool:
        """Whether it still waits for a connection to this upstream."""
        return self._upstream is upstream and self._connection is None

    def on_connected(self, connection: UpstreamConnection) -> None:
        """A connection stands: out with it."""
        self._connection = connection
        connection.write(self._data)
        self._data = b""

    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand."""
        if self.awaits(upstream):
            self._worker.blame(upstream, at_once=True)
            self._end(Outcome.REFUSED)

    def on_upstream_lost(self, connection: UpstreamConnection) -> None:
        """It broke before the answer was complete."""
        del connection
        self._connection = None
        if self._upstream is not None:
            self._worker.blame(self._upstream)
        self._end(Outcome.BROKEN)

    def on_upstream_full(self) -> None:
        """All of it is written already."""

    def on_upstream_ready(self) -> None:
        """All of it is written already."""

    def on_answer(self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes]) -> None:
        """Nobody gets it."""

    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """Nobody gets it; that it came is counted."""
        del pieces
        self._connection = None
        if keep_alive:
            connection.rest()
        else:
            connection.close()
        if self._upstream is not None and answer.code < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._upstream.health.succeeded()
        self._end(outcome_of(answer.code))

    def on_deadline(self) -> None:
        """It takes too long."""
        self._end(Outcome.LATE)

    def abandon(self) -> None:
        """The worker ends."""
        self._end(Outcome.CANCELLED)

    def _end(self, outcome: Outcome) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.in_flight -= 1
            self._route.state.ration.in_flight -= 1
            upstream.count(Role.SHADOW, outcome, self._worker.loop.time() - self._began)
            self._worker.shadows.discard(self)
