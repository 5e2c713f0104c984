"""A candidate's failure is not the client's, and stable answers in its place where that is safe."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.choose import Reason
from router.policy import Arm, Policy
from tests.serving.gateway.failures import (
    ARM,
    BOTH,
    CANARY,
    CANDIDATE,
    FAILURES,
    PINNED,
    SOON,
    STABLE,
    WRONG,
    candidate_of,
    each_failure,
    posts,
    stable_of,
    state_of,
    version_and_reason,
)
from tests.serving.gateway.rig import read_id, running
from tests.serving.gateway.upstream import CLOSES, Reply, Then, answers
from tests.serving.gateway.wire import CHUNKED, chunks, ok, post


@pytest.mark.parametrize(("policy", "reason"), [(CANARY, Reason.CANARY), (ARM, Reason.ARM)], ids=["canary", "arm"])
@each_failure
async def test_stable_answers_where_a_candidate_fails(
    failure: Reply, told: int, policy: Policy, reason: Reason
) -> None:
    """However a candidate fails, the client gets stable's answer, and the request id says who was to give it."""
    async with running(policy=policy, replicas=BOTH, **SOON) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        candidate.usual = failure
        answer = await rig.ask(post(body=b'{"a":1}'))
        said = read_id(answer)
        assert (answer.code, answer.body) == (200, b"stable")
        assert version_and_reason(answer) == (b"1", b"fallback")
        assert (said.assigned, said.answered, said.reason) == (CANDIDATE, STABLE, reason)
        assert [request.body for request in stable.requests] == [b'{"a":1}']
        assert posts(candidate) == 1


@pytest.mark.parametrize("drops", [False, True], ids=["refused", "dropped"])
@pytest.mark.parametrize("repeatable", [True, False])
async def test_stable_answers_where_a_candidate_cannot_be_reached(*, drops: bool, repeatable: bool) -> None:
    """What reached no model goes to stable even where nothing may be repeated."""
    policy = Policy(STABLE, CANARY.arms, repeatable=repeatable)
    async with running(policy=policy, replicas=BOTH) as rig:
        candidate, _ = candidate_of(rig), stable_of(rig)
        await rig.kill(candidate)
        if drops and repeatable:  # else it is a matter of moments whether a byte was written
            candidate.drops_at_once = True
            await candidate.listen()
        answer = await rig.ask(post())
        assert (answer.code, answer.body) == (200, b"stable")
        assert version_and_reason(answer) == (b"1", b"fallback")
        assert (read_id(answer).assigned, read_id(answer).answered) == (CANDIDATE, STABLE)


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_stable_is_sent_is_what_the_candidate_was_sent(*, chunked: bool) -> None:
    """The repeat is the same request to the byte, but for the version in its path."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        candidate.usual = CLOSES
        body = bytes(range(256)) * 100
        head = ["X-A: b", f"Inference-Header-Content-Length: {0}"]
        await rig.ask(post(body=body, headers=head, chunked=[body[:99], body[99:]] if chunked else None))
        (first,), (second,) = candidate.requests, stable.requests
        assert second.target == first.target.replace(b"versions/2", b"versions/1")
        assert (second.headers, second.body) == (first.headers, body)


@each_failure
async def test_a_pinned_candidate_has_no_fallback(failure: Reply, told: int) -> None:
    """Who names the candidate in the path gets its failure."""
    async with running(policy=CANARY, replicas=BOTH, upstream_timeout_s=0.1) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        candidate.usual = failure
        answer = await rig.ask(post(PINNED))
        assert answer.code == told
        assert not stable.requests
        if told in {500, 503} and answer.all("sluice-version"):
            assert version_and_reason(answer) == (b"2", b"pinned")


async def test_an_overridden_candidate_has_no_fallback() -> None:
    """Nor has one that is named in the header."""
    policy = Policy(STABLE, (Arm(CANDIDATE, 0),), allow_override=True)
    async with running(policy=policy, replicas=BOTH) as rig:
        candidate_of(rig).usual = WRONG
        answer = await rig.ask(post(headers=["sluice-version: 2"]))
        assert (answer.code, *version_and_reason(answer)) == (500, b"2", b"override")
        assert not stable_of(rig).requests


@each_failure
async def test_nothing_is_sent_twice_where_it_may_not_be_repeated(failure: Reply, told: int) -> None:
    """A model with side effects sees a request once, whatever came of it."""
    policy = Policy(STABLE, CANARY.arms, repeatable=False)
    async with running(policy=policy, replicas={STABLE: 2, CANDIDATE: 2}, upstream_timeout_s=0.1) as rig:
        for one in rig.upstreams[CANDIDATE]:
            one.usual = failure
        client = await rig.client()
        await client.send(post())
        if told in {500, 503} or b"\r\n\r\n" not in b"".join(failure.pieces[:1]) or b"HTTP" not in failure.pieces[0]:
            assert (await client.answer()).code == told
        else:
            await client.rest()  # a part of it was relayed before it broke off
        assert sum(map(posts, rig.upstreams[CANDIDATE])) == 1
        assert sum(map(posts, rig.upstreams[STABLE])) == 0


@pytest.mark.parametrize("name", ["closes", "hangs", "503", "500"])
async def test_a_large_request_is_not_repeated(name: str) -> None:
    """A body over the limit is not held, so its failure is the client's; one at the limit is answered by stable."""
    failure, told = FAILURES[name]
    limits: dict[str, Any] = {"repeat_max_request": 1_000, "upstream_timeout_s": 0.1}
    async with running(policy=CANARY, replicas=BOTH, **limits) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        candidate.usual = failure
        assert (await rig.ask(post(body=b" " * 1_001))).code == told
        assert (len(stable.requests), posts(candidate)) == (0, 1)
        assert (await rig.ask(post(body=b" " * 1_000))).body == b"stable"


