"""Requests and their answers reach the keeper as they were, and a keeper that is slow or away costs nobody anything."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from router.agreement import Comparison
from router.policy import WHOLE, Arm, Policy, Role, Shadow
from serving.captured import Answered, Captured
from serving.endpoint import NO_LOAD, Load
from serving.gateway.capture import Capture
from serving.gateway.pairs import message_in
from tests.serving.gateway.grpc.rig import request
from tests.serving.gateway.grpc.rig import running as running_grpc
from tests.serving.gateway.keeper import HeardKeeper, keeping
from tests.serving.gateway.rig import Rig, eventually, running
from tests.serving.gateway.speakers import HEAD as EVENTS
from tests.serving.gateway.upstream import CLOSES, HANGS, answers
from tests.serving.gateway.wire import CHUNKED, chunks, ok, post

STABLE, CANDIDATE = 1, 2
BOTH = {STABLE: 1, CANDIDATE: 1}
SHADOWED = Policy(STABLE, shadows=(Shadow(CANDIDATE, salt="r1"),))
NOISY = Policy(STABLE, shadows=(Shadow(CANDIDATE, salt="r1"), Shadow(STABLE, salt="r1")))
JSON = "Content-Type: application/json"
MEBIBYTE = b"x" * 1024 * 1024


async def in_contact(rig: Rig, keeper: HeardKeeper) -> None:
    """Waits until the worker has told its terms."""
    del rig
    await eventually(lambda: keeper.terms)


async def test_a_pair_is_what_went_over_the_wire(tmp_path: Path) -> None:
    """Request, both answers, who gave them, and the id that the client was told."""
    policy = replace(SHADOWED, comparison=Comparison(segments=("x-region",)))
    async with (
        keeping(tmp_path) as keeper,
        running(policy=policy, replicas=BOTH, keeper_socket=str(keeper.path)) as rig,
    ):
        await in_contact(rig, keeper)
        rig.upstream.usual = answers(ok(b'{"a": 1}', [JSON, "X-Other: 1"]))
        rig.upstreams[CANDIDATE][0].usual = answers(ok(b'{"a": 2}', [JSON]))
        headers = [JSON, "x-region: eu" + "u" * 100, "x-secret: s", "Inference-Header-Content-Length: 2"]
        answer = await rig.ask(post(body=b"{}" + bytes(range(256)), headers=headers))
        await eventually(lambda: keeper.captured)
        (pair,) = keeper.captured
        assert (pair.model, pair.protocol, pair.assigned, pair.stable) == ("m", "http", STABLE, STABLE)
        assert (pair.salt, pair.epoch, pair.segment) == ("r1", 42, {"x-region": ("eu" + "u" * 100)[:64]})
        assert pair.request_id.encode() == answer.one("sluice-request-id")
        assert pair.request == b"{}" + bytes(range(256))
        assert pair.headers == b"content-type: application/json\r\ninference-header-content-length: 2\r\n"
        assert (pair.first.body, pair.first.code, pair.first.outcome) == (b'{"a": 1}', 200, "ok")
        assert pair.first.headers.lower() == b"content-type: application/json\r\n"
        (copy,) = pair.copies
        assert (copy.version, copy.body, copy.size, copy.outcome) == (CANDIDATE, b'{"a": 2}', 8, "ok")
        assert 0 <= pair.first.took_s < 60
        assert 0 <= copy.took_s < 60


async def test_a_pair_over_grpc_is_messages_in_the_clear(tmp_path: Path) -> None:
    """Without the five bytes, and nothing of HTTP's."""
    async with (
        keeping(tmp_path) as keeper,
        running_grpc(policy=NOISY, replicas=BOTH, keeper_socket=str(keeper.path)) as rig,
    ):
        await eventually(lambda: keeper.terms)
        asked = request(id="x", raw_input_contents=[bytes(5_000)])
        answer = await rig.infer(asked)
        await eventually(lambda: keeper.captured)
        (pair,) = keeper.captured
        assert (pair.protocol, pair.headers, pair.first.headers) == ("grpc", b"", b"")
        assert pair.request == asked.SerializeToString()
        assert pair.request_id == answer.head["sluice-request-id"]
        assert sorted(copy.version for copy in pair.copies) == [STABLE, CANDIDATE]
        assert pair.first.body == answer.answer.SerializeToString()
        assert all(copy.body is not None and copy.code == 200 for copy in pair.copies)


