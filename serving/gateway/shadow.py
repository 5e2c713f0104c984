"""Copies of requests for versions whose answers nobody gets.

A copy goes out once the client has its answer: it can neither delay nor change nor fail that. It is dropped, and that
is counted with the reason, where the shadow's budget is used up, where too many are under way, where its body was too
large to be held, or where it would be in somebody's way (`ration`, `courtesy`). What comes back is counted; where there
is a keeper, the answer is held until the pair is whole (`pairs`), up to the length that is captured, and otherwise it
is thrown away. A long one is read no faster than copies may be (`shelf`), a stream of events to its end, as long as it
moves and within a limit to the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from router.choose import shadowed
from router.match import SILENT
from serving.gateway.counters import Ended, Outcome, Role, outcome_of
from serving.gateway.courtesy import queues
from serving.gateway.dispatch import said_in
from serving.gateway.grpc.framing import PREFIX
from serving.gateway.lowered import over_http
from serving.gateway.pairs import Came
from serving.gateway.paths import Operation
from serving.gateway.ration import Dropped
from serving.gateway.streaming import ENDED, MOST_HELD, EventStream, failed_in, is_event_stream
from serving.gateway.traceparent import onward

if TYPE_CHECKING:
    from router.policy import Shadow
    from serving.gateway.attempts import Asks, Carrier
    from serving.gateway.body import Body
    from serving.gateway.dispatch import Way
    from serving.gateway.notes import Note
    from serving.gateway.pairs import First, Pair
    from serving.gateway.request import Asked, RequestHead
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import AnswerHead, Upstream, UpstreamConnection
    from serving.gateway.worker import Worker
    from serving.noted import Traced

_INFER = Operation.INFER
_LONGEST_STREAM = 10
"""How many times as long as it may stand still a copied stream may take in all."""
_COPIED = frozenset((Operation.INFER, Operation.GENERATE, Operation.GENERATE_STREAM))
_PATIENCE = 4
"""How many times as long as its client's answer a copy may take, where that is more than it may in any case."""
_WELL = frozenset((Outcome.OK, Outcome.CLIENT_ERROR, Outcome.SERVER_ERROR))
"""Endings that say nothing of a queue."""
_GIVEN_UP = (b"timeout expired", b"maximum queue size")
"""What Triton says where a request came to no model because of the others that wait."""


class Errand(NamedTuple):
    """What a copy is made for.

    Attributes:
        salt: of the shadow.
        pair: what its answer is a part of; None where nobody compares.
        operation: what is asked.
        limit_s: how long it may take.
        holds: bytes that it holds, and its pair.
        traced: its span; None where nobody traces.
    """

    salt: str
    pair: Pair | None
    operation: Operation
    limit_s: float
    holds: int = 0
    traced: Traced | None = None


def send(
    worker: Worker,
    way: Way,
    head: RequestHead,
    body: Body,
    *,
    took_s: float,
    first: First | None = None,
    note: Note | None = None,
) -> None:
    """A copy for each shadow whose sample the request's unit is in, and whose conditions it fulfils.

    Args:
        worker: that sends.
        way: of the request.
        head: of the request.
        body: whether it is still held.
        took_s: how long the client's answer took.
        first: that answer, where there is a keeper to be told of it.
        note: of the request, where it has one.
    """
    operation = head.target.operation
    if operation not in _COPIED:
        return
    holds = 2 * body.received + (0 if first is None else first.came.size)
    for shadow, route, upstream in due(worker, way, head, body, holds=holds):
        traced = None if note is None else note.copy()
        data = _written(route, upstream, head, body, traced)
        errand = errand_for(worker, shadow, first, operation, took_s)
        copy = Copy(worker, route, upstream, data, errand._replace(holds=holds, traced=traced))
        worker.shadows.add(copy)
        upstream.carry(copy)


