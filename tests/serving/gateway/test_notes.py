"""What a worker notes of requests: of those that callers trace, that are drawn or that fail, and of no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from router.policy import WHOLE, Arm, Policy, Shadow
from router.unit import FieldSource
from serving.captured import Kind
from serving.gateway.traceparent import context_in
from serving.noted import Lost, Noted, Traced
from tests.serving.gateway.callers import caller, lets_in
from tests.serving.gateway.grpc.rig import Rig as GrpcRig
from tests.serving.gateway.grpc.rig import request
from tests.serving.gateway.grpc.rig import running as running_grpc
from tests.serving.gateway.keeper import HeardKeeper, keeping
from tests.serving.gateway.rig import Rig, eventually, running
from tests.serving.gateway.upstream import CLOSES, HANGS, answers
from tests.serving.gateway.wire import CHUNKED, chunks, get, ok, post

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACED = f"traceparent: 00-{TRACE}-{PARENT}-01"
UNTRACED = f"traceparent: 00-{TRACE}-{PARENT}-00"
STATE = "tracestate: vendor=x"
TRACING: dict[str, Any] = {"traces_per_s": 1e6}
MARK = Noted(1.0, 0.0, "http", "infer", "mark")
BUSY = answers(ok(b"{}", code="503 Service Unavailable"))
CANARY = Policy(1, (Arm(2, WHOLE),))
SHADOWED = Policy(1, (Arm(2, WHOLE),), shadows=(Shadow(3, salt="r1"),))


@asynccontextmanager
async def noting(folder: Path, **limits: Any) -> AsyncIterator[tuple[Rig, HeardKeeper]]:  # noqa: ANN401
    """A worker that has told its keeper its terms."""
    async with keeping(folder) as keeper, running(keeper_socket=str(keeper.path), **limits) as rig:
        await eventually(lambda: keeper.terms)
        yield rig, keeper


@asynccontextmanager
async def noting_grpc(folder: Path, **limits: Any) -> AsyncIterator[tuple[GrpcRig, HeardKeeper]]:  # noqa: ANN401
    """The same with its gRPC port."""
    async with keeping(folder) as keeper, running_grpc(keeper_socket=str(keeper.path), **limits) as rig:
        await eventually(lambda: keeper.terms)
        yield rig, keeper


def told(request: Any) -> list[bytes]:  # noqa: ANN401
    """What an upstream was told of the trace."""
    return [*request.all("traceparent"), *request.all("tracestate")]


async def nothing_but_a_mark(rig: Rig | GrpcRig, keeper: HeardKeeper) -> None:
    """All that the worker has handed over by now has come, and it was nothing."""
    await rig.rests()
    capture = rig.worker.capture
    assert capture is not None
    capture.tell(Kind.NOTED, MARK.encode())
    await eventually(lambda: MARK in keeper.noted)
    assert keeper.noted == [MARK]


async def the_one(keeper: HeardKeeper) -> Noted:
    """The only note that comes."""
    await eventually(lambda: keeper.noted)
    (noted,) = keeper.noted
    return noted


# What goes on to models.


@pytest.mark.parametrize("said", [[TRACED, STATE], [UNTRACED, STATE], ["traceparent: nonsense", STATE], []])
async def test_without_tracing_what_callers_say_goes_on_untouched(tmp_path: Path, said: list[str]) -> None:
    """Whatever it is, and in the same order; and nothing is noted of a request that went well."""
    async with noting(tmp_path) as (rig, keeper):
        assert rig.worker.notes is None
        answer = await rig.ask(post(headers=said))
        assert answer.code == 200
        assert told(rig.upstream.requests[0]) == [line.partition(": ")[2].encode() for line in said]
        await nothing_but_a_mark(rig, keeper)


async def test_without_tracing_metadata_goes_on_untouched(tmp_path: Path) -> None:
    """The same over gRPC."""
    async with noting_grpc(tmp_path) as (rig, keeper):
        metadata = tuple((name, value) for name, _, value in (line.partition(": ") for line in (TRACED, STATE)))
        assert (await rig.infer(metadata=metadata)).code is grpc.StatusCode.OK
        assert {key: rig.triton.asked[0].metadata[key] for key, _ in metadata} == dict(metadata)
        await nothing_but_a_mark(rig, keeper)


@pytest.mark.parametrize("said", [[UNTRACED, STATE], []], ids=["the caller does not", "not drawn"])
async def test_what_nobody_traces_goes_on_untouched(tmp_path: Path, said: list[str]) -> None:
    """A caller that does not record decides so for us, whatever the share; of the others none is drawn here."""
    async with noting(tmp_path, **TRACING, trace_share_ppm=WHOLE if said else 0) as (rig, keeper):
        await rig.ask(post(headers=said))
        assert told(rig.upstream.requests[0]) == [line.partition(": ")[2].encode() for line in said]
        await nothing_but_a_mark(rig, keeper)


async def test_a_traced_request_is_the_parent_of_what_the_model_does(tmp_path: Path) -> None:
    """The model is told the id of the attempt, in the caller's trace and with the caller's state."""
    async with noting(tmp_path, **TRACING) as (rig, keeper):
        answer = await rig.ask(post(headers=["a: b", TRACED, STATE, "c: d", "sluice-unit: someone"]))
        noted = await the_one(keeper)
    (asked,) = rig.upstream.requests
    (step,) = noted.steps
    assert noted.traced == Traced(int(TRACE, 16), noted.traced.span if noted.traced else 0, int(PARENT, 16), "vendor=x")
    assert told(asked) == [f"00-{TRACE}-{step.span:016x}-01".encode(), b"vendor=x"]
    assert (asked.all("a"), asked.all("c")) == ([b"b"], [b"d"])
    assert len({step.span, noted.traced.span, int(PARENT, 16)}) == 3
    assert (noted.protocol, noted.operation, noted.model, noted.status) == ("http", "infer", "m", 200)
    assert (noted.version, noted.assigned, noted.reason, noted.epoch) == (1, 1, "stable", 42)
    assert (noted.unit, noted.bytes_in, noted.bytes_out) == ("header", 2, len(answer.body))
    assert noted.request_id.encode() == answer.one("sluice-request-id")
    assert (step.version, step.role, step.outcome, step.code) == (1, "first", "ok", 200)
    assert step.place == f"127.0.0.1:{rig.upstream.port}"
    assert noted.at_s <= step.at_s
    assert step.took_s <= noted.took_s
    assert b"someone" not in noted.encode()
    assert (noted.access, noted.failed) == (False, False)


async def test_a_trace_that_begins_here_has_no_state_of_others(tmp_path: Path) -> None:
    """What cannot be read is replaced, and so is what goes with it."""
    async with noting(tmp_path, **TRACING, trace_share_ppm=WHOLE) as (rig, keeper):
        await rig.ask(post(headers=[TRACED.upper().replace("TRACEPARENT", "TraceParent"), STATE]))
        noted = await the_one(keeper)
    assert noted.traced is not None
    assert (noted.traced.parent, noted.traced.state) == (0, "")
    assert told(rig.upstream.requests[0]) == [b"00-%032x-%016x-01" % (noted.traced.trace, noted.steps[0].span)]


async def test_the_share_is_drawn_by_the_requests_own_number(tmp_path: Path) -> None:
    """About as many as were asked for, and the access log draws others than traces do."""
    async with noting(tmp_path, **TRACING, trace_share_ppm=250_000, access_ppm=250_000) as (rig, keeper):
        client = await rig.client()
        for _ in range(400):
            await client.send(post())
            await client.answer()
        await eventually(lambda: rig.worker.report()["notes_lost"] == {})
        await rig.rests()
    traced = [one for one in keeper.noted if one.traced is not None]
    drawn = [one for one in keeper.noted if one.access]
    # Each is binomial with 400 draws of a quarter: 100, and eight standard deviations are 70.
    assert abs(len(traced) - 100) < 70
    assert abs(len(drawn) - 100) < 70
    assert 0 < len([one for one in traced if one.access]) < len(traced)


# Every hop.


async def test_attempts_and_copies_are_hops_of_one_trace(tmp_path: Path) -> None:
    """A candidate that is busy, stable in its place, and a copy for the shadow: each with an id that it was told."""
    replicas = {1: 1, 2: 1, 3: 1}
    async with noting(tmp_path, **TRACING, policy=SHADOWED, replicas=replicas) as (rig, keeper):
        rig.upstreams[2][0].usual = BUSY
        answer = await rig.ask(post(headers=[TRACED]))
        noted = await the_one(keeper)
        await eventually(lambda: keeper.copied)
    (copied,) = keeper.copied
    first, second = noted.steps
    assert (first.version, first.role, first.outcome, first.code) == (2, "first", "unavailable", 503)
    assert (second.version, second.role, second.outcome, second.code) == (1, "fallback", "ok", 200)
    assert (noted.version, noted.assigned, noted.reason, noted.status) == (1, 2, "fallback", 200)
    assert noted.request_id.encode() == answer.one("sluice-request-id")
    assert first.at_s + first.took_s <= second.at_s + 0.001
    assert (copied.step.version, copied.step.role, copied.step.outcome) == (3, "shadow", "ok")
    assert noted.traced is not None
    assert (copied.traced.trace, copied.traced.parent) == (noted.traced.trace, noted.traced.span)
    assert copied.traced.span == copied.step.span
    for version, step in ((2, first), (1, second), (3, copied.step)):
        (head,) = rig.upstreams[version][0].heads
        (said,) = head.all("traceparent")
        context = context_in(said)
        assert context is not None
        assert (context.trace, context.parent) == (noted.traced.trace, step.span)


async def test_hops_over_grpc(tmp_path: Path) -> None:
    """A candidate that answers UNAVAILABLE, stable in its place, and a copy."""

    async def fails(_request: Any, context: Any) -> Any:  # noqa: ANN401
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no")

    limits = {**TRACING, "policy": SHADOWED, "replicas": {1: 1, 2: 1, 3: 1}}
    async with noting_grpc(tmp_path, **limits) as (rig, keeper):
        rig.tritons[2][0].script.append(fails)
        answer = await rig.infer(metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "a=1")))
        noted = await the_one(keeper)
        await eventually(lambda: keeper.copied)
    first, second = noted.steps
    (copied,) = keeper.copied
    assert (noted.protocol, noted.status, noted.reason) == ("grpc", 200, "fallback")
    assert noted.request_id == answer.head["sluice-request-id"]
    assert noted.bytes_out == len(answer.answer.SerializeToString()) + 5
    assert (first.outcome, first.code, second.outcome, second.role) == ("unavailable", 503, "ok", "fallback")
    assert (copied.protocol, copied.step.outcome, copied.step.role) == ("grpc", "ok", "shadow")
    for version, step in ((2, first), (1, second), (3, copied.step)):
        (asked,) = rig.tritons[version][0].asked
        assert asked.metadata["traceparent"] == f"00-{TRACE}-{step.span:016x}-01"
        assert asked.metadata["tracestate"] == "a=1"


async def test_a_stream_is_noted_as_one_request(tmp_path: Path) -> None:
    """As it is counted: with all that its messages and their answers came to."""
    async with noting_grpc(tmp_path, **TRACING) as (rig, keeper):

        async def sends() -> AsyncIterator[Any]:
            for number in range(3):
                yield request(id=str(number))

        call = rig.stub().ModelStreamInfer(sends(), metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),))
        answered = [one async for one in call]
        noted = await the_one(keeper)
    assert len(answered) == 3
    assert (noted.status, [step.outcome for step in noted.steps]) == (200, ["ok"])
    assert noted.bytes_out == sum(len(one.SerializeToString()) + 5 for one in answered)
    assert rig.triton.asked[0].metadata["traceparent"].split("-")[1] == TRACE


async def test_a_version_without_a_replica_is_a_hop_to_nowhere(tmp_path: Path) -> None:
    """And stable's answer another."""
    async with noting(tmp_path, **TRACING, policy=CANARY, replicas={1: 1, 2: 1}) as (rig, keeper):
        await rig.kill(rig.upstreams[2][0])
        rig.worker.blame(rig.gateways(rig.upstreams[2][0]), at_once=True)
        await rig.ask(post(headers=[TRACED]))
        noted = await the_one(keeper)
    assert [(step.version, step.place == "", step.outcome) for step in noted.steps] == [
        (2, True, "refused"), (1, False, "ok"),
    ]  # fmt: skip


