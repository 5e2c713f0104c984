"""Spans reach a collector as OpenTelemetry has them; one that is away, slow or refuses costs spans and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serving.keeping import spans
from serving.keeping.spans import MOST_AT_ONCE, SpanWriter
from serving.noted import CopyNoted, Noted, Step, Traced
from tests.serving.certificates import Authority
from tests.serving.collector import collecting

_WITHIN_S = 60.0
TRACED = Traced(0xABC, 0x1, 0x9, "vendor=x")
STEPS = (
    Step(0x2, 2, "first", "[::1]:9000", "broken", 0, 10.5, 0.5),
    Step(0x3, 1, "fallback", "10.0.0.2:9001", "ok", 200, 11.0, 0.25),
)
NOTED = Noted(
    10.0, 1.5, "http", "infer", "digits", 1, 2, "fallback", "header", "id", 7, 200, bytes_in=5, bytes_out=9,
    steps=STEPS, traced=TRACED,
)  # fmt: skip
COPIED = CopyNoted(
    "digits", "grpc", Step(0x4, 3, "shadow", "10.0.0.3:9002", "ok", 200, 11.5, 0.5), Traced(0xABC, 0x4, 0x1)
)


def until(holds: Callable[[], object]) -> None:
    """Waits for a thread to have done something."""
    deadline_s = time.monotonic() + _WITHIN_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came to hold"
        time.sleep(0.01)


def test_a_request_its_attempts_and_its_copy_are_one_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parents, times, attributes, and who says so; with the headers that OpenTelemetry's variables ask for."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    with collecting() as collector:
        writer = SpanWriter(collector.url, "gw-1")
        writer.take(NOTED)
        writer.take_copy(COPIED)
        writer.take(replace(NOTED, traced=None))
        until(lambda: len(collector.spans) == 4)
        request, first, second, copy = sorted(collector.spans, key=lambda one: one.span)
        writer._finish()
    assert {one.trace for one in collector.spans} == {f"{0xABC:032x}"}
    assert (request.name, request.kind, request.parent, request.state) == ("infer digits", 2, f"{9:016x}", "vendor=x")
    assert {one.parent for one in (first, second, copy)} == {request.span}
    assert [one.name for one in (first, second, copy)] == ["attempt digits/2", "attempt digits/1", "copy digits/3"]
    assert {one.kind for one in (first, second, copy)} == {3}
    assert request.attributes == {
        "sluice.protocol": "http", "sluice.operation": "infer", "sluice.status": 200, "sluice.attempts": 2,
        "sluice.bytes.in": 5, "sluice.bytes.out": 9, "http.response.status_code": 200, "sluice.model": "digits",
        "sluice.version": 1, "sluice.version.assigned": 2, "sluice.reason": "fallback",
        "sluice.unit.source": "header", "sluice.epoch": 7, "sluice.request_id": "id",
    }  # fmt: skip
    assert (first.attributes["server.address"], first.attributes["server.port"]) == ("[::1]", 9000)
    assert (first.attributes["sluice.attempt"], second.attributes["sluice.attempt"]) == (1, 2)
    assert (second.attributes["sluice.role"], second.attributes["sluice.outcome"]) == ("fallback", "ok")
    assert (copy.attributes["sluice.role"], copy.attributes["rpc.system"]) == ("shadow", "grpc")
    assert [one.error for one in (request, first, second, copy)] == [None, "broken", None, None]
    assert (request.begin_ns, request.end_ns) == (10_000_000_000, 11_500_000_000)
    assert (first.begin_ns, first.end_ns) == (10_500_000_000, 11_000_000_000)
    assert request.resource["service.name"] == "sluice-gateway"
    assert request.resource["service.instance.id"] == "gw-1"
    assert request.resource["deployment.environment"] == "test"
    assert collector.heads[0]["authorization"] == "Bearer x"


def test_a_collector_behind_a_certificate_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is believed where OpenTelemetry's variable names who issued it, and gets nothing where it does not."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # of this machine, which the library would put first
        monkeypatch.delenv(name, raising=False)
    issued = Authority(tmp_path).issue("127.0.0.1")
    with collecting(issued) as collector:
        doubtful = SpanWriter(collector.url, "gw-1")
        doubtful.take(NOTED)
        doubtful._finish()
        until(lambda: doubtful.lost() == {"span_export": 3})
        assert not collector.spans
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(issued.authority))
        writer = SpanWriter(collector.url, "gw-1")
        writer.take(NOTED)
        until(lambda: len(collector.spans) == 3)
        writer._finish()
    assert collector.heads[0]["content-encoding"] == "gzip"


def test_a_request_that_failed_is_an_error_with_its_sentence() -> None:
    """And one that a client got wrong is none; what has no model has no name of one."""
    with collecting() as collector:
        writer = SpanWriter(f"{collector.url}/v1/traces", "gw")
        writer.take(replace(NOTED, status=502, refused="broken-upstream", error="It broke off.", steps=()))
        writer.take(Noted(1.0, 0.0, "http", "infer", status=404, refused="unknown-model", error="No.", traced=TRACED))
        writer.take(replace(NOTED, status=501, refused="not-offered", error="Not here.", steps=()))
        until(lambda: len(collector.spans) == 3)
        writer._finish()
    failed, mistaken, not_offered = collector.spans
    assert (failed.error, failed.attributes["sluice.refused"]) == ("It broke off.", "broken-upstream")
    assert (mistaken.error, mistaken.name) == (None, "infer")
    assert (not_offered.error, not_offered.attributes["sluice.status"]) == (None, 501)
    assert "sluice.model" not in mistaken.attributes


def test_what_a_collector_refuses_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Until it takes spans again."""
    with collecting() as collector:
        collector.code = 400
        writer = SpanWriter(collector.url, "gw")
        for lost in (3, 6):
            writer.take(NOTED)
            until(lambda lost=lost: writer.lost() == {"span_export": lost})  # type: ignore[misc]
        collector.code = 200
        with caplog.at_level("INFO"):
            writer.take(NOTED)
            until(lambda: len(collector.spans) == 3)
            until(lambda: "sent again" in caplog.text)
        writer._finish()
    ours = [one for one in caplog.records if one.name.startswith("serving")]
    assert [one.levelname for one in ours] == ["ERROR", "INFO"]
    assert writer.lost() == {"span_export": 6}


