"""A copy is the client's request to the byte, and whatever comes of it, the client's answer is the same."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pytest

from router.choose import shadowed
from router.policy import WHOLE, Arm, Policy, Role, Shadow
from tests.serving.gateway.rig import Rig, eventually, running
from tests.serving.gateway.upstream import CLOSES, HANGS, RESETS, Reply, ScriptedUpstream, Then, answers
from tests.serving.gateway.wire import CHUNKED, chunks, get, ok, post

STABLE, CANDIDATE, SHADOW = 1, 2, 3
SHADOWED = Policy(STABLE, shadows=(Shadow(SHADOW),))
BOTH = {STABLE: 1, SHADOW: 1}
MEBIBYTE = b"x" * 1024 * 1024


def shadow_of(rig: Rig) -> ScriptedUpstream:
    """The shadow's first replica."""
    return rig.upstreams[SHADOW][0]


def shed_by(rig: Rig) -> int:
    """How many copies the shadow did not get."""
    return rig.worker.table.states["m", SHADOW].shed


async def copies_end(rig: Rig) -> None:
    """Waits until no copy is under way."""
    await eventually(lambda: not rig.worker.shadows)


def abandon(rig: Rig) -> None:
    """Ends the copies that would never end by themselves."""
    for copy in list(rig.worker.shadows):
        copy.abandon()


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("infer", {"body": b'{"inputs": []}', "headers": ["Content-Type: application/json", "X-A: b", "X-A: c"]}),
        ("infer", {"body": b"{}" + bytes(range(256)) * 40, "headers": ["Inference-Header-Content-Length: 2"]}),
        ("infer", {"body": bytes(range(256)), "headers": ["Inference-Header-Content-Length: 0", "sluice-unit: u"]}),
        ("infer", {"chunked": [b"{", b'"inputs"', b":[]}"]}),
        ("infer", {"body": b""}),
        ("infer?a=b%20c", {}),
        ("generate", {"body": b'{"text": "x"}'}),
        ("generate_stream", {"body": b'{"text": "x"}', "headers": ["traceparent: 00-1-2-3"]}),
    ],
    ids=["json", "binary", "raw", "chunks", "empty", "query", "generate", "stream"],
)
async def test_a_copy_is_the_request_to_the_byte(path: str, request_: dict[str, Any]) -> None:
    """The shadow gets what stable got, head and body, with its own version in the path."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        assert (await rig.ask(post(f"/v2/models/m/{path}", **request_))).code == 200
        await copies_end(rig)
        (original,), (copy,) = rig.upstream.requests, shadow_of(rig).requests
        assert copy.target == original.target.replace(b"/versions/1/", b"/versions/3/")
        assert copy.target.startswith(b"/v2/models/m/versions/3/")
        assert (copy.method, copy.headers, copy.body) == (original.method, original.headers, original.body)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [200_000, 300_000, 1_000_000])
async def test_the_copy_of_a_large_body_is_whole(size: int, *, chunked: bool) -> None:
    """A body that was on its way before it was complete is copied all the same, with a length."""
    body = bytes(number % 251 for number in range(size))
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        head = ["Inference-Header-Content-Length: 0"]
        assert (await rig.ask(post(body=body, headers=head, chunked=[body[:9], body[9:]] if chunked else None))).code
        await copies_end(rig)
        (original,), (copy,) = rig.upstream.requests, shadow_of(rig).requests
        assert copy.body == original.body == body
        assert copy.all("content-length") == [b"%d" % size]


@pytest.mark.parametrize("sample", [0, WHOLE // 2, WHOLE])
async def test_the_sample_is_of_units(sample: int) -> None:
    """A unit's requests are copied if the policy's sample holds it, each time, and no other's are."""
    policy = Policy(STABLE, shadows=(Shadow(SHADOW, sample, "s"),))
    async with running(policy=policy, replicas=BOTH) as rig:
        client = await rig.client()
        units = [b"user-%d" % number for number in range(40)] * 2
        for unit in units:
            await client.send(post(body=b'"%s"' % unit, headers=[f"sluice-unit: {unit.decode()}"]))
            assert (await client.answer()).code == 200
        await copies_end(rig)
        expected = Counter(b'"%s"' % unit for unit in units if shadowed(policy, unit))
        assert Counter(copy.body for copy in shadow_of(rig).requests) == expected
        assert len(expected) == 0 if sample == 0 else len(expected) == 40 if sample == WHOLE else 0 < len(expected) < 40
        assert shed_by(rig) == 0