# Failures.


async def test_a_failure_is_told_with_its_request_id_though_nothing_is_switched_on(tmp_path: Path) -> None:
    """Once, whether the gateway or the model says so; a client's own mistake is not told."""
    async with noting(tmp_path) as (rig, keeper):
        rig.upstream.script.extend([answers(ok(b"no", code="500 No")), CLOSES, CLOSES])
        assert (await rig.ask(post())).code == 500
        assert (await rig.ask(post())).code == 502
        assert (await rig.ask(post("/v2/models/other/infer"))).code == 404
        assert (await rig.ask(get("/v2/models/m/infer"))).code == 405
        rig.upstream.script.append(answers(ok(b"bad", code="400 Bad")))
        assert (await rig.ask(post())).code == 400
        await eventually(lambda: len(keeper.noted) == 2)
        await rig.rests()
        by_model, by_us = keeper.noted
    assert (by_model.failed, by_model.status, by_model.refused, by_model.error) == (True, 500, "", "")
    assert (by_us.failed, by_us.status, by_us.refused) == (True, 502, "broken-upstream")
    assert "broke off" in by_us.error
    for noted in (by_model, by_us):
        assert (len(noted.request_id), noted.model, noted.version, noted.reason) == (68, "m", 1, "stable")
        assert (noted.traced, noted.access, noted.steps) == (None, False, ())


