"""A call of one message each way, on the hot path: read whole, sent on whole, answered in one write.

What is decided about it (who may ask, which version answers, what follows a failure) is decided where it is for HTTP.
A small answer is held until it is complete, so that it can still come from elsewhere; a large one goes on as it comes,
as fast as the client reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.access.principal import UNLIMITED, Principal
from serving.errors import Refusal
from serving.gateway.attempts import SERVER_ERROR
from serving.gateway.dispatch import Way, find_way
from serving.gateway.grpc import copies, services
from serving.gateway.grpc.answers import HEAD, WELL, Answer, coding_of, refuse_on, signed
from serving.gateway.grpc.attempt import Sending
from serving.gateway.grpc.framing import PREFIX, Sent, Single, framed, inflated
from serving.gateway.grpc.messages import Malformed, for_version, rewritten
from serving.gateway.grpc.methods import Kind
from serving.gateway.h2.stream import Fields, Piece, ServerStream, StreamHandler
from serving.gateway.paths import Operation
from serving.gateway.request import Bad
from serving.gateway.wording import FULL, LATE, UNREADABLE

if TYPE_CHECKING:
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.grpc.leg import Leg
    from serving.gateway.grpc.port import Line
    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.pairs import First
    from serving.gateway.predictions import Observer

_LONGEST_METADATA = 1024 * 1024
_INFER, _ALL_STATS = Operation.INFER, Operation.ALL_STATS  # to look a member up costs more than to compare with it
_METADATA, _ALONE = Operation.METADATA, Kind.ALONE


class UnaryCall(Sending, StreamHandler):
    """One call and its answer.

    Args:
        line: the client's connection.
        stream: its stream.
        head: of the call.
    """

    body: Single

    __slots__ = ("_holding", "_line", "_owed", "_plain", "_stream", "_waits_since", "_who")

    def __init__(self, line: Line, stream: ServerStream, head: CallHead) -> None:
        super().__init__(line.worker, head, Single(line.worker.config.max_body))
        self._line = line
        self._stream = stream
        self._who: Principal
        self._plain = b""
        """The request in the clear, with its five bytes."""
        self._waits_since = 0.0  # for more of the request, by the loop's clock
        self._owed = 0  # bytes of the answer that wait for the client
        self._holding = 0  # bytes of the request that are counted against what all calls may hold

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
        if bad is None and head.kind.kind is _ALONE:
            bad = services.refused(worker.standing, head, who)
        if bad is not None:
            self.refuse(bad)
        elif end:
            self.on_end()
        else:
            self._waits_since = self._stream.connection.heard_at
            self._line.port.unfinished.add(self)

    def on_data(self, data: bytes) -> None:
        """More of the message."""
        if self.answered:
            return
        body = self.body
        self._waits_since = self._stream.connection.heard_at
        bad = body.take(data)
        if bad is None and (self._meter is not None or body.size > self._line.port.limits.stream_window):
            bad = self._over(body.size)
        if bad is not None:
            if self._meter is not None:
                self._meter.too_large += bad.kind is Refusal.TOO_LARGE
            self.refuse(bad)
        elif self._holding:
            self._stream.consume(len(data))

    def _over(self, size: int) -> Bad | None:
        """Why a message of this size, its five bytes among them, may not come from whoever asks, or not now, if so."""
        if size < 0 or self._holding:  # not known yet, or seen to
            return None
        bad = None if self._meter is None else self._meter.too_long(size - PREFIX)
        if bad is not None or size <= self._line.port.limits.stream_window:
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
        worker, head = self._worker, self._head
        sent = self.body.whole()
        if sent[0]:
            message = inflated(Sent(True, sent[PREFIX:]), head.coding, worker.config.max_body)
            if isinstance(message, Bad):
                return message
            sent = framed(message)
        if head.kind.named is not None:
            try:
                head = self._head = head.about(head.kind.named(sent, PREFIX))
            except Malformed:
                return UNREADABLE
        if not self._who.sees(head.target.model):
            seen = worker.admission.admit(head, worker.wall_s, self._line)
            if isinstance(seen, Bad):
                return seen
        operation = head.target.operation
        if operation is _ALL_STATS:
            worker.run(self._answer_statistics())
            return None
        if operation is not _INFER:
            own = services.own_answer(worker.standing, head, sent[PREFIX:], self._who)
            if own is not None:
                return own
        self._plain = sent
        return find_way(worker.routing, head, worker.nonce(), self._who, sequence=head.named.sequence)

    async def _answer_statistics(self) -> None:
        """The one answer that is put together from those of many."""
        found = await services.statistics(self._worker, self._who)
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

    def on_line(self, line: ClientConnection) -> None:
        """A connection stands: out with the request."""
        super().on_line(line)
        if self.body.received > self._worker.config.repeat_max_request:
            self._let_go()

    def _pieces(self) -> Sequence[Piece]:
        """The message as it came, where it names the version itself that is asked."""
        version = self._version
        return self.body.pieces if self._head.named.version == version else for_version(self._plain, version)

    def on_room(self, leg: Leg) -> None:
        """All of it is written already."""

    # The answer half.

    def on_piece(self, leg: Leg, data: bytes) -> None:
        """A part of the answer."""
        if leg is not self._connection:
            return
        if self.reply.begun:
            self._moves()
            if self._worker.capture is not None:
                self._worker.capture.go_on(self, [data])
            self._pass_on(leg, [data], len(data))
            return
        held = self._held
        held.append(data)
        size = len(data) if len(held) == 1 else sum(map(len, held))
        if self._head.target.operation is _METADATA:
            if size > _LONGEST_METADATA:
                self.refuse(Bad(Refusal.BROKEN_UPSTREAM, self._sentence("sent more than 1 MiB of metadata")))
        elif size > self._worker.config.repeat_max_response and leg.head is not None:
            self._held = []
            self.reply.begun = True
            self._stream.write_headers(self._block(leg.head) + signed(self._signature()))
            self._moves()
            if self._worker.capture is not None:
                self._worker.capture.gather(self, held)
            self._pass_on(leg, held, size)

    def _pass_on(self, leg: Leg, pieces: list[bytes], size: int) -> None:
        self.reply.sent += size
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
            self._failed = answer.code if answer.code >= SERVER_ERROR else 0
            self._conclude(answer.code)
            self._stream.write_trailers(self._block(answer.trailers))
            capture = self._worker.capture
            self._finish(None if capture is None else self._first_call(answer, *capture.gathered(self)))
            return
        pieces, self._held = self._held, []
        if answer.code >= SERVER_ERROR:
            self._on_server_error(answer, pieces)
        else:
            if self._way is not None and (observer := self._way.model.observer) is not None:
                self._look_at(observer, pieces)
            self._conclude(answer.code)
            self._answer_whole(answer, pieces)

    def _look_at(self, observer: Observer, pieces: list[bytes]) -> None:
        self._observe(observer, lambda: observer.label_of_message(b"".join(pieces)))

    def _block(self, fields: Fields) -> bytes:
        return self._line.port.blocks.of(fields)

    def _answer_whole(self, answer: Answer, pieces: list[bytes]) -> None:
        self.reply.begun = True
        self._failed = answer.code if answer.code >= SERVER_ERROR else 0
        blocks = self._line.port.blocks
        ours, end = signed(self._signature()), blocks.of(answer.trailers)
        if answer.head is None:
            block = end if answer.trailers[0][0] == b":status" else HEAD + end
            self._stream.write_headers(block + ours, end=True)
        else:
            if self._head.target.operation is _METADATA:
                pieces = self._with_versions(pieces)
            self._stream.write_whole(blocks.of(answer.head) + ours, pieces, end)
            if self._note is not None:
                self.reply.sent = sum(map(len, pieces))
        self._finish(None if self._worker.capture is None else self._first_call(answer, pieces))

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
        self._fail(bad)
        self._leave_upstream()
        refuse_on(self._stream, bad, begun=self.reply.begun, is_grpc=self._head.is_grpc)
        self._finish(None if self._worker.capture is None else self._first_refused(bad))

    def _answer_by_itself(self, message: bytes) -> None:
        self.reply.begun = True
        self._stream.write_whole(HEAD, [framed(message)], WELL)
        self._finish()

    def _first_call(self, answer: Answer, pieces: list[bytes] | None, size: int | None = None) -> First | None:
        """What the client has just got, for the keeper; None where nobody is to hear of it."""
        if not self._is_heard(answer.code):
            return None
        return self._first(
            answer.code, b"", None if answer.head is None else pieces, size=size, coding=coding_of(answer.head)
        )

    def _whole_request(self) -> list[bytes] | None:
        """The message in the clear, with its five bytes."""
        return [self._plain] if self._plain and self.body.held and self.body.ended else None

    def _finish(self, first: First | None = None) -> None:
        self.answered = True
        way = self._way
        if way is not None and way.model.policy.shadows and self._started and not self._head.synthetic:
            if self._broke_at is not None:  # a shadow's replica is not to be the next that it breaks
                self.body.let_go()
            took_s = self._worker.loop.time() - self._began
            copies.send(
                self._worker, way, self._head, self.body, self._plain, took_s=took_s, first=first, note=self._note
            )
        if first is not None and self._worker.capture is not None:
            self._worker.capture.close(first)
        self._let_go()
        self._give_back_place()

    def _let_go(self) -> None:
        self.body.let_go()
        self._plain = b""
        self._line.port.unfinished.discard(self)
        holding, self._holding = self._holding, 0
        if holding:
            self._line.port.release(holding)