async def test_the_second_answer_of_stable_is_in_the_same_pair(tmp_path: Path) -> None:
    """A shadow of stable with the same salt is the noise beside the candidate's difference."""
    async with keeping(tmp_path) as keeper, running(policy=NOISY, replicas=BOTH, keeper_socket=str(keeper.path)) as rig:
        await in_contact(rig, keeper)
        assert (await rig.ask(post())).one("sluice-version") == b"1"
        await eventually(lambda: keeper.captured)
        assert sorted(copy.version for copy in keeper.captured[0].copies) == [STABLE, CANDIDATE]
        assert len(rig.upstream.requests) == 2


async def test_shadows_of_two_salts_make_two_pairs(tmp_path: Path) -> None:
    """Each names whose shadow it is of."""
    policy = Policy(STABLE, shadows=(Shadow(CANDIDATE, salt="r1"), Shadow(3, salt="r2")))
    replicas = {**BOTH, 3: 1}
    async with (
        keeping(tmp_path) as keeper,
        running(policy=policy, replicas=replicas, keeper_socket=str(keeper.path)) as rig,
    ):
        await in_contact(rig, keeper)
        await rig.ask(post())
        await eventually(lambda: len(keeper.captured) == 2)
        assert {pair.salt: [copy.version for copy in pair.copies] for pair in keeper.captured} == {"r1": [2], "r2": [3]}


@pytest.mark.parametrize(
    ("does", "outcome", "code"),
    [(CLOSES, "broken", 0), (answers(ok(code="500 No")), "server_error", 500), (answers(b"smtp\r\n\r\n"), "broken", 0)],
    ids=["closes", "500", "no HTTP"],
)
async def test_a_copy_that_fails_is_a_pair_too(tmp_path: Path, does: object, outcome: str, code: int) -> None:
    """How it failed is told; the client knows nothing of it."""
    async with (
        keeping(tmp_path) as keeper,
        running(policy=SHADOWED, replicas=BOTH, keeper_socket=str(keeper.path)) as rig,
    ):
        await in_contact(rig, keeper)
        rig.upstreams[CANDIDATE][0].usual = does  # type: ignore[assignment]
        assert (await rig.ask(post())).code == 200
        await eventually(lambda: keeper.captured)
        (copy,) = keeper.captured[0].copies
        assert (copy.outcome, copy.code, copy.body is None) == (outcome, code, code == 0)


async def test_a_copy_that_hangs_is_late(tmp_path: Path) -> None:
    """By a deadline of its own, which is shorter than a request's."""
    async with (
        keeping(tmp_path) as keeper,
        running(policy=SHADOWED, replicas=BOTH, keeper_socket=str(keeper.path), copy_timeout_s=0.2) as rig,
    ):
        await in_contact(rig, keeper)
        rig.upstreams[CANDIDATE][0].usual = HANGS
        assert (await rig.ask(post())).code == 200
        await eventually(lambda: keeper.captured)
        assert [copy.outcome for copy in keeper.captured[0].copies] == ["late"]