async def test_several_shadows_get_a_copy_each() -> None:
    """Beside each other, and whoever answered."""
    policy = Policy(STABLE, (Arm(CANDIDATE, WHOLE, role=Role.CANARY),), shadows=(Shadow(SHADOW), Shadow(4)))
    async with running(policy=policy, replicas={STABLE: 1, CANDIDATE: 1, SHADOW: 1, 4: 1}) as rig:
        rig.upstreams[CANDIDATE][0].script.append(answers(ok(code="500 Internal Server Error")))
        for body in (b"1", b"2"):
            assert (await rig.ask(post(body=body))).code == 200
        await copies_end(rig)
        for version in (SHADOW, 4):
            assert [copy.body for copy in rig.upstreams[version][0].requests] == [b"1", b"2"]
        assert rig.outcomes() == {
            (CANDIDATE, "first"): {"server_error": 1, "ok": 1},
            (STABLE, "fallback"): {"ok": 1},
            (SHADOW, "shadow"): {"ok": 2},
            (4, "shadow"): {"ok": 2},
        }


@pytest.mark.parametrize(
    ("does", "outcome"),
    [
        (HANGS, None),
        (answers(ok(b"x" * 100)[:-50]), None),
        (CLOSES, "broken"),
        (RESETS, "broken"),
        (answers(ok(b"x" * 100)[:-50], then=Then.CLOSE), "broken"),
        (answers(b"220 smtp\r\n\r\n"), "broken"),
        (answers(ok(code="500 Internal Server Error")), "server_error"),
        (answers(ok(code="503 Service Unavailable")), "unavailable"),
        (answers(ok(code="404 Not Found")), "client_error"),
        (answers(ok(b"early"), early=True), "ok"),
        (answers(ok(b"more") * 2), "ok"),
        (answers(ok(MEBIBYTE * 50)[:100], *[MEBIBYTE] * 50), "ok"),
        (answers(CHUNKED, chunks(*[MEBIBYTE] * 50)), "ok"),
        (answers(b"HTTP/1.1 200 OK\r\n\r\n", *[MEBIBYTE] * 10, then=Then.CLOSE), "ok"),
    ],
    ids=[
        "hangs", "hangs half-way", "closes", "resets", "half", "no HTTP", "500", "503", "404", "early", "twice",
        "50 MB", "50 MB in chunks", "until the end",
    ],
)  # fmt: skip
async def test_whatever_a_shadow_does_the_clients_answer_is_the_same(does: Reply, outcome: str | None) -> None:
    """It comes while the shadow still has its copy, it is the same as without one, and the connection goes on."""
    async with running(policy=SHADOWED, replicas=BOTH, copy_read_per_s=2**30) as rig:
        rig.upstream.usual = answers(ok(b"stable", ["X-A: b"]))
        shadow_of(rig).usual = does
        client = await rig.client()
        for body in (b"1", b"2", b"3"):
            await client.send(post(body=body))
            answer = await client.answer()
            assert (answer.code, answer.body, answer.one("x-a")) == (200, b"stable", b"b")
            assert (answer.one("sluice-version"), answer.one("sluice-reason")) == (b"1", b"stable")
        await eventually(lambda: len(shadow_of(rig).requests) == 3)
        if outcome is None:
            assert len(rig.worker.shadows) == 3
            abandon(rig)
        await copies_end(rig)
        assert rig.outcomes() == {(STABLE, "first"): {"ok": 3}, (SHADOW, "shadow"): {outcome or "cancelled": 3}}
        assert rig.gateways(shadow_of(rig)).in_flight == 0
        assert rig.worker.table.states["m", STABLE].failed == 0


