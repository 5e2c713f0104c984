"""Traces and the access log of a whole installation: through Ray, Triton and the keeper to a collector and a file."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.e2e.conftest import Demo
from tests.e2e.system import until
from tests.serving.collector import Span

pytestmark = pytest.mark.e2e
PARENT = "00f067aa0ba902b7"


def hops(demo: Demo, trace: str) -> tuple[Span, Span]:
    """A request's span and that of its one attempt, as soon as the collector has them."""

    def whole() -> list[Span]:
        spans = sorted(demo.collector.of(trace), key=lambda span: span.kind)
        return spans if len(spans) == 2 else []

    request, attempt = until(whole, f"the spans of {trace}")
    return request, attempt


def line(demo: Demo, trace: str) -> dict[str, Any]:
    """The request's line in the access log, which is for people here."""
    file = demo.folder / ".sluice" / "logs" / "access.log"

    def found() -> str:
        lines = file.read_text().splitlines() if file.exists() else []
        return next((one for one in lines if f"trace={trace}" in one), "")

    _, _, *pairs = until(found, f"the line of {trace} in {file}").split()
    return dict(pair.partition("=")[::2] for pair in pairs)


def judge(demo: Demo, trace: str, protocol: str, said: dict[str, str]) -> None:
    """Spans and line say what the answer's headers say.

    Args:
        demo: that was asked.
        trace: of the request.
        protocol: that it went over.
        said: the answer's headers.
    """
    request, attempt = hops(demo, trace)
    told = line(demo, trace)
    assert (request.parent, attempt.parent, request.name) == (PARENT, request.span, "infer digits")
    assert request.attributes["sluice.request_id"] == told["request_id"] == said["sluice-request-id"]
    assert str(request.attributes["sluice.version"]) == told["version"] == said["sluice-version"]
    assert request.attributes["sluice.reason"] == told["reason"] == said["sluice-reason"]
    assert str(request.attributes["sluice.epoch"]) == said["sluice-epoch"]
    assert (told["protocol"], told["status"], told["unit"]) == (protocol, "200", "header")
    assert attempt.attributes["sluice.outcome"] == "ok"
    assert attempt.attributes["server.address"] == "127.0.0.1"
    assert request.resource["service.name"] == "sluice-gateway"
    assert "customer-7" not in repr((request, attempt, told))


def test_a_request_over_http_is_seen_from_the_door_to_the_model(demo: Demo) -> None:
    """In the caller's trace, below the caller's span."""
    trace = secrets.token_hex(16)
    row = demo.rows[0].tolist()
    body = json.dumps({"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": row}]})
    headers = {"traceparent": f"00-{trace}-{PARENT}-01", "sluice-unit": "customer-7"}
    answer = httpx.post(f"{demo.http_url}/v2/models/digits/infer", content=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    judge(demo, trace, "http", dict(answer.headers))
    assert {head.get("x-tenant") for head in demo.collector.heads} == {"digits"}
    told = line(demo, trace)
    assert (int(told["bytes_in"]), told["bytes_out"]) == (len(body), answer.headers["content-length"])


def test_a_request_over_grpc_is_seen_from_the_door_to_the_model(demo: Demo) -> None:
    """The same, told by metadata."""
    trace = secrets.token_hex(16)
    asked = triton.InferInput("pixels", [1, 64], "FP32")
    asked.set_data_from_numpy(demo.rows[:1].astype(np.float32))
    place = demo.installation.run_file()["grpc_url"]
    headers = {"traceparent": f"00-{trace}-{PARENT}-01", "sluice-unit": "customer-7"}
    with triton.InferenceServerClient(place) as client:
        answer = client.infer("digits", [asked], headers=headers)
        version = answer.get_response().model_version
    request, _ = hops(demo, trace)
    of_the_span = {name: str(request.attributes[f"sluice.{name}"]) for name in ("request_id", "reason", "epoch")}
    said = {f"sluice-{name.replace('_', '-')}": value for name, value in of_the_span.items()}
    judge(demo, trace, "grpc", {**said, "sluice-version": version})


def test_a_caller_that_does_not_record_is_not_traced(demo: Demo) -> None:
    """Its request stands in the access log all the same, without a trace."""
    trace = secrets.token_hex(16)
    row = demo.rows[0].tolist()
    body = json.dumps({"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": row}]})
    headers = {"traceparent": f"00-{trace}-{PARENT}-00"}
    answer = httpx.post(f"{demo.http_url}/v2/models/digits/infer", content=body, headers=headers, timeout=30)
    request_id = answer.headers["sluice-request-id"]
    file = demo.folder / ".sluice" / "logs" / "access.log"
    said = until(
        lambda: next((one for one in file.read_text().splitlines() if f"request_id={request_id} " in one), ""),
        "its line",
    )
    assert "trace=" not in said
    assert demo.collector.of(trace) == []
