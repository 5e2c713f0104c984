"""A call of one message each way, on the hot path: read whole, sent on whole, answered in one write.

What is decided about it (who may ask, which version answers, what follows a failure) is decided where it is for HTTP.
A small answer is held until it is complete, so that it can still come from elsewhere; a large one goes on as it comes,
as fast as the client reads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from serving.access.principal import UNLIMITED, Principal
from serving.errors import Refusal
from serving.gateway.attempts import SERVER_ERROR
from serving.gateway.dispatch import Way, find_way
from serving.gateway.failover import Failure
from serving.gateway.grpc import copies, services
from serving.gateway.grpc.answers import HEAD, WELL, Answer, failed, signed
from serving.gateway.grpc.framing import PREFIX, Single, framed, inflated
from serving.gateway.grpc.heads import CallHead, timeout_field
from serving.gateway.grpc.leg import Asker, Leg
from serving.gateway.grpc.messages import Malformed, rewritten, with_version
from serving.gateway.grpc.methods import Kind
from serving.gateway.grpc.opening import Taker
from serving.gateway.grpc.status import code_of, refusal
from serving.gateway.h2.frames import ErrorCode
from serving.gateway.h2.stream import Fields, ServerStream
from serving.gateway.paths import Operation
from serving.gateway.request import Bad
from serving.gateway.served import Served
from serving.gateway.wording import FULL, LATE, UNREADABLE

if TYPE_CHECKING:
    from serving.gateway.grpc.port import Line
    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import Upstream

_LONGEST_METADATA = 1024 * 1024


class Told:
    """The answer half of a call."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False