async def test_a_traced_failure_is_one_note(tmp_path: Path) -> None:
    """With its attempts, and marked as one that is told."""
    async with noting(tmp_path, **TRACING, access_ppm=WHOLE) as (rig, keeper):
        rig.upstream.usual = CLOSES
        assert (await rig.ask(post(headers=[TRACED]))).code == 502
        noted = await the_one(keeper)
        await rig.rests()
        assert len(keeper.noted) == 1
    assert (noted.failed, noted.access, noted.status, noted.refused) == (True, True, 502, "broken-upstream")
    assert {step.outcome for step in noted.steps} == {"broken"}
    assert noted.bytes_out == 0


async def test_more_failures_than_may_be_told_are_counted(tmp_path: Path) -> None:
    """Whoever fails requests on purpose fills no disk: the next that is told says how many were not."""
    async with noting(tmp_path) as (rig, keeper):
        journal = rig.worker.journal
        assert journal is not None
        now_s = rig.worker.loop.time() + 1_000
        journal.clock = lambda: now_s
        while journal.tells(500):
            pass
        rig.upstream.usual = answers(ok(code="500 No"))
        await rig.ask(post())
        assert rig.worker.notes_lost() == {"error_rate": 2}
        now_s += 1_000
        await rig.ask(post())
        noted = await the_one(keeper)
    assert (noted.failed, noted.suppressed) == (True, 2)