def _written(route: VersionRoute, upstream: Upstream, head: RequestHead, body: Body, traced: Traced | None) -> bytes:
    """The request as this replica gets it; where it keeps a queue by priority, the copy waits behind everybody."""
    told = None if traced is None else onward(traced, traced.span)
    if upstream.priority_levels > 1 and head.target.operation is _INFER:
        lowered = over_http(head, body, upstream.priority_levels)
        if lowered is not None:
            said, data = lowered
            return said.rebuilt(route.prefix, b"Content-Length: %d\r\n" % len(data), told) + data
    return head.rebuilt(route.prefix, body.framing(), told) + b"".join(body.pieces)


def errand_for(worker: Worker, shadow: Shadow, first: First | None, operation: Operation, took_s: float) -> Errand:
    """What a copy for this shadow is made for; its pair is begun with the first of them."""
    config = worker.config
    patience_s = max(config.copy_timeout_s, _PATIENCE * took_s) if operation is _INFER else math.inf
    limit_s = min(config.upstream_timeout_s, patience_s)
    if first is None or worker.capture is None:
        return Errand(shadow.salt, None, operation, limit_s)
    pair = first.pairs.get(shadow.salt)
    if pair is None:
        pair = first.pairs[shadow.salt] = worker.capture.pair(first, shadow.salt)
    pair.expect()
    return Errand(shadow.salt, pair, operation, limit_s)


def due(
    worker: Worker, way: Way, head: Asked, body: Asks, *, holds: int
) -> Iterator[tuple[Shadow, VersionRoute, Upstream]]:
    """Where a copy is to go, each taken out of its shadow's budget; what gets none is counted with the reason.

    Args:
        worker: that sends.
        way: of the request.
        head: of the request.
        body: whether it is still held.
        holds: bytes that one copy holds until it has ended.
    """
    model = way.model
    for version in shadowed(model.policy, way.unit, said_in(head) if model.shadows_ask else SILENT):
        shadow, route = model.shadows[version], model.versions[version]
        ration = route.state.ration
        ration.offer(shadow.salt)
        upstream = route.pick()
        if upstream is None or (head.grpc and upstream.lines is None):
            ration.drop(Dropped.NO_REPLICA, shadow.salt)
        elif why_not := _in_the_way(worker, route, upstream, holds) or _why_not(worker, shadow, route, body):
            ration.drop(why_not, shadow.salt)
        else:
            worker.shelf.put(holds)
            yield shadow, route, upstream


def _in_the_way(worker: Worker, route: VersionRoute, upstream: Upstream, holds: int) -> Dropped | None:
    """Why a copy would be in somebody's way."""
    config, ration = worker.config, route.state.ration
    others = len(worker.in_flight) - 1  # the request that is copied has its place still
    if 2 * others > config.max_in_flight or 2 * route.state.in_flight > config.max_in_flight_per_version:
        return Dropped.BUSY
    if queues(upstream.load, upstream.capacity):
        return Dropped.QUEUE
    if not ration.courtesy.lets(ration.in_flight):
        return Dropped.BACKING_OFF
    return None if worker.shelf.fits(holds) else Dropped.MEMORY


def _why_not(worker: Worker, shadow: Shadow, route: VersionRoute, body: Asks) -> Dropped | None:
    """Why there is no copy; where there is one, it is taken out of the shadow's budget."""
    if not (body.held and body.ended):
        return Dropped.NOT_WHOLE
    if len(worker.shadows) >= worker.config.max_shadows:
        return Dropped.FULL
    return route.state.ration.take(shadow, worker.loop.time())


