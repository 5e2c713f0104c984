"""Spans of what workers noted, sent to a collector with OpenTelemetry's own exporter: the one file that knows it.

A request becomes a span, each attempt at a replica and each copy for a shadow one below it; ids and times are the
workers'. Spans wait in a queue with a bound; a thread of this writer's own sends them, for the exporter waits and tries
again. What finds no room, and what the collector does not take, is counted; that it does not is said once, and that it
does again. Headers, certificates, time and compression come from OpenTelemetry's variables
(`OTEL_EXPORTER_OTLP_HEADERS` and the like), and so does what else is said of this process (`OTEL_RESOURCE_ATTRIBUTES`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from importlib.metadata import version as version_of
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from requests import Session

from serving.errors import Refusal
from serving.noted import CopyNoted, Noted, Step, Traced

_log = logging.getLogger(__name__)
SERVICE: Final = "sluice-gateway"
MOST_WAITING: Final = 16_384
MOST_AT_ONCE: Final = 512
"""Spans in one message, but for the last request's."""
_LAST_SEND_S: Final = 0.8
_NANOSECONDS: Final = 1_000_000_000
_SERVER_ERROR: Final = 500
_WELL: Final = frozenset(("ok", "client_error", "cancelled"))
_TRACES: Final = "/v1/traces"


