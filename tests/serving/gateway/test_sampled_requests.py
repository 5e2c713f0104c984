"""A worker hands over what is sampled for the drift sidecar, so many a second, and nothing that must not be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import Mock

import pytest

from drift.sampling import SampleRule, SampleRules, drawn
from router.policy import WHOLE, Arm, Policy, Role, Shadow
from serving.access.roles import Role as May
from serving.gateway import served
from serving.gateway.pairs import First
from tests.serving.gateway.callers import caller, lets_in
from tests.serving.gateway.grpc.rig import request
from tests.serving.gateway.grpc.rig import running as running_grpc
from tests.serving.gateway.keeper import keeping
from tests.serving.gateway.rig import eventually, running
from tests.serving.gateway.speakers import END
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import CHUNKED, chunks, ok, post

STABLE, CANDIDATE = 1, 2
BOTH = {STABLE: 1, CANDIDATE: 1}
HALVES = Policy(STABLE, (Arm(CANDIDATE, WHOLE // 2, role=Role.CANARY),))
ALL = SampleRules(SampleRule(rows_per_s=1e9)).to_json()
HALF = SampleRules(SampleRule(WHOLE // 2, rows_per_s=1e9)).to_json()


async def test_a_share_is_sampled_whichever_version_answers(tmp_path: Path) -> None:
    """Drawn by the request's own number, and by nothing else."""
    async with (
        keeping(tmp_path) as keeper,
        running(policy=HALVES, replicas=BOTH, keeper_socket=str(keeper.path), samples=HALF) as rig,
    ):
        await eventually(lambda: keeper.terms)
        client = await rig.client()
        for _ in range(60):
            await client.send(post())
            assert (await client.answer()).code == 200
        await rig.rests()
        await eventually(lambda: len(keeper.captured) > 10)
        assert len(keeper.captured) < 60
        assert all(drawn(one.nonce, WHOLE // 2) for one in keeper.captured)
        assert {one.first.version for one in keeper.captured} == {STABLE, CANDIDATE}


async def test_bodies_come_over_http_and_grpc(tmp_path: Path) -> None:
    """As they were, up to what may be captured: an embedding of a million bytes."""
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path), samples=ALL) as rig:
        await eventually(lambda: keeper.terms)
        embedding = b"{}" + bytes(1_000_000)
        assert (await rig.ask(post(body=embedding, headers=["Inference-Header-Content-Length: 2"]))).code == 200
        await eventually(lambda: keeper.captured)
        assert keeper.captured[0].request == embedding
        assert keeper.captured[0].first.body is not None
    async with (
        keeping(tmp_path) as keeper,
        running_grpc(keeper_socket=str(keeper.path), samples=ALL) as calls,
    ):
        await eventually(lambda: keeper.terms)
        asked = request(id="x", raw_input_contents=[bytes(5_000)])
        await calls.infer(asked)
        await eventually(lambda: keeper.captured)
        assert keeper.captured[0].request == asked.SerializeToString()


async def test_what_is_marked_synthetic_or_went_wrong_is_not_sampled(tmp_path: Path) -> None:
    """A load test is no traffic; what the client did wrong says nothing of it; other models have rules of their own."""
    rules = SampleRules(SampleRule(rows_per_s=1e9), {"other": None}).to_json()
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path), samples=rules) as rig:
        await eventually(lambda: keeper.terms)
        operator = caller(May.OPERATE)
        lets_in(rig.worker, operator)
        assert (await rig.ask(post(headers=[operator.header, "sluice-synthetic: 1"]))).code == 200
        rig.upstream.script.append(answers(ok(b"{}", code="400 No")))
        assert (await rig.ask(post(headers=[operator.header]))).code == 400
        assert (await rig.ask(post(headers=[operator.header], body=b"last"))).code == 200
        await eventually(lambda: keeper.captured)
        assert [one.request for one in keeper.captured] == [b"last"]
        assert rig.worker.capture is not None
        assert not rig.worker.capture.samples("other", 1)