async def test_what_a_client_gives_up_is_noted_as_given_up(tmp_path: Path) -> None:
    """Without a status, and as nobody's failure."""
    async with noting(tmp_path, **TRACING) as (rig, keeper):
        rig.upstream.usual = HANGS
        client = await rig.client()
        await client.send(post(headers=[TRACED]))
        await eventually(lambda: rig.upstream.requests)
        client.close(reset=True)
        noted = await the_one(keeper)
    assert (noted.status, noted.failed, [step.outcome for step in noted.steps]) == (0, False, ["cancelled"])


async def test_a_generation_that_fails_is_told_as_a_failure(tmp_path: Path) -> None:
    """Whatever its status: a model that says so in its answer has failed the client, with a note and without one."""
    words = b'{"error":"There is no token 1."}'
    said = [CHUNKED.replace(b"200 OK", b"400 Bad Request") + chunks(words), CHUNKED + chunks(words)]
    async with noting(tmp_path, **TRACING) as (rig, keeper):
        rig.upstream.script.extend(answers(one) for one in said for _ in range(2))
        codes = [
            (await rig.ask(post("/v2/models/m/generate", headers=head))).code for _ in said for head in ([], [TRACED])
        ]
        assert codes == [400, 400, 200, 200]
        await eventually(lambda: len(keeper.noted) == 4)
        state = rig.worker.routing.models["m"].stable.state
        assert (state.requests, state.failed) == (4, 4)
    assert [(one.failed, one.status) for one in keeper.noted] == [(True, 500)] * 4
    assert [one.traced is not None for one in keeper.noted] == [False, True, False, True]


async def test_a_model_that_gives_up_at_the_clients_deadline_has_failed(tmp_path: Path) -> None:
    """There is no time to ask anybody else: its 504 is the client's, and a failure as it is over gRPC."""
    async with noting(tmp_path) as (rig, keeper):
        rig.upstream.usual = answers(ok(b"late", code="504 Gateway Timeout"))
        assert (await rig.ask(post(headers=["sluice-timeout-ms: 99"]))).code == 504
        noted = await the_one(keeper)
        state = rig.worker.routing.models["m"].stable.state
        assert (state.requests, state.failed) == (1, 1)
    assert (noted.failed, noted.status) == (True, 504)


