"""A traced request leaves every one of its hops with a collector: a worker, its keeper's own process, real sockets."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from router.policy import WHOLE, Arm, Policy, Shadow
from serving.gateway.worker import Worker
from serving.keeping.config import KeeperConfig
from tests.serving.collector import Collector, Span, collecting
from tests.serving.control.waiting import until
from tests.serving.gateway.grpc.rig import running as running_grpc
from tests.serving.gateway.rig import running
from tests.serving.gateway.upstream import CLOSES, answers
from tests.serving.gateway.wire import ok, post

_WITHIN_S = 60.0
PARENT = "00f067aa0ba902b7"
POLICY = Policy(1, (Arm(2, WHOLE),), shadows=(Shadow(3, salt="r1"),))
REPLICAS = {1: 1, 2: 1, 3: 1}


@dataclass
class Keeping:
    """A keeper that runs.

    Attributes:
        socket: where workers hand over.
        logs: the folder of its logs.
        collector: where its spans go.
    """

    socket: str
    logs: Path
    collector: Collector

    def lines(self, name: str, trace: str) -> list[dict[str, Any]]:
        """Of one of its logs, those that name this trace."""
        file = self.logs / name
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [one for one in found if one.get("trace") == trace]


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeping]:
    """A keeper as its supervisor runs it, with a collector; what it says is JSON, and it ends well."""
    folder = tmp_path_factory.mktemp("keeper")
    socket, logs = folder / "keeper", folder / "logs"
    with collecting() as collector, (folder / "said").open("wb") as said:
        config = KeeperConfig("gw", str(socket), traces=collector.url, logs=str(logs), log_format="json")
        with subprocess.Popen([sys.executable, "-m", "serving.keeping"], stdin=subprocess.PIPE, stderr=said) as process:
            try:
                assert process.stdin is not None
                process.stdin.write(config.to_json().encode() + b"\n")
                process.stdin.flush()
                deadline_s = time.monotonic() + _WITHIN_S
                while not socket.is_socket():
                    assert time.monotonic() < deadline_s, (folder / "said").read_text()
                    time.sleep(0.02)
                yield Keeping(str(socket), logs, collector)
                process.send_signal(signal.SIGTERM)
                code = process.wait(_WITHIN_S)
            finally:
                process.kill()
    assert code == 0
    assert all(json.loads(line)["level"] for line in (folder / "said").read_text().splitlines())


async def in_contact(worker: Worker) -> None:
    """Waits until the worker has its keeper."""
    await until(lambda: worker.capture is not None and worker.capture._line is not None, _WITHIN_S)


def attributes(*names: str) -> Callable[[Span], tuple[Any, ...]]:
    """These of a span."""
    return lambda span: tuple(span.attributes.get(f"sluice.{name}") for name in names)


def by_version(spans: list[Span]) -> tuple[Span, dict[int, Span]]:
    """The request's, and those below it by the version that was asked."""
    (request,) = (one for one in spans if one.kind == 2)
    return request, {one.attributes["sluice.version"]: one for one in spans if one is not request}


def new_trace() -> str:
    """An id that no other test has."""
    return secrets.token_hex(16)


def caller(trace: str) -> str:
    """The `traceparent` of somebody who records this trace."""
    return f"00-{trace}-{PARENT}-01"


def judge(spans: list[Span], protocol: str, told: dict[int, str]) -> Span:
    """Every hop is there once, below its parent, with the id that its replica was told; the request's span.

    Args:
        spans: of the trace.
        protocol: that it went over.
        told: the `traceparent` that each version was told.
    """
    request, below = by_version(spans)
    assert len(spans) == 4, spans
    assert (request.parent, request.state, request.name) == (PARENT, "vendor=x", "infer m")
    assert attributes("protocol", "model", "version", "version.assigned", "reason", "status", "attempts")(request) == (
        protocol, "m", 1, 2, "fallback", 200, 2,
    )  # fmt: skip
    assert attributes("unit.source", "epoch")(request) == ("header", 42)
    assert attributes("role", "outcome", "attempt")(below[2]) == ("first", "unavailable", 1)
    assert attributes("role", "outcome", "attempt")(below[1]) == ("fallback", "ok", 2)
    assert attributes("role", "outcome", "attempt")(below[3]) == ("shadow", "ok", None)
    assert [below[version].name for version in (2, 1, 3)] == ["attempt m/2", "attempt m/1", "copy m/3"]
    assert (below[2].error, below[1].error, below[3].error, request.error) == ("unavailable", None, None, None)
    for version, span in below.items():
        assert (span.parent, span.kind, span.attributes["server.address"]) == (request.span, 3, "127.0.0.1")
        assert told[version] == f"00-{span.trace}-{span.span}-01"
        assert span.begin_ns <= span.end_ns
    assert request.begin_ns <= below[2].begin_ns <= below[1].begin_ns <= below[1].end_ns
    assert below[1].end_ns <= request.end_ns + 1_000_000
    assert not any("customer" in str(value) for span in spans for value in span.attributes.values())
    return request