async def test_a_copy_goes_out_once_the_client_has_its_answer() -> None:
    """While stable is busy with a request its shadow knows nothing of it."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        gate = asyncio.Event()
        rig.upstream.usual = answers(ok(), gate=gate)
        client = await rig.client()
        await client.send(post())
        await eventually(lambda: rig.upstream.requests)
        assert not rig.worker.shadows
        gate.set()
        assert (await client.answer()).code == 200
        await copies_end(rig)
        assert len(shadow_of(rig).requests) == 1


async def test_a_shadow_that_cannot_be_reached() -> None:
    """It refuses once; from then on its copies are shed, and no client notices."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        await eventually(lambda: shadow_of(rig).accepted)
        shadow_of(rig).stop()
        await eventually(lambda: not rig.gateways(shadow_of(rig)).idle)
        for _ in range(3):
            assert (await rig.ask(post())).code == 200
            await copies_end(rig)
        assert rig.outcomes() == {(STABLE, "first"): {"ok": 3}, (SHADOW, "shadow"): {"refused": 1}}
        assert shed_by(rig) == 2


async def test_a_shadow_without_a_replica() -> None:
    """Its copies are shed, and no client notices."""
    async with running(policy=SHADOWED, replicas={STABLE: 1}) as rig:
        assert (await rig.ask(post())).code == 200
        assert shed_by(rig) == 1


async def test_copies_under_way_are_bounded() -> None:
    """There are no more than the limit; what is over it is shed and counted, and there is room again later."""
    async with running(policy=SHADOWED, replicas=BOTH, max_shadows=2) as rig:
        gate = asyncio.Event()
        shadow_of(rig).usual = answers(ok(), gate=gate)
        for _ in range(5):
            assert (await rig.ask(post())).code == 200
        await eventually(lambda: len(shadow_of(rig).requests) == 2)
        assert (len(rig.worker.shadows), shed_by(rig)) == (2, 3)
        gate.set()
        await copies_end(rig)
        assert (await rig.ask(post())).code == 200
        await copies_end(rig)
        assert (len(shadow_of(rig).requests), shed_by(rig)) == (3, 3)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_not_copied(*, chunked: bool) -> None:
    """What is too large to be held is shed, and counted; what is at the limit is not."""
    async with running(policy=SHADOWED, replicas=BOTH, repeat_max_request=1_000) as rig:
        for size in (1_000, 1_001):
            assert (await rig.ask(post(body=b" " * size, chunked=[b" " * size] if chunked else None))).code == 200
            await copies_end(rig)
        assert ([len(copy.body) for copy in shadow_of(rig).requests], shed_by(rig)) == ([1_000], 1)


async def test_an_answer_that_came_before_the_bodys_end_is_not_copied() -> None:
    """Part of a request is no request."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        rig.upstream.usual = answers(ok(b"early"), early=True)
        client = await rig.client()
        await client.send(post(body=b"x" * 400_000)[:300_000])
        assert (await client.answer()).body == b"early"
        await client.send(b"x" * 200_000)
        client.close(reset=True)
        await eventually(lambda: not rig.worker.clients)
        assert (shadow_of(rig).heads, shed_by(rig)) == ([], 1)


async def test_a_body_that_broke_a_replica_is_not_copied() -> None:
    """A shadow is not the next that it breaks; that there was no copy is counted, and refused bodies have none."""
    async with running(policy=SHADOWED, replicas={STABLE: 2, SHADOW: 1}) as rig:
        for one in rig.upstreams[STABLE]:
            one.script.append(CLOSES)
        assert [(await rig.ask(post(body=b"deadly"))).code for _ in range(3)] == [502, 422, 422]
        assert shed_by(rig) == 1
        assert (await rig.ask(post(body=b"fine"))).code == 200
        await copies_end(rig)
        assert [copy.body for copy in shadow_of(rig).requests] == [b"fine"]


async def test_only_inference_is_copied() -> None:
    """Questions about a model, and what the gateway answers by itself, are no matter of a shadow's."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        for path in ("", "/config", "/stats", "/ready", "/versions/1", "/versions/1/ready"):
            assert (await rig.ask(get(f"/v2/models/m{path}"), b"GET")).code == 200
        assert (await rig.ask(post("/v2/models/unknown/infer"))).code == 404
        assert (await rig.ask(post(body=b"[" * 1_000))).code == 400
        assert (await rig.ask(post("/v2/repository/index"))).code == 200
        assert not rig.worker.shadows
        assert (shadow_of(rig).heads, shed_by(rig)) == ([], 0)