async def test_no_more_than_a_rate_is_handed_over(tmp_path: Path) -> None:
    """What is beyond is a choice and no loss; what fails is handed over all the same."""
    rules = SampleRules(SampleRule(rows_per_s=0.001)).to_json()
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path), samples=rules) as rig:
        await eventually(lambda: keeper.terms)
        for _ in range(5):
            assert (await rig.ask(post())).code == 200
        rig.upstream.usual = answers(ok(b"{}", code="500 No"))
        assert (await rig.ask(post())).code == 500
        await eventually(lambda: len(keeper.captured) > 1)
        assert [one.first.code for one in keeper.captured] == [200, 500]
        assert rig.worker.report()["not_captured"] == {}


async def test_nothing_is_built_of_a_request_that_is_not_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any rate above the rule's that is most of them: they pay for a look at the clock."""
    built = Mock(wraps=First)
    monkeypatch.setattr(served, "First", built)
    for rules in (SampleRules(SampleRule(rows_per_s=0.001)).to_json(), SampleRules(SampleRule(0)).to_json(), ""):
        built.reset_mock()
        async with keeping(tmp_path) as keeper:
            async with running(keeper_socket=str(keeper.path), samples=rules) as rig:
                await eventually(lambda keeper=keeper: keeper.terms)  # type: ignore[misc]
                for _ in range(5):
                    assert (await rig.ask(post())).code == 200
            async with running_grpc(keeper_socket=str(keeper.path), samples=rules) as calls:
                for _ in range(5):
                    await calls.infer(request(id="x", raw_input_contents=[bytes(8)]))
        assert built.call_count == (2 if "0.001" in rules else 0)  # one for each of the two workers


async def test_a_request_that_may_be_copied_is_sampled_once(tmp_path: Path) -> None:
    """Where no copy is made of it after all; it uses up as much of what may be sampled as any other."""
    policy = Policy(STABLE, shadows=(Shadow(CANDIDATE, 0),))
    rules = SampleRules(SampleRule(rows_per_s=2.0)).to_json()
    async with (
        keeping(tmp_path) as keeper,
        running(policy=policy, replicas=BOTH, keeper_socket=str(keeper.path), samples=rules) as rig,
    ):
        await eventually(lambda: keeper.terms)
        for body in (b"1", b"2"):
            assert (await rig.ask(post(body=body))).code == 200
        await eventually(lambda: len(keeper.captured) == 2)
        assert [one.request for one in keeper.captured] == [b"1", b"2"]


async def test_the_id_is_the_one_that_the_client_was_told(tmp_path: Path) -> None:
    """Labels find their row by it: also where the answer began a second before it ended."""
    gate = asyncio.Event()
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path), samples=ALL) as rig:
        await eventually(lambda: keeper.terms)
        begins, ends = chunks(b"y" * 100_000).removesuffix(END), chunks(b"z")
        rig.upstream.usual = answers(CHUNKED, begins, ends, gate=gate)
        client = await rig.client()
        await client.send(post())
        await eventually(lambda: any(one.reply.begun for one in rig.worker.in_flight))
        began_s = rig.worker.now_s
        await eventually(lambda: rig.worker.now_s > began_s)
        gate.set()
        answer = await client.answer()
        await eventually(lambda: keeper.captured)
        assert keeper.captured[0].first.body == answer.body
        assert keeper.captured[0].request_id.encode() == answer.one("sluice-request-id")


async def test_without_rules_nothing_is_sampled(tmp_path: Path) -> None:
    """As before there were any."""
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path)) as rig:
        await eventually(lambda: keeper.terms)
        assert (await rig.ask(post())).code == 200
        await rig.rests()
        assert rig.worker.capture is not None
        assert not rig.worker.capture.samples("m", 1)
        assert keeper.captured == []
