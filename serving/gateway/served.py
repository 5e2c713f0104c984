"""One request of either door: its limits, its place among the gateway's requests, and what the gateway says of its way.

What is read from a client and written to it is left to `exchange` (HTTP) and `grpc`; which replica is asked, and asked
again, is in `attempts`. A place is taken once, and given back once, however the request ends.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Generic, NamedTuple

from router.choose import Reason
from router.request_id import flags_of
from serving.errors import STATUS, Refusal
from serving.gateway.attempts import SERVER_ERROR, Answer, Asks, Attempts, Tells
from serving.gateway.counters import Outcome, Role, outcome_of
from serving.gateway.pairs import Came, First
from serving.gateway.paths import Operation
from serving.gateway.request import Bad
from serving.gateway.wording import FULL

if TYPE_CHECKING:
    from serving.access.principal import Principal
    from serving.gateway.dispatch import Way
    from serving.gateway.limits import Meter
    from serving.gateway.notes import Note
    from serving.gateway.predictions import Observer
    from serving.gateway.request import Asked
    from serving.gateway.worker import Worker

_DEADLY = Bad(Refusal.QUERY_OF_DEATH, "This body has just broken two replicas: change it before you send it again.")
_FAILED = {Refusal.DEADLINE: Outcome.LATE, Refusal.BROKEN_UPSTREAM: Outcome.BROKEN}
"""How the attempts at a request ended that the gateway gave up; refused, where it is not said here."""
_INFER = Operation.INFER
_OK = Outcome.OK
_FINE_CODE = int(HTTPStatus.OK)  # to look a member up costs more than to compare with it
_REASON_BYTES = {reason: reason.value.encode() for reason in Reason}


class Signature(NamedTuple):
    """What the gateway adds to an answer.

    Attributes:
        version: that answered.
        request_id: this request's.
        reason: why that version.
        epoch: of the policy.
    """

    version: int
    request_id: bytes
    reason: bytes
    epoch: int


class Served(Attempts[Answer], Generic[Answer]):
    """One request, its place and its answer."""

    __slots__ = ("_bad", "_drawn", "_failed", "_in_flight", "_meter", "_signed", "answered")

    def __init__(self, worker: Worker, head: Asked, body: Asks, reply: Tells) -> None:
        super().__init__(worker, head, body, reply)
        self._in_flight = False
        self._drawn = False  # whether it was decided if it has a note
        self._signed: Signature | None = None  # what the gateway last said of its way
        self._meter: Meter | None = None  # of whoever asks, while it counts this request
        self.answered = False
        """Whether the client has all of its answer, or will never have."""
        self._failed = 0  # the status that the client was failed with
        self._bad: Bad | None = None  # why, where the gateway itself answered

    def _count_in(self, who: Principal, length: int | None) -> Bad | None:
        """Counts it among the requests of somebody who has limits; why it exceeds them, if so.

        Args:
            who: asks.
            length: of the body in bytes, None where that is not known yet.
        """
        meter = self._worker.meters.of(who)
        bad = meter.enter()
        if bad is not None:
            return bad
        self._meter = meter
        return meter.too_long(length)

    def _take_place(self, way: Way) -> Bad | None:
        """A place among the gateway's requests; why it gets none."""
        worker = self._worker
        if worker.notes is not None:
            self._note = worker.notes.note(self._head, way)
            self._drawn = True
        if len(worker.in_flight) >= worker.config.max_in_flight:
            return FULL
        quarantine = worker.quarantine
        if quarantine and quarantine.holds(way.model.name, b"".join(self.body.pieces), worker.loop.time()):
            return _DEADLY
        worker.in_flight.add(self)
        self._in_flight = True
        return None

    def _give_back_place(self) -> None:
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.leave()
        if self._in_flight and self._way is not None:
            self._in_flight = False
            self._worker.in_flight.discard(self)
            state = self._way.route.state
            if self._head.synthetic:
                state.synthetic += 1
            else:
                state.requests += 1
            if self._failed:
                self._count_failure(self._way)
        if self._note is not None:
            self._close(self._note)

    def _fail(self, bad: Bad) -> None:
        """The client gets this in a model's place: told of as a failure, where it is one."""
        self._failed, self._bad = STATUS[bad.kind].http, bad
        journal, way = self._worker.journal, self._way
        if journal is not None and self._note is None:
            journal.refused(self._head, way, None if way is None else self._named(way), bad, drawn=self._drawn)

    def _count_failure(self, way: Way) -> None:
        if not self._head.synthetic:
            way.route.state.failed += 1
        journal = self._worker.journal
        if journal is not None and self._note is None and self._bad is None and self._failed >= SERVER_ERROR:
            journal.failed(self._head, way, self._named(way), self._failed)

    def _close(self, note: Note) -> None:
        way = self._way
        signature = None if way is None or note.signature is not None else self._named(way)
        note.close(signature, self._failed, self._bad, self.body.received, self.reply.sent)

    def _named(self, way: Way) -> Signature | None:
        """What the gateway says of this way, whether or not anybody was asked."""
        if self._route is None:
            self._route = way.route
        return self._signature()

    def _leave_upstream(self) -> None:
        self._drop_attempt(Outcome.CANCELLED)
        self._give_back_place()

    def _observe(self, observer: Observer, label: Callable[[], str | None]) -> None:
        """Notes what a whole answer predicts, where it is one of those that are looked at.

        Args:
            observer: of the model.
            label: reads it.
        """
        way, upstream = self._way, self._upstream
        if way is None or upstream is None or self._role is not Role.FIRST or self._head.synthetic:
            return
        if self._head.target.operation is _INFER and observer.wants(way.nonce, self._worker.loop.time()):
            predicted = label()
            if predicted is not None:
                upstream.count_prediction(predicted)

    def _signature(self) -> Signature | None:
        """Which version answered and why, by the policy of which epoch, and the request's id; None before its way."""
        way, worker, route = self._way, self._worker, self._route
        if way is None or route is None:
            return None
        assigned, reason, _ = way.choice
        key = worker.key
        flags = flags_of(reason, has_unit=way.has_unit, synthetic=self._head.synthetic)
        request_id = key.mint_fields(
            flags, way.nonce, way.model.hash_by(key), assigned, route.version,
            way.epoch, worker.now_s, key.unit_hash(way.unit),
        )  # fmt: skip
        if self._role is Role.FALLBACK:
            reason = Reason.FALLBACK
        signature = self._signed = Signature(route.version, request_id, _REASON_BYTES[reason], way.epoch)
        if self._note is not None:
            self._note.signature = signature
        return signature

    def _told(self) -> Signature | None:
        """What the client was told, whenever that was; where it was told nothing, what it would be."""
        return self._signature() if self._signed is None else self._signed

    # What a keeper is told; called only where there is one.

    def _is_heard(self, code: int, outcome: Outcome | None = None) -> bool:
        """Whether anybody hears, or may hear, of the answer that the client has just got; to be asked once.

        Args:
            code: that it counts as.
            outcome: where the code does not say it.
        """
        way, capture = self._way, self._worker.capture
        if way is None or capture is None or not self._started:
            return False
        if self._head.target.operation is not _INFER or self._head.synthetic:
            return False
        if way.model.policy.shadows:
            return True
        if outcome is None:
            outcome = _OK if code == _FINE_CODE else outcome_of(code)
        return capture.takes(way, outcome)

    def _first(
        self,
        code: int,
        headers: bytes,
        pieces: list[bytes] | None,
        *,
        size: int | None = None,
        coding: bytes | None = None,
        outcome: Outcome | None = None,
    ) -> First | None:
        """The answer that the client has just got, where it is heard; None where no version was to give it.

        Args:
            code: that it counts as.
            headers: of HTTP's answer.
            pieces: of its body; None where not all of it was held.
            size: of its body, where the pieces do not say it.
            coding: of gRPC's message; None over HTTP.
            outcome: where the code does not say it.
        """
        way, route, worker = self._way, self._route, self._worker
        if way is None or route is None:
            return None
        ended = outcome_of(code) if outcome is None else outcome
        took_s = max(0.0, worker.loop.time() - self._began)
        size = sum(map(len, pieces or ())) if size is None else size
        came = Came(route.version, ended, code, took_s, headers, pieces, size, coding)
        return First(way, self._head, came, self._whole_request(), sign=self._told, at_s=worker.wall_s)

    def _first_refused(self, bad: Bad) -> First | None:
        """The same where the gateway answered in a model's place; None where nobody is to hear of it."""
        code, outcome = STATUS[bad.kind].http, _FAILED.get(bad.kind, Outcome.REFUSED)
        return self._first(code, b"", None, outcome=outcome) if self._is_heard(code, outcome) else None

    def _whole_request(self) -> list[bytes] | None:
        """The body, over gRPC with its five bytes; None where it is not held any more."""
        return self.body.pieces if self.body.held and self.body.ended else None