async def test_what_is_not_offered_is_no_failure(tmp_path: Path) -> None:
    """Nothing has failed, and whoever asks for it again and again fills no log."""
    async with noting(tmp_path, access_ppm=WHOLE) as (rig, keeper):
        assert (await rig.ask(get("/v2/trace/setting"), b"GET")).code == 501
        noted = await the_one(keeper)
    assert (noted.status, noted.access, noted.failed, noted.refused) == (501, True, False, "not-offered")


# The access log.


async def test_every_request_stands_in_a_full_access_log(tmp_path: Path) -> None:
    """Also those that the gateway refuses; not what it answers by itself, such as questions of its health."""
    async with noting(tmp_path, access_ppm=WHOLE) as (rig, keeper):
        assert (await rig.ask(post(body=b"[" * 10, headers=["sluice-synthetic: 1"]))).code == 200
        assert (await rig.ask(get("/v2/health/ready"), b"GET")).code == 200
        assert (await rig.ask(post("/v2/models/other/infer"))).code == 404
        await eventually(lambda: len(keeper.noted) == 2)
        await rig.rests()
    answered, refused = keeper.noted
    assert (answered.access, answered.status, answered.bytes_in, answered.synthetic) == (True, 200, 10, True)
    assert (answered.unit, [step.role for step in answered.steps]) == ("none", ["synthetic"])
    assert (refused.access, refused.status, refused.refused, refused.model) == (True, 404, "unknown-model", "other")
    assert (refused.failed, refused.request_id) == (False, "")


async def test_a_long_answer_is_counted_in_full(tmp_path: Path) -> None:
    """Though it goes to the client piece by piece."""
    body = bytes(300_000)
    async with noting(tmp_path, access_ppm=WHOLE) as (rig, keeper):
        rig.upstream.usual = answers(ok(body))
        assert (await rig.ask(post(body=body))).body == body
        noted = await the_one(keeper)
    assert (noted.bytes_in, noted.bytes_out) == (300_000, 300_000)


# What is lost.


async def test_a_refused_request_over_the_bound_is_counted_once(tmp_path: Path) -> None:
    """It was decided when it began that it is not traced: its refusal asks nobody again."""
    async with noting(tmp_path, traces_per_s=0.001) as (rig, keeper):
        rig.upstream.usual = CLOSES
        for _ in range(2):
            assert (await rig.ask(post(headers=[TRACED]))).code == 502
        await eventually(lambda: len(keeper.noted) == 2)
        assert rig.worker.notes_lost() == {"trace_rate": 1}
    assert [one.traced is not None for one in keeper.noted] == [True, False]


async def test_a_request_without_a_place_is_counted_once(tmp_path: Path) -> None:
    """The same where the gateway is full."""
    async with noting(tmp_path, traces_per_s=0.001, max_in_flight=0) as (rig, keeper):
        for _ in range(2):
            assert (await rig.ask(post(headers=[TRACED]))).code == 503
        await eventually(lambda: len(keeper.noted) == 2)
        assert rig.worker.notes_lost() == {"trace_rate": 1}
    assert [one.traced is not None for one in keeper.noted] == [True, False]


async def test_nobody_spends_traces_who_may_not_ask(tmp_path: Path) -> None:
    """Strangers are refused without a span; they stand in the access log, and what is traced is left to callers."""
    async with noting(tmp_path, traces_per_s=0.001, access_ppm=WHOLE) as (rig, keeper):
        somebody = caller()
        lets_in(rig.worker, somebody)
        for _ in range(3):
            assert (await rig.ask(post(headers=[TRACED]))).code == 401
        assert (await rig.ask(post(headers=[TRACED, somebody.header]))).code == 200
        await eventually(lambda: len(keeper.noted) == 4)
        assert rig.worker.notes_lost() == {}
    assert [one.traced is not None for one in keeper.noted] == [False, False, False, True]
    assert all(one.access for one in keeper.noted)