async def test_a_shadowed_and_retried_request_over_http(keeper: Keeping) -> None:
    """The candidate is busy, stable answers, a shadow gets a copy; and the logs say the same."""
    trace = new_trace()
    limits: dict[str, Any] = {"keeper_socket": keeper.socket, "traces_per_s": 1e6, "access_ppm": WHOLE}
    async with running(policy=POLICY, replicas=REPLICAS, **limits) as rig:
        await in_contact(rig.worker)
        rig.upstreams[2][0].usual = answers(ok(code="503 Service Unavailable"))
        rig.upstreams[1][0].usual = answers(ok(b"answer"))
        headers = [f"traceparent: {caller(trace)}", "tracestate: vendor=x", "sluice-unit: customer-7"]
        answer = await rig.ask(post(headers=headers))
        await until(lambda: len(keeper.collector.of(trace)) == 4, _WITHIN_S)
        told = {version: some[0].heads[0].all("traceparent")[0].decode() for version, some in rig.upstreams.items()}
        request = judge(keeper.collector.of(trace), "http", told)
        request_id = (answer.one("sluice-request-id") or b"").decode()
        assert request.attributes["sluice.request_id"] == request_id
        assert request.attributes["http.response.status_code"] == 200
        assert (request.attributes["sluice.bytes.in"], request.attributes["sluice.bytes.out"]) == (2, 6)
        await until(lambda: bool(keeper.lines("access.log", trace)), _WITHIN_S)
        assert rig.worker.notes_lost() == {}
    (line,) = keeper.lines("access.log", trace)
    assert (line["request_id"], line["model"], line["version"], line["reason"]) == (request_id, "m", 1, "fallback")
    assert (line["status"], line["attempts"], line["bytes_in"], line["bytes_out"]) == (200, 2, 2, 6)
    assert (line["trace"], line["unit"]) == (trace, "header")
    assert line["ms"] >= 0
    assert "customer" not in (keeper.logs / "access.log").read_text()
    assert keeper.lines("errors.log", trace) == []


async def test_a_shadowed_and_retried_request_over_grpc(keeper: Keeping) -> None:
    """The same, told by metadata."""

    async def fails(_request: Any, context: Any) -> Any:  # noqa: ANN401
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no")

    trace = new_trace()
    metadata = (("traceparent", caller(trace)), ("tracestate", "vendor=x"), ("sluice-unit", "customer-7"))
    limits: dict[str, Any] = {"keeper_socket": keeper.socket, "traces_per_s": 1e6, "access_ppm": WHOLE}
    async with running_grpc(policy=POLICY, replicas=REPLICAS, **limits) as rig:
        await in_contact(rig.worker)
        rig.tritons[2][0].script.append(fails)
        answer = await rig.infer(metadata=metadata)
        await until(lambda: len(keeper.collector.of(trace)) == 4, _WITHIN_S)
        told = {version: some[0].asked[0].metadata["traceparent"] for version, some in rig.tritons.items()}
        request = judge(keeper.collector.of(trace), "grpc", told)
        assert request.attributes["sluice.request_id"] == answer.head["sluice-request-id"]
        assert request.attributes["rpc.system"] == "grpc"
        await until(lambda: bool(keeper.lines("access.log", trace)), _WITHIN_S)
    (line,) = keeper.lines("access.log", trace)
    assert (line["protocol"], line["request_id"], line["status"]) == ("grpc", answer.head["sluice-request-id"], 200)


async def test_a_failed_request_is_a_line_and_an_error(keeper: Keeping) -> None:
    """With the request id of its span, what was tried, and the sentence that the client got."""
    trace = new_trace()
    limits: dict[str, Any] = {"keeper_socket": keeper.socket, "traces_per_s": 1e6}
    async with running(**limits) as rig:
        await in_contact(rig.worker)
        rig.upstream.usual = CLOSES
        answer = await rig.ask(post(headers=[f"traceparent: {caller(trace)}"]))
        assert answer.code == 502
        await until(lambda: bool(keeper.lines("errors.log", trace) and keeper.collector.of(trace)), _WITHIN_S)
    (line,) = keeper.lines("errors.log", trace)
    request, _ = by_version([one for one in keeper.collector.of(trace) if one.attributes.get("sluice.attempt") != 2])
    assert (line["event"], line["status"], line["refused"]) == ("request failed", 502, "broken-upstream")
    assert line["error"] == request.error == answer.error
    assert line["request_id"] == request.attributes["sluice.request_id"]
    assert line["tried"].endswith("broken")
    assert keeper.lines("access.log", trace) == []


async def test_a_collector_that_is_away_is_seen_in_the_workers_figures(keeper: Keeping) -> None:
    """Requests are answered as ever, and what was lost comes back to the worker that noted it."""
    keeper.collector.code = 400
    try:
        async with running(keeper_socket=keeper.socket, traces_per_s=1e6, trace_share_ppm=WHOLE) as rig:
            await in_contact(rig.worker)
            assert (await rig.ask(post())).code == 200
            await until(lambda: rig.worker.notes_lost() == {"span_export": 2}, _WITHIN_S)
    finally:
        keeper.collector.code = 200