def test_the_queue_has_a_bound_and_nobody_waits_for_a_collector() -> None:
    """What finds no room while it hangs is counted; the rest is sent when it goes on, in messages of some size."""
    with collecting() as collector:
        collector.reads.clear()
        writer = SpanWriter(collector.url, "gw", most_waiting=3 * MOST_AT_ONCE)
        writer.take(NOTED)
        until(lambda: not writer._waiting)  # the thread has it, and hangs
        for _ in range(MOST_AT_ONCE + 10):
            writer.take(NOTED)
        assert writer.lost() == {"span_queue": 3 * 10}
        collector.reads.set()
        until(lambda: len(collector.spans) == 3 * (MOST_AT_ONCE + 1))
        writer._finish()
    assert len(collector.heads) == 1 + 3


async def test_a_writer_that_ends_sends_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes nothing more."""
    monkeypatch.setattr(spans, "_LAST_SEND_S", _WITHIN_S)
    with collecting() as collector:
        writer = SpanWriter(collector.url, "gw")
        for _ in range(10):
            writer.take(NOTED)
        await writer.write()
        await writer.close()
        assert len(collector.spans) == 30
        writer.take(NOTED)
        assert writer.lost() == {"span_queue": 3}


def test_a_collector_that_hangs_holds_up_no_end(caplog: pytest.LogCaptureFixture) -> None:
    """The end does not wait for it, and says what was not sent; its thread is nobody's to wait for."""
    with collecting() as collector:
        collector.reads.clear()
        writer = SpanWriter(collector.url, "gw")
        writer.take(NOTED)
        assert collector.came.wait(_WITHIN_S)
        writer.take_copy(COPIED)
        ends = threading.Thread(target=writer._finish)
        ends.start()
        ends.join(_WITHIN_S)
        assert not ends.is_alive()
        assert "4 spans were not sent" in caplog.text
        collector.reads.set()
        writer._thread.join(_WITHIN_S)


def test_a_redirect_is_not_followed() -> None:
    """Whoever the collector names, spans are for the collector."""
    with collecting() as collector, collecting() as other:
        collector.code = 307
        collector.location = f"{other.url}/v1/traces"
        writer = SpanWriter(collector.url, "gw")
        writer.take(NOTED)
        until(lambda: writer.lost() == {"span_export": 3})
        writer._finish()
        assert (len(collector.heads), other.heads) == (1, [])


def test_an_exporter_that_raises_ends_nothing() -> None:
    """It is somebody else's code."""

    class Raises:
        def export(self, spans: object) -> object:
            raise RuntimeError(str(spans))

        def shutdown(self) -> None:
            """Nothing."""

    writer = SpanWriter("http://127.0.0.1:1", "gw", exporter=Raises())  # type: ignore[arg-type]
    for lost in (3, 6):
        writer.take(NOTED)
        until(lambda lost=lost: writer.lost() == {"span_export": lost})  # type: ignore[misc]
    writer._finish()