async def test_what_waited_too_long_in_a_queue_is_no_failure(tmp_path: Path) -> None:
    """Triton gave the copy up unseen: it counts as shed, and as nothing that speaks against the version."""
    async with (
        keeping(tmp_path) as keeper,
        running(policy=SHADOWED, replicas=BOTH, keeper_socket=str(keeper.path)) as rig,
    ):
        await in_contact(rig, keeper)
        words = b'{"error": "Request timeout expired"}'
        rig.upstreams[CANDIDATE][0].script.append(answers(ok(words, code="503 Service Unavailable")))
        rig.upstreams[CANDIDATE][0].script.append(answers(ok(b"{}", code="503 Service Unavailable")))
        for body in (b"1", b"2"):
            assert (await rig.ask(post(body=body))).code == 200
            await eventually(lambda: not rig.worker.shadows)
        await eventually(lambda: keeper.captured)
        assert [(one.request, one.copies[0].outcome) for one in keeper.captured] == [(b"2", "unavailable")]
        (shadow,) = rig.worker.capture.shed().shadows if rig.worker.capture else ()
        assert (shadow.offered, shadow.sent, shadow.shed) == (2, 1, {"expired": 1})


async def test_copies_stay_away_from_a_queue() -> None:
    """Where the replica's lease tells of one, and where the worker itself has its hands full."""
    async with running(policy=SHADOWED, replicas=BOTH, max_in_flight=4) as rig:
        shadow = rig.gateways(rig.upstreams[CANDIDATE][0])
        shadow.load = Load(1_000)
        assert (await rig.ask(post())).code == 200
        shadow.load = NO_LOAD
        rig.upstream.script.extend((HANGS, HANGS, HANGS))
        for count in range(1, 4):
            await (await rig.client()).send(post())
            await eventually(lambda count=count: len(rig.worker.in_flight) == count)  # type: ignore[misc]
        assert (await rig.ask(post())).code == 200
        assert rig.worker.table.shed() == {"m/2/queue": 1, "m/2/gateway_busy": 1}


async def test_what_is_too_long_is_told_by_its_size(tmp_path: Path) -> None:
    """Of the shadow's answer as of the client's own, however it came; nothing is kept of it."""
    async with (
        keeping(tmp_path) as keeper,
        running(policy=SHADOWED, replicas=BOTH, keeper_socket=str(keeper.path), capture_max_body=200_000) as rig,
    ):
        await in_contact(rig, keeper)
        rig.upstream.usual = answers(CHUNKED, chunks(b"y" * 150_000))
        rig.upstreams[CANDIDATE][0].usual = answers(CHUNKED, chunks(*[MEBIBYTE] * 3))
        assert (await rig.ask(post(body=bytes(100)))).code == 200
        rig.upstream.usual = answers(CHUNKED, chunks(b"z" * 250_000))
        assert (await rig.ask(post(body=bytes(300_000), headers=["Inference-Header-Content-Length: 0"]))).code == 200
        await eventually(lambda: len(keeper.captured) == 2)
        first, second = keeper.captured
        assert (first.request, first.first.body) == (bytes(100), b"y" * 150_000)
        assert (second.request, second.first.body, second.first.size) == (None, None, 250_000)
        assert [(one.body, one.size) for one in (*first.copies, *second.copies)] == [(None, 3 * len(MEBIBYTE))] * 2
        assert rig.worker.shelf.kept == 0


async def test_failures_are_handed_over_without_a_copy(tmp_path: Path) -> None:
    """What the client got is told with the version that was to answer: the model's own error, and the gateway's."""
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path)) as rig:
        await in_contact(rig, keeper)
        assert (await rig.ask(post())).code == 200
        rig.upstream.script.append(answers(ok(b'{"error": "no"}', code="500 No")))
        assert (await rig.ask(post(body=b"1"))).code == 500
        rig.upstream.usual = CLOSES
        assert (await rig.ask(post(body=b"2"))).code == 502
        await eventually(lambda: len(keeper.captured) == 2)
        told = [(one.request, one.first.outcome, one.first.code, one.first.body, one.salt) for one in keeper.captured]
        assert told == [(b"1", "server_error", 500, b'{"error": "no"}', ""), (b"2", "broken", 502, None, "")]
        assert all(one.copies == () for one in keeper.captured)