class UnaryCall(Served[Answer], Taker, Asker):
    """One call and its answer.

    Args:
        line: the client's connection.
        stream: its stream.
        head: of the call.
    """

    _head: CallHead
    body: Single
    _connection: Leg | None

    __slots__ = ("_holding", "_line", "_message", "_not_taken", "_owed", "_stream", "_waits_since", "_who")

    def __init__(self, line: Line, stream: ServerStream, head: CallHead) -> None:
        super().__init__(line.worker, head, Single(line.worker.config.max_body), Told())
        self._line = line
        self._stream = stream
        self._who: Principal
        self._message = b""
        """The request in the clear, without what says how long it is."""
        self._waits_since = 0.0  # for more of the request, by the loop's clock
        self._owed = 0  # bytes of the answer that wait for the client
        self._holding = 0  # bytes of the request that are counted against what all calls may hold
        self._not_taken = 0

    # The request half.

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """The call begins: whether it may go on is known from its head alone."""
        del fields
        head, worker = self._head, self._worker
        who = worker.admission.admit(head, worker.wall_s, self._line)
        if isinstance(who, Bad):
            self.refuse(who)
            return
        self._who = who
        bad = head.bad if who.limits is UNLIMITED else self._count_in(who, None) or head.bad
        if bad is None and head.kind.kind is Kind.ALONE:
            bad = services.refused(worker.standing, head, who)
        if bad is not None:
            self.refuse(bad)
        elif end:
            self.on_end()
        else:
            self._waits_since = worker.loop.time()
            self._line.port.unfinished.add(self)

    def on_data(self, data: bytes) -> None:
        """More of the message."""
        if self.answered:
            return
        body = self.body
        self._waits_since = self._worker.loop.time()
        bad = body.take(data) or self._over(body.size)
        if bad is not None:
            if self._meter is not None:
                self._meter.too_large += bad.kind is Refusal.TOO_LARGE
            self.refuse(bad)
        elif self._holding:
            self._stream.consume(len(data))

    def _over(self, size: int | None) -> Bad | None:
        """Why a message of this size may not come from whoever asks, or not now, if so."""
        if size is None or self._holding:
            return None
        bad = None if self._meter is None else self._meter.too_long(size)
        if bad is not None or size + PREFIX <= self._line.port.limits.stream_window:
            return bad
        if not self._line.port.hold(size):
            return FULL
        self._holding = size
        self._stream.consume(self.body.received)
        return None

    def on_trailers(self, fields: Fields) -> None:
        """A client has nothing to say there."""
        del fields
        self.on_end()

    def on_end(self) -> None:
        """The message is complete: finds the way, or answers at once."""
        if self.answered:
            return
        self._line.port.unfinished.discard(self)
        found = self.body.end() or self._found()
        if isinstance(found, Bad):
            self.refuse(found)
        elif isinstance(found, Way):
            self._way = found
            bad = self._take_place(found)
            if bad is None:
                self._start(found)
            else:
                self._way = None
                self.refuse(bad)
        elif found is not None:
            self._answer_by_itself(found)

    def _found(self) -> Way | Bad | bytes | None:
        """What becomes of the call, now that its message is there; None where that takes a while."""
        worker, kind = self._worker, self._head.kind
        sent = self.body.whole()
        message = inflated(sent, self._head.coding, worker.config.max_body) if sent.compressed else sent.data
        if isinstance(message, Bad):
            return message
        head = self._head
        if kind.named is not None:
            try:
                head = self._head = head.about(kind.named(message))
            except Malformed:
                return UNREADABLE
        who = self._who
        if not who.sees(head.target.model):
            seen = worker.admission.admit(head, worker.wall_s, self._line)
            if isinstance(seen, Bad):
                return seen
        if head.target.operation is Operation.ALL_STATS:
            worker.run(self._answer_statistics(who))
            return None
        own = services.own_answer(worker.standing, head, message, who)
        if own is not None:
            return own
        self._message = message
        return find_way(worker.routing, head, worker.nonce(), who, sequence=head.named.sequence)

    async def _answer_statistics(self, who: Principal) -> None:
        """The one answer that is put together from those of many."""
        found = await services.statistics(self._worker, who)
        if not self.answered:
            self._answer_by_itself(found)

    def overdue(self, now: float) -> bool:
        """Whether the client owes the rest of its message for too long."""
        return now - self._waits_since > self._worker.config.upstream_timeout_s

    def time_out(self) -> None:
        """It does."""
        self.refuse(LATE)

    def on_reset(self, code: int) -> None:
        """The client has given up, or is gone: the place at the model is given back at once."""
        del code
        self.answered = True
        self._leave_upstream()
        self._let_go()

    def on_writable(self) -> None:
        """The client reads again."""
        owed, self._owed = self._owed, 0
        if owed and self._connection is not None:
            self._connection.take(owed)

    # One attempt.

    def _pick(self, route: VersionRoute, failed: Upstream | None) -> Upstream | None:
        sequence = self._head.named.sequence
        return super()._pick(route, failed) if sequence is None else route.keeper_of(sequence, failed)

    def _ask(self, upstream: Upstream, *, fresh: bool) -> None:
        del fresh  # a connection that broke is not used again in any case
        self._not_taken = 0
        if upstream.lines is None:
            self._after(Failure.REFUSED, Bad(Refusal.NO_REPLICA, self._sentence("has no gRPC port")))
        else:
            upstream.lines.carry(self)

    def on_line(self, line: ClientConnection) -> None:
        """A connection stands: out with the request."""
        leg = self._connection = Leg(self)
        block = self._head.block
        if self._latest < math.inf:
            block += timeout_field(self._latest - self._worker.loop.time())
        leg.open(line, block, self._pieces(), end=True)
        if self.body.received > self._worker.config.repeat_max_request:
            self._let_go()

    def _pieces(self) -> list[bytes]:
        """The message for the version that is asked: as it came, where it names that itself."""
        if self._route is None:
            raise RuntimeError("a call was sent before it had a way")
        version = b"%d" % self._route.version
        if self._head.named.version == version:
            return self.body.pieces
        return [framed(with_version(self._message, version))]

    def on_not_taken(self, leg: Leg) -> None:
        """That connection was about to end: another one carries it."""
        upstream = self._upstream
        if leg is not self._connection or upstream is None or upstream.lines is None:
            return
        self._connection = None
        self._not_taken += 1
        if self._not_taken > 1:
            self.on_refused(upstream)
        else:
            upstream.lines.carry(self)

    def on_room(self, leg: Leg) -> None:
        """All of it is written already."""

    # The answer half.

    def on_piece(self, leg: Leg, data: bytes) -> None:
        """A part of the answer."""
        if leg is not self._connection:
            return
        if self.reply.begun:
            self._moves()
            self._pass_on(leg, [data], len(data))
            return
        held = self._held
        held.append(data)
        size = len(data) if len(held) == 1 else sum(map(len, held))
        if self._head.target.operation is Operation.METADATA:
            if size > _LONGEST_METADATA:
                self.refuse(Bad(Refusal.BROKEN_UPSTREAM, self._sentence("sent more than 1 MiB of metadata")))
        elif size > self._worker.config.repeat_max_response and leg.head is not None:
            self._held = []
            self.reply.begun = True
            self._stream.write_headers(self._block(leg.head) + signed(self._signature()))
            self._moves()
            self._pass_on(leg, held, size)

    def _pass_on(self, leg: Leg, pieces: list[bytes], size: int) -> None:
        self._stream.write_data(pieces)
        if self._stream.full:
            self._owed += size
        else:
            leg.take(size)

    def on_answered(self, leg: Leg, answer: Answer) -> None:
        """The answer is complete."""
        if leg is not self._connection:
            return
        self._connection = None
        if self.reply.begun:
            self._failed = answer.code >= SERVER_ERROR
            self._conclude(answer.code)
            self._stream.write_trailers(self._block(answer.trailers))
            self._finish()
            return
        pieces, self._held = self._held, []
        if answer.code >= SERVER_ERROR:
            self._on_server_error(answer, pieces)
        else:
            self._conclude(answer.code)
            self._answer_whole(answer, pieces)

    def _block(self, fields: Fields) -> bytes:
        return self._line.port.blocks.of(fields)

    def _answer_whole(self, answer: Answer, pieces: list[bytes]) -> None:
        self.reply.begun = True
        self._failed = answer.code >= SERVER_ERROR
        ours, end = signed(self._signature()), self._block(answer.trailers)
        if answer.head is None:
            block = end if answer.trailers[0][0] == b":status" else HEAD + end
            self._stream.write_headers(block + ours, end=True)
        else:
            if self._head.target.operation is Operation.METADATA:
                pieces = self._with_versions(pieces)
            self._stream.write_whole(self._block(answer.head) + ours, pieces, end)
        self._finish()

    def _with_versions(self, pieces: list[bytes]) -> list[bytes]:
        """A model's metadata with every version that the gateway routes to, not only the one that this server has."""
        data = b"".join(pieces)
        way = self._way
        if way is None or len(data) < PREFIX or data[0]:
            return pieces
        versions = [b"%d" % version for version in sorted(way.model.versions)]
        try:
            return [framed(rewritten(data[PREFIX:], 2, versions))]
        except Malformed:
            return pieces

    def refuse(self, bad: Bad) -> None:
        """An error of the gateway's own; where the answer has begun, it ends with it."""
        if self.answered:
            return
        self._failed = True
        self._leave_upstream()
        if not self.reply.begun:
            self._stream.write_headers(refusal(bad, is_grpc=self._head.is_grpc), end=True)
        elif self._stream.full:  # a client that does not read would not read the end either
            self._stream.reset(ErrorCode.CANCEL)
        else:
            self._stream.write_trailers(failed(code_of(bad), bad.sentence))
        self._finish()

    def _answer_by_itself(self, message: bytes) -> None:
        self.reply.begun = True
        self._stream.write_whole(HEAD, [framed(message)], WELL)
        self._finish()

    def _finish(self) -> None:
        self.answered = True
        way = self._way
        if way is not None and way.model.policy.shadows and self._started and not self._head.synthetic:
            if self._broke_at is not None:  # a shadow's replica is not to be the next that it breaks
                self.body.let_go()
            copies.send(self._worker, way, self._head, self.body, self._message)
        self._let_go()
        self._give_back_place()

    def _let_go(self) -> None:
        self.body.let_go()
        self._message = b""
        self._line.port.unfinished.discard(self)
        holding, self._holding = self._holding, 0
        if holding:
            self._line.port.release(holding)