async def test_a_client_that_went_away_has_no_copy() -> None:
    """Nobody waits for its answer, so there is nothing to compare."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        rig.upstream.usual = HANGS
        client = await rig.client()
        await client.send(post())
        await eventually(lambda: rig.upstream.requests)
        client.close(reset=True)
        await rig.rests()
        assert (shadow_of(rig).heads, len(rig.worker.shadows), shed_by(rig)) == ([], 0, 0)


async def test_a_copy_that_takes_too_long_is_given_up() -> None:
    """It counts as late, its connection is closed, and nobody is blamed."""
    async with running(policy=SHADOWED, replicas=BOTH, upstream_timeout_s=0.1) as rig:
        shadow_of(rig).usual = HANGS
        assert (await rig.ask(post())).code == 200
        await copies_end(rig)
        await eventually(lambda: not shadow_of(rig).connections)
        assert rig.outcomes() == {(STABLE, "first"): {"ok": 1}, (SHADOW, "shadow"): {"late": 1}}
        assert rig.gateways(shadow_of(rig)).health._failures == 0


async def test_a_shadow_that_breaks_off_time_and_again_is_left_alone() -> None:
    """It is ejected like any replica; its clients' version is not touched by that."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        shadow_of(rig).usual = CLOSES
        for _ in range(8):
            assert (await rig.ask(post())).code == 200
            await copies_end(rig)
        assert rig.gateways(shadow_of(rig)).ejected
        assert not rig.gateways(rig.upstream).ejected
        assert (len(shadow_of(rig).requests), shed_by(rig)) == (5, 3)


async def test_copies_use_a_connection_again() -> None:
    """One after the other they need no more than one, and one that is left resting is closed like any."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        await eventually(lambda: rig.gateways(shadow_of(rig)).idle)
        for _ in range(5):
            assert (await rig.ask(post())).code == 200
            await copies_end(rig)
        assert (shadow_of(rig).accepted, len(rig.gateways(shadow_of(rig)).idle)) == (1, 1)
        rig.gateways(shadow_of(rig)).close_idle_since(math.inf)
        await eventually(lambda: not shadow_of(rig).connections)


async def test_copies_take_no_place_of_a_request() -> None:
    """With every place for requests free again the copies that hang hold none."""
    async with running(policy=SHADOWED, replicas=BOTH, max_in_flight=1, max_in_flight_per_version=1) as rig:
        shadow_of(rig).usual = HANGS
        for _ in range(3):
            assert (await rig.ask(post())).code == 200
        await eventually(lambda: len(shadow_of(rig).requests) == 3)
        assert not rig.worker.in_flight
        assert [state.in_flight for state in rig.worker.table.states.values()] == [0, 0]
        abandon(rig)


async def test_a_drain_does_not_wait_for_copies() -> None:
    """The worker ends while a shadow hangs: its copy is given up and counted so."""
    async with running(policy=SHADOWED, replicas=BOTH, drain_limit_s=600.0) as rig:
        shadow_of(rig).usual = HANGS
        assert (await rig.ask(post())).code == 200
        await eventually(lambda: shadow_of(rig).requests)
        async with asyncio.timeout(60.0):
            await rig.worker.drain()
        assert not rig.worker.shadows
        await eventually(lambda: not shadow_of(rig).connections)
        assert rig.outcomes()[SHADOW, "shadow"] == {"cancelled": 1}


async def test_a_copy_ends_on_the_routing_it_began_with() -> None:
    """A shadow that leaves the policy finishes the copy that it has, and gets no more."""
    async with running(policy=SHADOWED, replicas=BOTH) as rig:
        gate = asyncio.Event()
        shadow_of(rig).usual = answers(ok(), gate=gate)
        assert (await rig.ask(post())).code == 200
        await eventually(lambda: shadow_of(rig).requests)
        worker = rig.worker
        worker.swap(worker.table.build(worker.routing.head, {"m": Policy(STABLE)}, ()))
        assert (await rig.ask(post())).code == 503  # no endpoint is left
        gate.set()
        await copies_end(rig)
        await eventually(lambda: not shadow_of(rig).connections)
        worker.table.fold_gone()
        assert rig.outcomes()[SHADOW, "shadow"] == {"ok": 1}
        assert len(shadow_of(rig).requests) == 1