async def test_a_share_of_all_requests_is_handed_over(tmp_path: Path) -> None:
    """Drawn by the request's own number, whichever version answers; a load test's are not."""
    policy = Policy(STABLE, (Arm(CANDIDATE, WHOLE // 2, role=Role.CANARY),))
    async with (
        keeping(tmp_path) as keeper,
        running(policy=policy, replicas=BOTH, keeper_socket=str(keeper.path), payload_share_ppm=WHOLE // 2) as rig,
    ):
        await in_contact(rig, keeper)
        capture = rig.worker.capture
        assert isinstance(capture, Capture)
        client = await rig.client()
        for _ in range(60):
            await client.send(post())
            assert (await client.answer()).code == 200
        await rig.rests()
        await eventually(lambda: len(keeper.captured) > 10)
        assert len(keeper.captured) < 60
        assert all(capture.draws(one.nonce) for one in keeper.captured)
        assert {one.assigned for one in keeper.captured} == {STABLE, CANDIDATE}


async def test_streams_are_not_captured(tmp_path: Path) -> None:
    """Neither events nor what else generates: only inference is compared."""
    async with (
        keeping(tmp_path) as keeper,
        running(policy=SHADOWED, replicas=BOTH, keeper_socket=str(keeper.path), payload_share_ppm=WHOLE) as rig,
    ):
        await in_contact(rig, keeper)
        for operation in ("generate", "generate_stream", "infer"):
            assert (await rig.ask(post(f"/v2/models/m/{operation}"))).code == 200
        await eventually(lambda: keeper.captured)
        await eventually(lambda: not rig.worker.shadows)
        assert len(keeper.captured) == 1


@pytest.mark.parametrize("policy", [SHADOWED, Policy(STABLE)], ids=["copied", "alone"])
async def test_generations_that_fail_are_not_captured(policy: Policy, tmp_path: Path) -> None:
    """They are failures, of whatever status, and yet neither what was asked nor the model's words leave the worker."""
    words = b'{"error":"There is no token 1."}'
    whole = [CHUNKED + chunks(words), CHUNKED.replace(b"200 OK", b"400 Bad Request") + chunks(words)]
    streamed = EVENTS + chunks(b"data: {}\n\n", b"data: " + words + b"\n\n")
    async with (
        keeping(tmp_path) as keeper,
        running(policy=policy, replicas=BOTH, keeper_socket=str(keeper.path), payload_share_ppm=WHOLE) as rig,
    ):
        await in_contact(rig, keeper)
        rig.upstream.script.extend(answers(one) for one in (*whole, streamed))
        for operation in ("generate", "generate", "generate_stream", "infer"):
            await rig.ask(post(f"/v2/models/m/{operation}"))
        await eventually(lambda: keeper.captured)
        await eventually(lambda: not rig.worker.shadows)
        state = rig.worker.routing.models["m"].stable.state
        assert (state.requests, state.failed) == (4, 3)
        assert [(one.first.code, one.first.outcome) for one in keeper.captured] == [(200, "ok")]


async def test_terms_are_told_at_once_and_at_each_change(tmp_path: Path) -> None:
    """A swap that leaves the rules as they are says nothing new, but for its epoch."""
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path)) as rig:
        await in_contact(rig, keeper)
        assert keeper.terms[0].models["m"].comparison is None
        policy = Policy(STABLE, comparison=Comparison(keep=3))
        before = rig.worker.routing
        routing = rig.worker.table.build(before.head, {"m": policy}, [])
        rig.worker.swap(routing)
        rig.worker.swap(routing)
        await eventually(lambda: len(keeper.terms) == 2)
        said = keeper.terms[1].models["m"]
        assert (said.epoch, (said.comparison or {})["keep"]) == (before.head.epoch, 3)


async def test_sheds_are_told_with_the_reason(tmp_path: Path) -> None:
    """Copies that were made and those that were not come to all that were due."""
    policy = Policy(STABLE, shadows=(Shadow(CANDIDATE, salt="r1", max_in_flight=1),))
    async with (
        keeping(tmp_path) as keeper,
        running(policy=policy, replicas=BOTH, keeper_socket=str(keeper.path)) as rig,
    ):
        await in_contact(rig, keeper)
        rig.upstreams[CANDIDATE][0].usual = HANGS
        for _ in range(3):
            assert (await rig.ask(post())).code == 200
        await eventually(lambda: keeper.sheds and keeper.sheds[-1].shadows and keeper.sheds[-1].shadows[0].offered == 3)
        (shadow,) = keeper.sheds[-1].shadows
        assert (shadow.model, shadow.version, shadow.salt) == ("m", CANDIDATE, "r1")
        assert (shadow.sent, shadow.shed) == (1, {"max_in_flight": 2})
        for copy in list(rig.worker.shadows):
            copy.abandon()


async def test_a_keeper_that_is_away_costs_nobody_anything(tmp_path: Path) -> None:
    """What it would have been handed is counted; once it is there, the next pair reaches it."""
    path = tmp_path / "keeper"
    async with running(policy=SHADOWED, replicas=BOTH, keeper_socket=str(path)) as rig:
        assert (await rig.ask(post())).code == 200
        await eventually(lambda: rig.worker.report()["not_captured"] == {"pair_away": 1})
        async with keeping(tmp_path) as keeper:
            await in_contact(rig, keeper)
            assert (await rig.ask(post(body=b"2"))).code == 200
            await eventually(lambda: keeper.captured)
            keeper.hang_up()
            await eventually(lambda: keeper.lines == 2)
            await eventually(lambda: len(keeper.terms) == 2)
            assert (await rig.ask(post(body=b"3"))).code == 200
            await eventually(lambda: len(keeper.captured) == 2)
            assert [one.request for one in keeper.captured] == [b"2", b"3"]


async def test_a_keeper_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    """No more than a bound is held for it; what comes beyond is dropped, counted, and told once it reads."""
    async with (
        keeping(tmp_path) as keeper,
        running(policy=SHADOWED, replicas=BOTH, keeper_socket=str(keeper.path), payload_share_ppm=WHOLE) as rig,
    ):
        await in_contact(rig, keeper)
        keeper.reads.clear()
        client = await rig.client()
        body = b"[" + b" " * 1_000_000 + b"]"
        for _ in range(40):
            await client.send(post(body=body))
            assert (await client.answer()).code == 200
            await eventually(lambda: not rig.worker.shadows)
        assert rig.worker.capture is not None
        dropped = rig.worker.capture.dropped["pair_full"]
        assert 10 < dropped < 40
        keeper.reads.set()
        await eventually(lambda: len(keeper.captured) == 40 - dropped)
        await eventually(lambda: keeper.sheds[-1].dropped == {"pair_full": dropped})


@pytest.mark.parametrize("coding", [b"gzip", b""])
def test_a_message_is_read_with_its_five_bytes_only(coding: bytes) -> None:
    """Whole, in the clear, and no longer than it may be; anything else is no message."""
    data = gzip.compress(b"hello") if coding else b"hello"
    whole = b"%c%s%s" % (1 if coding else 0, len(data).to_bytes(4, "big"), data)
    assert message_in(whole, coding, 5) == b"hello"
    assert message_in(whole, coding, 4) is None
    assert message_in(whole[:-1], coding, 5) is None
    assert message_in(whole + b"x", coding, 5) is None
    assert message_in(b"", coding, 5) is None


def test_what_was_handed_over_is_plain() -> None:
    """An answer that is told without a body says how long it was."""
    answer = Answered(1, "ok", 200, 0.1, b"", None, 9)
    captured = Captured("m", "id", 1, 1, 1.0, "http", 1, 1, "", {}, b"", b"", answer)
    assert Captured.decode(captured.encode()).first.size == 9