@pytest.mark.parametrize("form", ["length", "chunks", "end"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_large_answer_that_breaks_off_is_seen_to_be_broken(form: str, version: str) -> None:
    """Once the client has a part of an answer, a failure cuts its connection: it never takes a part for the whole."""
    part = b"x" * 2_000
    whole = {
        "length": ok(part * 2)[: -len(part)],
        "chunks": CHUNKED + chunks(part)[: -len(b"0\r\n\r\n")],
        "end": b"HTTP/1.1 200 OK\r\n\r\n" + part,
    }[form]
    async with running(policy=CANARY, replicas=BOTH, repeat_max_response=1_000) as rig:
        gate = asyncio.Event()
        candidate_of(rig).usual = answers(whole, b"", then=Then.RESET, gate=gate)
        stable = stable_of(rig)
        client = await rig.client()
        await client.send(post().replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        while part[:1_000] not in client.data:
            client.data += await client.some()
        gate.set()
        data = await client.rest()
        assert client.reset
        assert not data.endswith(b"0\r\n\r\n")
        assert not stable.requests
        await rig.rests()
        assert rig.outcomes() == {(CANDIDATE, "first"): {"broken": 1}}
        assert state_of(rig, CANDIDATE)["failed"] == 1


async def test_an_answer_of_any_size_that_stays_whole_arrives() -> None:
    """Answers below, at and over what is held are relayed to the byte, in one read and in pieces."""
    async with running(policy=CANARY, replicas=BOTH, repeat_max_response=1_000) as rig:
        for size in (0, 1, 999, 1_000, 1_001, 5_000):
            body = bytes(size % 251 for size in range(size))
            for pieces in ((ok(body),), (ok(body)[:50], ok(body)[50:]), (CHUNKED, chunks(body) if body else chunks())):
                candidate_of(rig).script.append(answers(*pieces))
                assert (await rig.ask(post())).body == body
        assert not rig.upstreams[STABLE][0].requests


async def test_a_broken_fallback_is_told() -> None:
    """Where stable breaks off as well the client is told so; where the candidate gave an error it gets that."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate, stable = candidate_of(rig), rig.upstreams[STABLE][0]
        stable.usual = CLOSES
        candidate.script.extend([CLOSES, WRONG])
        assert (await rig.ask(post(body=b"{}"))).code == 502
        answer = await rig.ask(post(body=b"[]"))
        assert (answer.code, answer.body, *version_and_reason(answer)) == (500, b'{"error":"wrong"}', b"2", b"canary")
        assert (len(candidate.requests), len(stable.requests)) == (2, 2)


async def test_a_candidates_error_is_relayed_where_stable_is_away() -> None:
    """The error of a candidate is better than none of stable's."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual = WRONG
        await rig.kill(rig.upstreams[STABLE][0])
        assert (await rig.ask(post())).body == b'{"error":"wrong"}'


async def test_stables_error_is_the_answer_where_the_candidate_broke_off() -> None:
    """The client gets what stable says, whatever that is, and the candidate's failure is the candidate's."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual, rig.upstreams[STABLE][0].usual = CLOSES, WRONG
        answer = await rig.ask(post())
        assert (answer.code, answer.body, *version_and_reason(answer)) == (500, b'{"error":"wrong"}', b"1", b"fallback")
        assert rig.gateways(candidate_of(rig)).health._failures == 1
        assert rig.gateways(rig.upstreams[STABLE][0]).health._failures == 0


async def test_a_candidates_other_replica_answers_where_one_refuses() -> None:
    """What reached no model stays with its version as long as one of its replicas can be reached."""
    async with running(policy=CANARY, replicas={STABLE: 1, CANDIDATE: 2}) as rig:
        dead, well = rig.upstreams[CANDIDATE]
        well.usual = answers(ok(b"candidate"))
        await rig.kill(dead)
        while not rig.gateways(dead).ejected:
            answer = await rig.ask(post())
            assert (answer.body, *version_and_reason(answer)) == (b"candidate", b"2", b"canary")
        counted = rig.outcomes()
        assert (counted[CANDIDATE, "first"]["refused"], counted[CANDIDATE, "repeat"]) == (1, {"ok": 1})
        assert not rig.upstreams[STABLE][0].requests
