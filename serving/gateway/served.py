"""One request of either door: its limits, its place among the gateway's requests, and what the gateway says of its way.

What is read from a client and written to it is left to `exchange` (HTTP) and `grpc`; which replica is asked, and asked
again, is in `attempts`. A place is taken once, and given back once, however the request ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple

from router.choose import Reason
from router.request_id import flags_of
from serving.errors import Refusal
from serving.gateway.attempts import Answer, Asks, Attempts, Tells
from serving.gateway.counters import Outcome, Role
from serving.gateway.request import Bad
from serving.gateway.wording import FULL

if TYPE_CHECKING:
    from serving.access.principal import Principal
    from serving.gateway.dispatch import Way
    from serving.gateway.limits import Meter
    from serving.gateway.request import Asked
    from serving.gateway.worker import Worker

_DEADLY = Bad(Refusal.QUERY_OF_DEATH, "This body has just broken two replicas: change it before you send it again.")
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

    __slots__ = ("_failed", "_in_flight", "_meter", "answered")

    def __init__(self, worker: Worker, head: Asked, body: Asks, reply: Tells) -> None:
        super().__init__(worker, head, body, reply)
        self._in_flight = False
        self._meter: Meter | None = None  # of whoever asks, while it counts this request
        self.answered = False
        """Whether the client has all of its answer, or will never have."""
        self._failed = False

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
                state.failed += self._failed

    def _leave_upstream(self) -> None:
        self._drop_attempt(Outcome.CANCELLED)
        self._give_back_place()

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
        return Signature(route.version, request_id, _REASON_BYTES[reason], way.epoch)
