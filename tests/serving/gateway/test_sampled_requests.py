"""A worker hands over what is sampled for the drift sidecar, so many a second, and nothing that must not be."""

from __future__ import annotations

from pathlib import Path

from drift.sampling import SampleRule, SampleRules, drawn
from router.policy import WHOLE, Arm, Policy, Role
from serving.access.roles import Role as May
from tests.serving.gateway.callers import caller, lets_in
from tests.serving.gateway.grpc.rig import request
from tests.serving.gateway.grpc.rig import running as running_grpc
from tests.serving.gateway.keeper import keeping
from tests.serving.gateway.rig import eventually, running
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import ok, post

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


async def test_without_rules_nothing_is_sampled(tmp_path: Path) -> None:
    """As before there were any."""
    async with keeping(tmp_path) as keeper, running(keeper_socket=str(keeper.path)) as rig:
        await eventually(lambda: keeper.terms)
        assert (await rig.ask(post())).code == 200
        await rig.rests()
        assert rig.worker.capture is not None
        assert not rig.worker.capture.samples("m", 1)
        assert keeper.captured == []
