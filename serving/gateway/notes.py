"""What the worker notes of requests, for traces, the access log and the log of errors (`serving.noted`).

A note is made for a request that is traced or drawn for the access log, and for no other: where neither is switched on,
a request pays for looks at `None`. A caller that traces decides for what it asks (W3C Trace Context); of all other
requests a share is traced, drawn by a hash of the request's own number, and another share, under another salt, stands
in the access log. A request that failed is told of whether or not it has a note, with fewer figures where it has none.
Failures and traces are bounded by the second, for callers decide how many there are; what is over that is counted.

How a note gets to the keeper is `capture`'s business, and what becomes of it there `serving.keeping`'s.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from xxhash import xxh3_64_intdigest

from drift.sampling import Allowance
from router.policy import WHOLE
from serving.captured import Kind
from serving.errors import STATUS, Refusal
from serving.gateway.counters import Outcome, Role
from serving.gateway.traceparent import NAME, STATE, Onward, context_in, onward
from serving.noted import CopyNoted, Noted, Step, Traced

if TYPE_CHECKING:
    from serving.gateway.config import WorkerConfig
    from serving.gateway.dispatch import Way
    from serving.gateway.request import Asked, Bad
    from serving.gateway.served import Signature
    from serving.gateway.upstream import Upstream

ERRORS_PER_S: Final = 100.0
"""Failed requests that one worker tells of in a second, at most."""
LONGEST_STATE: Final = 512
"""Characters of `tracestate` that stand in spans; a longer one is passed on to models all the same."""
_SERVER_ERROR: Final = 500
_TRACES: Final = b"traces"
_ACCESS: Final = b"access"
_LONGEST_NAME: Final = 128
_LONGEST_SENTENCE: Final = 1_024
_ROLES: Final = tuple(role.name.lower() for role in Role)
_OUTCOMES: Final = tuple(outcome.name.lower() for outcome in Outcome)
Hand = Callable[[Kind, bytes], None]
"""Gives a frame to the keeper."""


class Journal:
    """Decides of which requests anything is noted, and hands over what was.

    Args:
        config: of the worker.
        clock: seconds of the loop's clock.
        draw: 64 random bits.
        hand: gives a frame to the keeper.
    """

    def __init__(self, config: WorkerConfig, clock: Callable[[], float], draw: Callable[[], int], hand: Hand) -> None:
        self.clock = clock
        self.lost: Counter[str] = Counter()
        """What is not traced, or not told of, though it was to be, by "what_why"."""
        self._draw = draw
        self._hand = hand
        self._trace_ppm = config.trace_share_ppm if config.traces_per_s > 0 else None
        self._access_ppm = config.access_ppm
        self._traces_left = Allowance(config.traces_per_s or 1.0, clock())
        self._errors_left = Allowance(ERRORS_PER_S, clock())
        self._suppressed = 0

    @property
    def takes_notes(self) -> bool:
        """Whether any request has a note from its beginning."""
        return self._trace_ppm is not None or self._access_ppm > 0

    def note(self, head: Asked, way: Way) -> Note | None:
        """The note of a request that begins now; None for most."""
        traced, access = self._wanted(head, way.nonce)
        return Note(self, head, way, traced, access=access) if access or traced is not None else None

    def refused(
        self, head: Asked, way: Way | None, signature: Signature | None, bad: Bad, *, drawn: bool = False
    ) -> None:
        """The gateway itself answered a request that has no note.

        Args:
            head: of the request.
            way: of the request, where it came that far.
            signature: what the gateway says of that way.
            bad: why.
            drawn: whether it was decided before that it has none.
        """
        status = STATUS[bad.kind].http
        traced, access = None, False
        if not drawn:
            nonce = self._draw() if way is None else way.nonce
            traced, access = self._wanted(head, nonce, may_trace=bad.kind is not Refusal.UNAUTHENTICATED)
        failed = self.tells(status, bad)
        if access or failed or traced is not None:
            self.send(Noted(
                time.time(), 0.0, **_said_by(head, way, signature), **_why(bad), status=status, traced=traced,
                access=access, failed=failed, suppressed=self.suppressed(failed=failed),
            ))  # fmt: skip

    def failed(self, head: Asked, way: Way, signature: Signature | None, status: int) -> None:
        """A model failed a request that has no note, with this status."""
        if self.tells(status):
            self.send(Noted(
                time.time(), 0.0, **_said_by(head, way, signature), status=status, failed=True,
                suppressed=self.suppressed(failed=True),
            ))  # fmt: skip

    def tells(self, status: int, bad: Bad | None = None) -> bool:
        """Whether a request that ended so is told of as a failure: clients' own mistakes are none.

        Args:
            status: that it ended with.
            bad: why, where the gateway itself said no.
        """
        if status < _SERVER_ERROR or (bad is not None and bad.kind is Refusal.NOT_OFFERED):
            return False
        if self._errors_left.is_open(self.clock()):
            self._errors_left.take()
            return True
        self._suppressed += 1
        self.lost["error_rate"] += 1
        return False

    def suppressed(self, *, failed: bool) -> int:
        """How many failures nobody was told of since the last one that somebody was; 0 with one that is no failure."""
        if not failed:
            return 0
        count, self._suppressed = self._suppressed, 0
        return count

    def new_span(self) -> int:
        """An id: 64 random bits, not all of them 0."""
        return self._draw() or 1

    def send(self, noted: Noted) -> None:
        """Hands it over."""
        self._hand(Kind.NOTED, noted.encode())

    def copied(
        self, traced: Traced, upstream: Upstream, outcome: Outcome, code: int, took_s: float, *, grpc: bool
    ) -> None:
        """A copy of a traced request is over.

        Args:
            traced: its span.
            upstream: that was asked.
            outcome: how it ended.
            code: of its answer; 0 where none came.
            took_s: how long it took.
            grpc: whether it went over gRPC.
        """
        step = Step(
            traced.span, upstream.version, _ROLES[Role.SHADOW], _place(upstream), _OUTCOMES[outcome], code,
            max(0.0, time.time() - took_s), max(0.0, took_s),
        )  # fmt: skip
        self._hand(Kind.COPIED, CopyNoted(upstream.model, _PROTOCOLS[grpc], step, traced).encode())

    def _wanted(self, head: Asked, nonce: int, *, may_trace: bool = True) -> tuple[Traced | None, bool]:
        """The request's span, where it is traced, and whether it stands in the access log.

        Whoever may not ask decides nothing, and takes no trace from those who may.
        """
        share = self._trace_ppm if may_trace else None
        traced = None if share is None else self._traced(head.fields, nonce, share)
        return traced, self._access_ppm > 0 and _drawn(_ACCESS, nonce, self._access_ppm)

    def _traced(self, fields: Mapping[bytes, bytes], nonce: int, share_ppm: int) -> Traced | None:
        said = fields.get(NAME)
        context = None if said is None else context_in(said)
        wanted = _drawn(_TRACES, nonce, share_ppm) if context is None else context.sampled
        if not wanted:
            return None
        if not self._traces_left.is_open(self.clock()):
            self.lost["trace_rate"] += 1
            return None
        self._traces_left.take()
        if context is None:
            return Traced(self.new_span() << 64 | self.new_span(), self.new_span())
        state = fields.get(STATE, b"").decode("ascii", "replace")
        return Traced(context.trace, self.new_span(), context.parent, state if len(state) <= LONGEST_STATE else "")


class Note:
    """What is noted of one request while it is under way.

    Args:
        journal: that it will be handed to.
        head: of the request.
        way: of the request as it begins.
        traced: its span; None where nobody traces.
        access: whether it stands in the access log.
    """

    __slots__ = (
        "_access", "_at_s", "_began_s", "_closed", "_head", "_journal", "_span", "_steps", "_traced", "_way", "code",
        "signature",
    )  # fmt: skip

    def __init__(self, journal: Journal, head: Asked, way: Way, traced: Traced | None, *, access: bool) -> None:
        self.code = 0
        """The status of the answer to the attempt under way, or the last one; 0 where none has come."""
        self.signature: Signature | None = None
        """What the client was told of the way."""
        self._journal = journal
        self._head = head
        self._way = way
        self._traced = traced
        self._access = access
        self._at_s = time.time()
        self._began_s = journal.clock()
        self._steps: list[Step] = []
        self._span = 0  # of the attempt under way
        self._closed = False

    def asks(self) -> None:
        """Another attempt begins."""
        self.code = 0
        if self._traced is not None:
            self._span = self._journal.new_span()

    @property
    def onward(self) -> Onward | None:
        """What the replica that is asked now is told of the trace; None where nobody traces."""
        return None if self._traced is None else onward(self._traced, self._span)

    def ended(self, upstream: Upstream, role: Role, outcome: Outcome, began_s: float) -> None:
        """The attempt under way is over.

        Args:
            upstream: that was asked.
            role: what the attempt was for.
            outcome: how it ended.
            began_s: when it began, by the loop's clock.
        """
        self._add(upstream.version, role, _place(upstream), outcome, began_s)

    def nobody(self, version: int, role: Role) -> None:
        """There was no replica of this version to ask."""
        self.asks()
        self._add(version, role, "", Outcome.REFUSED, self._journal.clock())

    def copy(self) -> Traced | None:
        """The span of a copy of this request; None where nobody traces."""
        traced = self._traced
        if traced is None:
            return None
        return Traced(traced.trace, self._journal.new_span(), traced.span, traced.state)

    def close(self, signature: Signature | None, failed: int, bad: Bad | None, bytes_in: int, bytes_out: int) -> None:
        """The request is over: hands the note over, once.

        Args:
            signature: what the gateway says of its way.
            failed: the status that the client was failed with; 0 where it was not.
            bad: why, where the gateway itself said so.
            bytes_in: of the request's body.
            bytes_out: of a model's answer, as far as the client was sent it.
        """
        if self._closed:
            return
        self._closed = True
        journal, status = self._journal, failed or self.code
        told = journal.tells(failed, bad)
        journal.send(Noted(
            self._at_s, max(0.0, journal.clock() - self._began_s),
            **_said_by(self._head, self._way, self.signature or signature), **_why(bad), status=status,
            bytes_in=bytes_in, bytes_out=bytes_out, steps=tuple(self._steps), traced=self._traced,
            access=self._access, failed=told, suppressed=journal.suppressed(failed=told),
        ))  # fmt: skip

    def _add(self, version: int, role: Role, place: str, outcome: Outcome, began_s: float) -> None:
        at_s = self._at_s + max(0.0, began_s - self._began_s)
        took_s = max(0.0, self._journal.clock() - began_s)
        self._steps.append(Step(self._span, version, _ROLES[role], place, _OUTCOMES[outcome], self.code, at_s, took_s))


_PROTOCOLS: Final = ("http", "grpc")


def _said_by(head: Asked, way: Way | None, signature: Signature | None) -> dict[str, Any]:
    """What a note has of the request itself."""
    said: dict[str, Any] = {
        "protocol": _PROTOCOLS[head.grpc], "operation": head.target.operation.name.lower(),
        "model": head.target.model[:_LONGEST_NAME], "synthetic": head.synthetic,
    }  # fmt: skip
    if way is not None:
        reason = way.choice.reason.value if signature is None else signature.reason.decode()
        said |= {
            "model": way.model.name, "assigned": way.choice.version, "reason": reason,
            "unit": unit_source(way, head), "epoch": way.epoch,
        }  # fmt: skip
    if signature is not None:
        said |= {"version": signature.version, "request_id": signature.request_id.decode()}
    return said


def unit_source(way: Way, head: Asked) -> str:
    """What named the unit, and nothing of the unit itself."""
    if not way.has_unit:
        return "none"
    if head.sequence is not None:
        return "sequence"
    return "header" if head.fields.get(way.model.unit_header) else "source"


def _why(bad: Bad | None) -> dict[str, Any]:
    return {} if bad is None else {"refused": bad.kind.value, "error": bad.sentence[:_LONGEST_SENTENCE]}


def _place(upstream: Upstream) -> str:
    return f"{upstream.host}:{upstream.port}"


def _drawn(salt: bytes, nonce: int, share_ppm: int) -> bool:
    return share_ppm > 0 and xxh3_64_intdigest(salt + nonce.to_bytes(8, "big")) % WHOLE < share_ppm