class SpanWriter:
    """Sends spans to one collector.

    Args:
        endpoint: of the collector, such as http://127.0.0.1:4318.
        gateway: whose workers' requests they are of.
        exporter: that sends; None makes one for the endpoint.
        most_waiting: spans in the queue.
    """

    def __init__(
        self, endpoint: str, gateway: str, *, exporter: SpanExporter | None = None, most_waiting: int = MOST_WAITING
    ) -> None:
        self._most = most_waiting
        self._exporter = exporter_to(endpoint) if exporter is None else exporter
        self._spans = Spans(gateway)
        self._waiting: deque[Noted | CopyNoted] = deque()
        self._size = 0
        self._going = 0  # spans that are being sent
        self._lost: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def take(self, noted: Noted) -> None:
        """One more request: its span, and those of its attempts."""
        if noted.traced is not None:
            self._put(noted)

    def take_copy(self, noted: CopyNoted) -> None:
        """One more copy: its span."""
        self._put(noted)

    def lost(self) -> Mapping[str, int]:
        """Spans that no collector took, by "span_why"."""
        with self._changed:
            return Counter(self._lost)

    async def write(self) -> None:
        """The thread does."""

    async def close(self) -> None:
        """Sends what waits; what a collector does not take in a moment is lost."""
        await asyncio.to_thread(self._finish)

    def _put(self, one: Noted | CopyNoted) -> None:
        with self._changed:
            if self._size + _size(one) > self._most or self._closing:
                self._lost["span_queue"] += _size(one)
                return
            self._waiting.append(one)
            self._size += _size(one)
            self._changed.notify()

    def _finish(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_LAST_SEND_S)
        self._exporter.shutdown()
        self._thread.join(_LAST_SEND_S / 4)
        with self._changed:
            unsent = self._size + self._going
        if unsent:
            _log.error("%d spans were not sent before the end, and are lost", unsent)

    def _run(self) -> None:
        while batch := self._next():
            spans = [span for one in batch for span in self._spans.of(one)]
            sent = self._send(spans)
            with self._changed:
                self._going = 0
                if not sent:
                    self._lost["span_export"] += len(spans)
            self._say(sent=sent)

    def _send(self, spans: list[ReadableSpan]) -> bool:
        try:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - what somebody's exporter raises must not end the thread
            _log.debug("spans cannot be sent: %s", error)
            return False

    def _next(self) -> list[Noted | CopyNoted]:
        """What is sent next; nothing where all was sent, and no more comes."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            batch: list[Noted | CopyNoted] = []
            spans = 0
            while self._waiting and spans < MOST_AT_ONCE:
                batch.append(self._waiting.popleft())
                spans += _size(batch[-1])
            self._size -= spans
            self._going = spans
            return batch

    def _say(self, *, sent: bool) -> None:
        if sent == self._failing:
            if sent:
                _log.info("spans are sent again")
            else:
                _log.error("spans cannot be sent to the collector (tracing.endpoint), and are lost until they can")
        self._failing = not sent


class Spans:
    """Makes spans of notes.

    Args:
        gateway: whose they are.
    """

    def __init__(self, gateway: str) -> None:
        release = version_of("sluice-gateway")
        ours = {"service.name": SERVICE, "service.version": release, "service.instance.id": gateway}
        self._resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope("sluice", release)

    def of(self, one: Noted | CopyNoted) -> Iterator[ReadableSpan]:
        """The span of a request and those of its attempts, or that of a copy."""
        if isinstance(one, CopyNoted):
            yield self._step("copy", one, one.step, one.traced)
        elif one.traced is not None:
            yield self._request(one, one.traced)
            for number, step in enumerate(one.steps, start=1):
                below = Traced(one.traced.trace, step.span, one.traced.span, one.traced.state)
                yield self._step("attempt", one, step, below, number=number)

    def _request(self, noted: Noted, traced: Traced) -> ReadableSpan:
        attributes: dict[str, Any] = {
            "sluice.protocol": noted.protocol, "sluice.operation": noted.operation, "sluice.status": noted.status,
            "sluice.attempts": len(noted.steps), "sluice.bytes.in": noted.bytes_in,
            "sluice.bytes.out": noted.bytes_out, **_of_protocol(noted.protocol, noted.status),
            "sluice.model": noted.model, "sluice.version": noted.version, "sluice.version.assigned": noted.assigned,
            "sluice.reason": noted.reason, "sluice.unit.source": noted.unit, "sluice.epoch": noted.epoch,
            "sluice.request_id": noted.request_id, "sluice.refused": noted.refused,
        }  # fmt: skip
        if noted.synthetic:
            attributes["sluice.synthetic"] = True
        failed = noted.status >= _SERVER_ERROR and noted.refused != Refusal.NOT_OFFERED.value
        status = Status(StatusCode.ERROR, noted.error or None) if failed else Status(StatusCode.UNSET)
        name = f"{noted.operation} {noted.model}".rstrip()
        return self._span(
            name, SpanKind.SERVER, traced, attributes, status=status, at_s=noted.at_s, took_s=noted.took_s
        )

    def _step(self, what: str, one: Noted | CopyNoted, step: Step, traced: Traced, *, number: int = 0) -> ReadableSpan:
        host, _, port = step.place.rpartition(":")
        attributes: dict[str, Any] = {
            "sluice.protocol": one.protocol, "sluice.model": one.model, "sluice.version": step.version,
            "sluice.role": step.role, "sluice.outcome": step.outcome, "sluice.status": step.code,
            **_of_protocol(one.protocol, step.code),
        }  # fmt: skip
        if number:
            attributes["sluice.attempt"] = number
        if step.place:
            attributes |= {"server.address": host, "server.port": int(port)}
        status = Status(StatusCode.UNSET) if step.outcome in _WELL else Status(StatusCode.ERROR, step.outcome)
        name = f"{what} {one.model}/{step.version}"
        return self._span(name, SpanKind.CLIENT, traced, attributes, status=status, at_s=step.at_s, took_s=step.took_s)

    def _span(
        self,
        name: str,
        kind: SpanKind,
        traced: Traced,
        attributes: Mapping[str, Any],
        *,
        status: Status,
        at_s: float,
        took_s: float,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context=_context(traced, traced.span),
            parent=_context(traced, traced.parent, is_remote=kind is SpanKind.SERVER) if traced.parent else None,
            resource=self._resource,
            attributes={key: value for key, value in attributes.items() if value != ""},
            kind=kind,
            status=status,
            start_time=int(at_s * _NANOSECONDS),
            end_time=int((at_s + took_s) * _NANOSECONDS),
            instrumentation_scope=self._scope,
        )


def exporter_to(endpoint: str) -> SpanExporter:
    """OpenTelemetry's exporter for this collector; it follows no redirect."""
    session = Session()
    session.max_redirects = 0
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it says at each message what is said here once
    base = endpoint.rstrip("/")
    return OTLPSpanExporter(base if base.endswith(_TRACES) else base + _TRACES, session=session)


def _context(traced: Traced, span: int, *, is_remote: bool = False) -> SpanContext:
    state = TraceState.from_header([traced.state]) if traced.state else None
    return SpanContext(traced.trace, span, is_remote, TraceFlags(TraceFlags.SAMPLED), state)


def _of_protocol(protocol: str, status: int) -> dict[str, Any]:
    """What OpenTelemetry's conventions say of it."""
    if protocol == "grpc":
        return {"rpc.system": "grpc"}
    return {"http.response.status_code": status} if status else {}


def _size(one: Noted | CopyNoted) -> int:
    return 1 if isinstance(one, CopyNoted) else 1 + len(one.steps)