async def test_more_traces_than_may_be_are_counted(tmp_path: Path) -> None:
    """A caller can ask for any number: what is over the bound is answered all the same, and not traced."""
    async with noting(tmp_path, traces_per_s=0.001) as (rig, keeper):
        for _ in range(3):
            assert (await rig.ask(post(headers=[TRACED]))).code == 200
        await the_one(keeper)
        assert rig.worker.report()["notes_lost"] == {"trace_rate": 2}
        assert told(rig.upstream.requests[2]) == [f"00-{TRACE}-{PARENT}-01".encode()]


async def test_what_no_keeper_takes_is_counted_and_what_it_loses_is_told(tmp_path: Path) -> None:
    """A keeper that is away costs nothing but notes; one that cannot write says so on the same stream."""
    async with noting(tmp_path, access_ppm=WHOLE) as (rig, keeper):
        keeper.say_lost(Lost({"span_queue": 3}))
        keeper.say_lost(Lost({"span_queue": 2, "line_disk": 1}))
        await eventually(lambda: rig.worker.notes_lost() == {"span_queue": 5, "line_disk": 1})
        keeper.hang_up()
        capture = rig.worker.capture
        assert capture is not None
        await eventually(lambda: capture._line is None or capture._line.gone)
        assert (await rig.ask(post())).code == 200
        assert rig.worker.notes_lost()["note_away"] == 1
        assert rig.worker.report()["not_captured"] == {}
        await eventually(lambda: keeper.lines == 2)


async def test_a_keeper_that_talks_nonsense_is_dialled_anew(tmp_path: Path) -> None:
    """And nothing else comes of it."""
    async with noting(tmp_path) as (rig, keeper):
        keeper.say(b"\xff" * 8)
        await eventually(lambda: keeper.lines == 2)
        assert (await rig.ask(post())).code == 200


# What named the unit.


async def test_what_named_the_unit_is_said_and_never_the_unit(tmp_path: Path) -> None:
    """A header, a further source, or nothing."""
    policy = Policy(1, unit_sources=(FieldSource("x-user"),))
    async with noting(tmp_path, policy=policy, access_ppm=WHOLE) as (rig, keeper):
        for head in (["sluice-unit: a-patient"], ["x-user: a-customer"], []):
            await rig.ask(post(headers=head))
        await eventually(lambda: len(keeper.noted) == 3)
    assert [one.unit for one in keeper.noted] == ["header", "source", "none"]
    assert not any(unit in one.encode() for one in keeper.noted for unit in (b"a-patient", b"a-customer"))


async def test_a_worker_without_a_keeper_has_no_journal(rig: Rig) -> None:
    """It notes nothing, and what callers say goes on."""
    assert (rig.worker.journal, rig.worker.notes, rig.worker.notes_lost()) == (None, None, {})
    rig.upstream.usual = CLOSES
    assert (await rig.ask(post(headers=[TRACED]))).code == 502


async def test_failures_over_grpc_are_told(tmp_path: Path) -> None:
    """Of a call and of a message on a stream; what a client got wrong stands in the access log alone."""

    async def fails(_request: Any, context: Any) -> Any:  # noqa: ANN401
        await context.abort(grpc.StatusCode.INTERNAL, "no")

    async def sends() -> AsyncIterator[Any]:
        yield request("other")

    async with noting_grpc(tmp_path, access_ppm=WHOLE) as (rig, keeper):
        rig.triton.script.append(fails)
        assert (await rig.infer()).code is grpc.StatusCode.INTERNAL
        assert [one.error_message async for one in rig.stub().ModelStreamInfer(sends())]
        await eventually(lambda: len(keeper.noted) == 2)
    by_model, mistaken = keeper.noted
    assert (by_model.failed, by_model.status, by_model.protocol) == (True, 500, "grpc")
    assert [(step.outcome, step.code) for step in by_model.steps] == [("server_error", 500)]
    assert (mistaken.failed, mistaken.access, mistaken.refused, mistaken.model) == (
        False, True, "unknown-model", "other",
    )  # fmt: skip


async def test_a_sequence_names_the_unit_of_its_parts(tmp_path: Path) -> None:
    """Whatever else the call names."""
    async with noting_grpc(tmp_path, access_ppm=WHOLE) as (rig, keeper):
        parameters = {"sequence_id": pb.InferParameter(int64_param=7)}
        await rig.infer(request(parameters=parameters), metadata=(("sluice-unit", "someone"),))
        noted = await the_one(keeper)
    assert noted.unit == "sequence"