class Copy:
    """One copy on its way."""

    grpc: ClassVar[bool] = False

    __slots__ = (
        "_began", "_captured", "_connection", "_data", "_errand", "_failed", "_kept", "_pieces", "_route", "_size",
        "_stream", "_upstream", "_worker", "deadline",
    )  # fmt: skip

    def __init__(
        self,
        worker: Worker,
        route: VersionRoute,
        upstream: Upstream,
        data: bytes,
        errand: Errand,
    ) -> None:
        self._worker = worker
        self._route = route
        self._upstream: Upstream | None = upstream
        self._data = data
        self._connection: Carrier | None = None
        self._began = worker.loop.time()
        self.deadline = self._began + errand.limit_s
        self._errand = errand
        self._kept = errand.holds  # bytes on the worker's shelf
        self._captured: list[bytes] | None = None if errand.pair is None else []
        self._size = 0  # of the answer, as far as it came
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
        if connection is not self._connection:
            return
        if self._errand.operation is not _INFER:
            self._look(answer, pieces)
        size = sum(map(len, pieces))
        self._take(pieces, size)
        if wait_s := self._worker.pace.wait_s(size, self._worker.loop.time()):
            connection.pause()
            self._worker.loop.call_later(wait_s, self._read_on, connection)

    def _read_on(self, connection: UpstreamConnection) -> None:
        if connection is self._connection:
            connection.resume()

    def _take(self, pieces: list[bytes], size: int) -> None:
        """Keeps what came, as far as it may be captured."""
        self._size += size
        if self._captured is None:
            return
        most = 0 if self._worker.capture is None else self._worker.capture.most + PREFIX
        if self._size <= most and self._worker.shelf.put(size):
            self._captured += pieces
            self._kept += size
        else:
            self._captured = None

    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """Nobody gets it; that it came is counted, and whether it says that it failed."""
        if self._errand.operation is not _INFER:
            self._look(answer, pieces)
            self._failed = self._errand.operation is Operation.GENERATE and failed_in(answer, self._pieces)
        self._take(pieces, sum(map(len, pieces)))
        self._connection = None
        if keep_alive:
            connection.rest()
        else:
            connection.close()
        if self._upstream is not None and answer.code < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._upstream.health.succeeded()
        self._answered(answer.code, pieces, answer.headers)

    def _answered(self, code: int, said: list[bytes], headers: bytes = b"", coding: bytes | None = None) -> None:
        """It has come whole; `said` is where the reason of a refusal would be."""
        given_up = code == HTTPStatus.SERVICE_UNAVAILABLE and any(words in b"".join(said) for words in _GIVEN_UP)
        if given_up:
            self._shed(Dropped.EXPIRED)
        self._end(outcome_of(code), code, headers, coding, counts=not given_up)

    def on_deadline(self) -> None:
        """It takes too long."""
        self._end(Outcome.LATE)

    def abandon(self) -> None:
        """The worker ends."""
        self._shed(Dropped.ABANDONED)
        self._end(Outcome.CANCELLED, counts=False)

    def _shed(self, why: Dropped) -> None:
        self._route.state.ration.drop(why, self._errand.salt)

    def _look(self, answer: AnswerHead, pieces: list[bytes]) -> None:
        """As `generate` looks at an answer that somebody gets."""
        if self._errand.operation is Operation.GENERATE:
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

    def _end(
        self, outcome: Outcome, code: int = 0, headers: bytes = b"", coding: bytes | None = None, *, counts: bool = True
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        worker, ration = self._worker, self._route.state.ration
        now = worker.loop.time()
        took_s = now - self._began
        ration.courtesy.ended(took_s, now, ration.in_flight, well=outcome in _WELL)
        upstream.in_flight -= 1
        ration.in_flight -= 1
        stream = self._stream
        if stream is not None:
            upstream.count_stream(Role.SHADOW, stream, ENDED.get(outcome, Ended.COMPLETE))
        if self._failed or (stream is not None and stream.errors):
            outcome = Outcome.SERVER_ERROR
        upstream.count(Role.SHADOW, outcome, took_s)
        if (traced := self._errand.traced) is not None and worker.journal is not None:
            worker.journal.copied(traced, upstream, outcome, code, took_s, grpc=self.grpc)
        worker.shadows.discard(self)
        worker.shelf.take(self._kept)
        if (pair := self._errand.pair) is not None:
            pieces = self._captured if code else None
            came = Came(self._route.version, outcome, code, took_s, headers, pieces, self._size, coding)
            pair.ended(came if counts else None)
