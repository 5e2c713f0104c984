"""Copies of requests for versions whose answers nobody gets.

A copy goes out once the client has its answer: it can neither delay nor change nor fail that. It is dropped, and that
is counted with the reason, where the shadow's budget is used up, where too many are under way, or where its body was
too large to be held (`ration`). What comes back is counted and thrown away: a stream of events is read to its end, as
fast as it comes, as long as it moves and within a limit to the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from router.choose import shadowed
from router.match import SILENT
from serving.gateway.counters import Ended, Outcome, Role, outcome_of
from serving.gateway.dispatch import said_in
from serving.gateway.paths import Operation
from serving.gateway.ration import Dropped
from serving.gateway.streaming import ENDED, MOST_HELD, EventStream, failed_in, is_event_stream

if TYPE_CHECKING:
    from router.policy import Shadow
    from serving.gateway.attempts import Asks, Carrier
    from serving.gateway.body import Body
    from serving.gateway.dispatch import Way
    from serving.gateway.request import Asked, RequestHead
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import AnswerHead, Upstream, UpstreamConnection
    from serving.gateway.worker import Worker

_INFER = Operation.INFER
_LONGEST_STREAM = 10
"""How many times as long as it may stand still a copied stream may take in all."""
_COPIED = frozenset((Operation.INFER, Operation.GENERATE, Operation.GENERATE_STREAM))


def send(worker: Worker, way: Way, head: RequestHead, body: Body) -> None:
    """A copy for each shadow whose sample the request's unit is in, and whose conditions it fulfils."""
    if head.target.operation not in _COPIED:
        return
    for route, upstream in due(worker, way, head, body):
        data = head.rebuilt(route.prefix, body.framing()) + b"".join(body.pieces)
        copy = Copy(worker, route, upstream, data, head.target.operation)
        worker.shadows.add(copy)
        upstream.carry(copy)


def due(worker: Worker, way: Way, head: Asked, body: Asks) -> Iterator[tuple[VersionRoute, Upstream]]:
    """Where a copy is to go, each taken out of its shadow's budget; what gets none is counted with the reason."""
    model = way.model
    for version in shadowed(model.policy, way.unit, said_in(head) if model.shadows_ask else SILENT):
        route = model.versions[version]
        upstream = route.pick()
        if upstream is None:
            route.state.ration.drop(Dropped.NO_REPLICA)
        elif why_not := _why_not(worker, model.shadows[version], route, body):
            route.state.ration.drop(why_not)
        else:
            yield route, upstream


def _why_not(worker: Worker, shadow: Shadow, route: VersionRoute, body: Asks) -> Dropped | None:
    """Why there is no copy; where there is one, it is taken out of the shadow's budget."""
    if not (body.held and body.ended):
        return Dropped.NOT_WHOLE
    if len(worker.shadows) >= worker.config.max_shadows:
        return Dropped.FULL
    return route.state.ration.take(shadow, worker.loop.time())


class Copy:
    """One copy on its way."""

    __slots__ = (
        "_began", "_connection", "_data", "_failed", "_operation", "_pieces", "_route", "_stream", "_upstream",
        "_worker", "deadline",
    )  # fmt: skip

    def __init__(
        self, worker: Worker, route: VersionRoute, upstream: Upstream, data: bytes, operation: Operation
    ) -> None:
        self._worker = worker
        self._route = route
        self._upstream: Upstream | None = upstream
        self._data = data
        self._connection: Carrier | None = None
        self._began = worker.loop.time()
        self.deadline = self._began + worker.config.upstream_timeout_s
        self._operation = operation
        self._pieces: list[bytes] = []  # of an answer that may say that it failed
        self._stream: EventStream | None = None
        self._failed = False
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

    def on_upstream_lost(self, connection: Carrier) -> None:
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
        if self._operation is not _INFER and connection is self._connection:
            self._look(answer, pieces)

    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """Nobody gets it; that it came is counted, and whether it says that it failed."""
        if self._operation is not _INFER:
            self._look(answer, pieces)
            self._failed = self._operation is Operation.GENERATE and failed_in(answer, self._pieces)
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

    def _look(self, answer: AnswerHead, pieces: list[bytes]) -> None:
        """As `generate` looks at an answer that somebody gets."""
        if self._operation is Operation.GENERATE:
            if sum(map(len, self._pieces)) <= MOST_HELD:
                self._pieces += pieces
            return
        if self._stream is None:
            if not is_event_stream(answer.headers):
                return
            self._stream = EventStream(self._began)
        now, limit_s = self._worker.loop.time(), self._worker.config.upstream_timeout_s
        self._stream.take(pieces, now)
        self.deadline = min(now + limit_s, self._began + _LONGEST_STREAM * limit_s)

    def _end(self, outcome: Outcome) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.in_flight -= 1
            self._route.state.ration.in_flight -= 1
            stream = self._stream
            if stream is not None:
                upstream.count_stream(Role.SHADOW, stream, ENDED.get(outcome, Ended.COMPLETE))
            if self._failed or (stream is not None and stream.errors):
                outcome = Outcome.SERVER_ERROR
            upstream.count(Role.SHADOW, outcome, self._worker.loop.time() - self._began)
            self._worker.shadows.discard(self)
