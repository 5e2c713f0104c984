"""What a gateway's worker notes of a request, for traces and for logs: no unit, no header, no tensor.

A `Noted` is one request that is over, with an attempt for each replica that was asked; a `CopyNoted` one copy of it for
a shadow, which ends later. Both travel to the keeper as frames beside answers (`serving.captured`), and what could not
be written down comes back as `Lost`, so that the worker can say so in its figures. Times are seconds; what became of an
attempt is one of `serving.totals.OUTCOMES`.

Plain values and JSON: what spans and lines are made of them is the keeper's business (`serving.keeping`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from serving.handed import ENCODER, number, object_of, seconds, text, told
from serving.totals import OUTCOMES

ROLES: Final = ("first", "repeat", "fallback", "shadow", "synthetic")
"""What an attempt may be for."""
_LONGEST: Final = 1_024
_LARGEST_TRACE: Final = 2**128
_LARGEST_SPAN: Final = 2**64


@dataclass(frozen=True, slots=True)
class Traced:
    """Where a span stands, by W3C Trace Context.

    Attributes:
        trace: id of the trace, 128 bits.
        span: its own id, 64 bits.
        parent: id of the span above it; 0 where it is the first.
        state: `tracestate` as it came; empty for none.

    Raises:
        ValueError: one of them is none.
    """

    trace: int
    span: int
    parent: int = 0
    state: str = ""

    def __post_init__(self) -> None:
        number(self.trace, "the id of a trace", least=1, most=_LARGEST_TRACE - 1)
        number(self.span, "the id of a span", least=1, most=_LARGEST_SPAN - 1)
        number(self.parent, "the id of a span", most=_LARGEST_SPAN - 1)
        text(self.state, most=_LONGEST)


class Step(NamedTuple):
    """One attempt at a replica, or one copy.

    Attributes:
        span: its id in a trace; 0 where nobody traces.
        version: that was asked.
        role: what it was for, one of `ROLES`.
        place: of the replica, host:port; empty where there was none to ask.
        outcome: how it ended.
        code: HTTP's status, over gRPC the one that counts as it; 0 where no answer came.
        at_s: when it began, seconds since 1970.
        took_s: until it ended.
    """

    span: int
    version: int
    role: str
    place: str
    outcome: str
    code: int
    at_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class Noted:
    """One request that is over.

    Attributes:
        at_s: when the gateway had it, seconds since 1970.
        took_s: until its answer was complete, or it was given up.
        protocol: "http" or "grpc".
        operation: what was asked, such as "infer".
        model: its name; empty where the request did not come that far, as all that follows.
        version: that answered, or that was asked last; 0 for none.
        assigned: that the policy chose; 0 for none.
        reason: why.
        unit: what named the unit: "header", "source" (a further one), "sequence", or "none".
        request_id: that the client was told, or would have been.
        epoch: of the policy.
        status: HTTP's, over gRPC the one that counts as it; 0 where the client went away.
        refused: why the gateway itself said no (`serving.errors.Refusal`); empty where a model answered.
        error: the sentence that goes with it.
        synthetic: whether it was marked as a load test's.
        bytes_in: of the request's body.
        bytes_out: of the model's answer, as far as the client was sent it.
        steps: the attempts, in order.
        traced: its span; None where nobody traces.
        access: whether it is to stand in the access log.
        failed: whether it is to stand in the log of errors.
        suppressed: requests that failed since the last one that was told, and were too many to be told.

    Raises:
        ValueError: one of them is something else.
    """

    at_s: float
    took_s: float
    protocol: str
    operation: str
    model: str = ""
    version: int = 0
    assigned: int = 0
    reason: str = ""
    unit: str = ""
    request_id: str = ""
    epoch: int = 0
    status: int = 0
    refused: str = ""
    error: str = ""
    synthetic: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    steps: tuple[Step, ...] = ()
    traced: Traced | None = None
    access: bool = False
    failed: bool = False
    suppressed: int = 0

    def __post_init__(self) -> None:
        for name in ("at_s", "took_s"):
            seconds(getattr(self, name))
        for name in ("version", "assigned", "epoch", "status", "bytes_in", "bytes_out", "suppressed"):
            number(getattr(self, name), name)
        for name in ("protocol", "operation", "model", "reason", "unit", "request_id", "refused", "error"):
            text(getattr(self, name), most=_LONGEST)
        for name in ("synthetic", "access", "failed"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} is true or false")
        for step in self.steps:
            _check(step)

    def encode(self) -> bytes:
        """The payload of its frame; `decode` reads it."""
        return ENCODER.encode([
            self.at_s, self.took_s, self.protocol, self.operation, self.model, self.version, self.assigned,
            self.reason, self.unit, self.request_id, self.epoch, self.status, self.refused, self.error,
            self.synthetic, self.bytes_in, self.bytes_out, self.steps, _ids(self.traced), self.access, self.failed,
            self.suppressed,
        ]).encode()  # fmt: skip

    @classmethod
    def decode(cls, payload: bytes) -> Noted:
        """What `encode` wrote; members of a newer release are passed over.

        Raises:
            ValueError: it is something else.
        """
        return told(_noted, payload)


@dataclass(frozen=True, slots=True)
class CopyNoted:
    """One copy of a traced request that is over.

    Attributes:
        model: its name.
        protocol: "http" or "grpc".
        step: what became of it.
        traced: its span, whose parent is the request's.

    Raises:
        ValueError: one of them is something else.
    """

    model: str
    protocol: str
    step: Step
    traced: Traced

    def __post_init__(self) -> None:
        text(self.model, most=_LONGEST)
        text(self.protocol, most=_LONGEST)
        _check(self.step)

    def encode(self) -> bytes:
        """The payload of its frame; `decode` reads it."""
        return ENCODER.encode([self.model, self.protocol, self.step, _ids(self.traced)]).encode()

    @classmethod
    def decode(cls, payload: bytes) -> CopyNoted:
        """What `encode` wrote; members of a newer release are passed over.

        Raises:
            ValueError: it is something else.
        """
        return told(_copied, payload)


@dataclass(frozen=True, slots=True)
class Lost:
    """What a keeper could not write down since it last said so.

    Attributes:
        counts: how many, by "what_why", such as "span_queue".

    Raises:
        ValueError: one of them is no count.
    """

    counts: Mapping[str, int]

    def __post_init__(self) -> None:
        for name, count in self.counts.items():
            text(name, most=_LONGEST)
            number(count, "a count")
        object.__setattr__(self, "counts", MappingProxyType(dict(self.counts)))

    def encode(self) -> bytes:
        """The payload of its frame; `decode` reads it."""
        return ENCODER.encode(dict(self.counts)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Lost:
        """What `encode` wrote.

        Raises:
            ValueError: it is something else.
        """
        return told(_lost, payload)


def _ids(traced: Traced | None) -> list[Any] | None:
    return None if traced is None else [f"{traced.trace:x}", f"{traced.span:x}", f"{traced.parent:x}", traced.state]


def _noted(payload: bytes) -> Noted:
    said = json.loads(payload)
    steps, traced = tuple(_step(one) for one in said[17]), _traced(said[18])
    members = [*said[:17], steps, traced, *said[19:22]]
    return Noted(*members)


def _copied(payload: bytes) -> CopyNoted:
    model, protocol, step, ids = json.loads(payload)[:4]
    traced = _traced(ids)
    if traced is None:
        raise ValueError("a copy that nobody traces is not noted")
    return CopyNoted(model, protocol, _step(step), traced)


def _lost(payload: bytes) -> Lost:
    return Lost(object_of(payload))


def _step(said: list[Any]) -> Step:
    return Step(*said[: len(Step._fields)])


def _traced(said: list[str] | None) -> Traced | None:
    if said is None:
        return None
    trace, span, parent, state = said[:4]
    return Traced(int(trace, 16), int(span, 16), int(parent, 16), state)


def _check(step: Step) -> None:
    for value in (step.at_s, step.took_s):
        seconds(value)
    number(step.span, "the id of a span", most=_LARGEST_SPAN - 1)
    for value in (step.version, step.code):
        number(value, "a number")
    text(step.place, most=_LONGEST)
    if step.role not in ROLES or step.outcome not in OUTCOMES:
        raise ValueError(f"an attempt is no {step.role!r:.40}, and does not end {step.outcome!r:.40}")
