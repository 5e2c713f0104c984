"""A candidate's failure is not the client's, a replica's failure neither, and no client can turn that into a weapon."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from router.choose import Reason
from router.policy import WHOLE, Arm, Policy, Role
from serving.gateway.exchange import Exchange
from tests.serving.gateway.rig import Client, Rig, eventually, read_id, running
from tests.serving.gateway.upstream import CLOSES, HANGS, RESETS, Reply, ScriptedUpstream, Then, answers
from tests.serving.gateway.wire import Answer, chunks, get, ok, post

STABLE, CANDIDATE = 1, 2
CANARY = Policy(STABLE, (Arm(CANDIDATE, WHOLE, role=Role.CANARY),))
ARM = Policy(STABLE, (Arm(CANDIDATE, WHOLE, role=Role.ARM),))
PINNED = "/v2/models/m/versions/2/infer"
BOTH = {STABLE: 1, CANDIDATE: 1}
TWO = {STABLE: 2}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WRONG = answers(ok(b'{"error":"wrong"}', code="500 Internal Server Error"))
BUSY = answers(ok(b'{"error":"busy"}', code="503 Service Unavailable"))
HALF = answers(ok(b"x" * 100)[:-50], then=Then.CLOSE)
# How an attempt fails that may have reached a model, and what the client is told where nothing follows.
FAILURES: Mapping[str, tuple[Reply, int]] = {
    "closes": (CLOSES, 502),
    "resets": (RESETS, 502),
    "half a head": (answers(b"HTTP/1.1 200 OK\r\nContent-", then=Then.CLOSE), 502),
    "half an answer": (HALF, 502),
    "half an answer in pieces": (answers(ok(b"x" * 100)[:-50], b"x" * 10, then=Then.RESET), 502),
    "half of the chunks": (answers(CHUNKED + chunks(b"x" * 100)[:-5], then=Then.CLOSE), 502),
    "no HTTP": (answers(b"220 smtp\r\n\r\n"), 502),
    "hangs": (HANGS, 504),
    "hangs half-way": (answers(ok(b"x" * 100)[:-50]), 504),
    "503": (BUSY, 503),
    "500": (WRONG, 500),
}
SOON: Mapping[str, Any] = {"attempt_timeout_s": 0.06}
each_failure = pytest.mark.parametrize(("failure", "told"), FAILURES.values(), ids=FAILURES.keys())


def candidate_of(rig: Rig) -> ScriptedUpstream:
    """The candidate's first replica."""
    return rig.upstreams[CANDIDATE][0]


def stable_of(rig: Rig) -> ScriptedUpstream:
    """Stable's first replica; it says so."""
    rig.upstreams[STABLE][0].usual = answers(ok(b"stable"))
    return rig.upstreams[STABLE][0]


def kill_idle(rig: Rig) -> None:
    """The gateway has no connection to anybody, and so has to dial."""
    for upstream in rig.worker.table.upstreams:
        upstream.close_idle_since(math.inf)


def posts(scripted: ScriptedUpstream) -> int:
    """How many inference requests have begun to arrive there."""
    return sum(head.method == b"POST" for head in scripted.heads)


def state_of(rig: Rig, version: int) -> dict[str, Any]:
    """What the worker reports of a version."""
    report: Any = rig.worker.report()
    return next(one for one in report["versions"] if one["version"] == version)


def version_and_reason(answer: Answer) -> tuple[bytes | None, bytes | None]:
    """What the answer's headers say."""
    return answer.one("sluice-version"), answer.one("sluice-reason")


def assert_unharmed(rig: Rig) -> None:
    """Nobody is blamed for anything, and nothing of the budget is gone."""
    assert [upstream.health._failures for upstream in rig.worker.table.upstreams if upstream.health._failures] == []
    assert not any(upstream.ejected for upstream in rig.worker.table.upstreams)
    for version in rig.upstreams:
        assert (state_of(rig, version)["braked"], state_of(rig, version)["straight"]) == (False, 0)
    assert rig.worker.routing.models["m"].budget._tokens >= 100


async def the_exchange(rig: Rig) -> Exchange:
    """The one that is in flight."""
    await eventually(lambda: len(rig.worker.in_flight) == 1)
    return next(iter(rig.worker.in_flight))


# A candidate's failure.


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
    limits = {"repeat_max_request": 1_000, "upstream_timeout_s": 0.1}
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


# What is the request's own fault.


@pytest.mark.parametrize("stable_says", ["500 Internal Server Error", "400 Bad Request", "422 Nope"])
async def test_hundreds_of_malformed_bodies_harm_nobody(stable_says: str) -> None:
    """What stable does not answer well either ejects nobody, brakes nothing and costs nothing of the budget."""
    async with running(policy=CANARY, replicas={STABLE: 2, CANDIDATE: 2}) as rig:
        for one in rig.upstreams[CANDIDATE]:
            one.usual = WRONG
        for one in rig.upstreams[STABLE]:
            one.usual = answers(ok(b"no", code=stable_says))
        client = await rig.client()
        for number in range(300):
            await client.send(post(body=b"[%d" % number))
            answer = await client.answer()
            assert (answer.code, answer.body) == (int(stable_says[:3]), b"no")
            assert version_and_reason(answer) == (b"1", b"fallback")
        assert_unharmed(rig)
        rig.upstreams[CANDIDATE][0].usual = rig.upstreams[CANDIDATE][1].usual = answers(ok(b"candidate"))
        assert (await rig.ask(post())).body == b"candidate"


async def test_malformed_bodies_harm_no_stable_of_its_own() -> None:
    """Without a candidate an error is relayed, asked for once, and no replica's fault."""
    async with running(replicas=TWO) as rig:
        for one in rig.upstreams[STABLE]:
            one.usual = WRONG
        client = await rig.client()
        for _ in range(100):
            await client.send(post())
            assert (await client.answer()).code == 500
        assert rig.requests == 100
        assert_unharmed(rig)


async def test_malformed_bodies_by_path_harm_no_candidate() -> None:
    """Nor can a candidate be harmed by who names it in the path."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual = WRONG
        client = await rig.client()
        for _ in range(100):
            await client.send(post(PINNED))
            assert (await client.answer()).code == 500
        assert_unharmed(rig)


async def test_stable_that_is_busy_proves_nothing() -> None:
    """A 503 of stable's is no repeat of the candidate's error: nobody learns anything, and the repeat is paid for."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual, rig.upstreams[STABLE][0].usual = WRONG, BUSY
        before = rig.worker.routing.models["m"].budget._tokens
        assert (await rig.ask(post())).code == 503
        assert rig.worker.routing.models["m"].budget._tokens == before - 1
        assert rig.gateways(candidate_of(rig)).health._failures == 0


async def test_a_client_in_a_hurry_blames_nobody() -> None:
    """However many requests want an answer sooner than there is one, no replica is ejected and no version braked."""
    async with running(policy=CANARY, replicas={STABLE: 2, CANDIDATE: 2}) as rig:
        everyone = [*rig.upstreams[STABLE], *rig.upstreams[CANDIDATE]]
        for one in everyone:
            one.usual = HANGS
        # Some are late at once, and some have time for a second attempt.
        times = [400 if number % 2 else 1 + number % 9 for number in range(100)]
        hurried = [rig.ask(post(headers=[f"sluice-timeout-ms: {time}"])) for time in times]
        assert Counter(answer.code for answer in await asyncio.gather(*hurried)) == {504: 100}
        assert [one.health._failures for one in rig.worker.table.upstreams] == [0] * 4
        assert not any(one.ejected for one in rig.worker.table.upstreams)
        assert not state_of(rig, CANDIDATE)["braked"]
        assert rig.outcomes()[STABLE, "fallback"]["late"] > 0
        for one in everyone:
            one.usual = answers(ok(b"well"))
        answer = await rig.ask(post())
        assert (answer.body, *version_and_reason(answer)) == (b"well", b"2", b"canary")


async def test_clients_in_a_hurry_leave_repeats_for_others() -> None:
    """What they have sent twice for want of time is not at the expense of those whose candidate really fails."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate, stable = candidate_of(rig), rig.upstreams[STABLE][0]
        candidate.usual = stable.usual = HANGS
        rig.worker.routing.models["m"].budget._at += 100.0  # no refill meanwhile
        await asyncio.gather(*(rig.ask(post(headers=["sluice-timeout-ms: 400"])) for _ in range(200)))
        assert rig.worker.routing.models["m"].budget._tokens < 60
        candidate.usual, stable.usual = WRONG, answers(ok(b"stable"))
        assert (await rig.ask(post())).body == b"stable"


# What an attempt's own time limit is for.


async def test_only_a_candidate_has_half_of_the_deadline() -> None:
    """Half is kept for stable; an attempt at stable, of however many replicas, may take what the client allows."""
    async with running(policy=CANARY, replicas={STABLE: 2, CANDIDATE: 1}, attempt_timeout_s=20.0) as rig:
        for path, half in (("/v2/models/m/infer", True), ("/v2/models/m/versions/1/infer", False)):
            candidate_of(rig).usual = rig.upstreams[STABLE][0].usual = rig.upstreams[STABLE][1].usual = HANGS
            client = await rig.client()
            await client.send(post(path, headers=["sluice-timeout-ms: 30000"]))
            exchange = await the_exchange(rig)
            assert math.isclose(exchange.deadline - exchange._began, 15.0 if half else 20.0, abs_tol=0.5)
            client.close(reset=True)
            await rig.rests()


@pytest.mark.parametrize("why", ["not held", "no other", "no budget"])
async def test_an_attempt_that_nothing_can_follow_is_left_its_time(why: str) -> None:
    """Where nobody else may be asked, a slow answer is waited for: giving it up would help nobody."""
    limits: dict[str, Any] = {"repeat_max_request": 0} if why == "not held" else {}
    async with running(replicas=TWO, **SOON, **limits) as rig:
        gate = asyncio.Event()
        for one in rig.upstreams[STABLE]:
            one.usual = answers(ok(b"late"), gate=gate)
        if why == "no other":
            await rig.kill(rig.upstreams[STABLE][1])
            rig.gateways(rig.upstreams[STABLE][1]).health.failed(rig.worker.loop.time(), at_once=True)
        budget = rig.worker.routing.models["m"].budget
        while why == "no budget" and budget.take(budget._at, 0):
            pass
        client = await rig.client()
        await client.send(post())
        exchange = await the_exchange(rig)
        budget._at = rig.worker.loop.time() + 100.0  # no refill meanwhile
        await eventually(lambda: exchange._patience == math.inf or exchange.answered)
        gate.set()
        assert (await client.answer()).body == b"late"
        assert rig.requests == 1


async def test_stable_has_what_is_left_of_the_deadline() -> None:
    """A candidate that hangs leaves stable half of the client's time, and stable's answer comes within it."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual = HANGS
        stable_of(rig)
        answer = await rig.ask(post(headers=["sluice-timeout-ms: 1000"]))
        assert (answer.body, *version_and_reason(answer)) == (b"stable", b"1", b"fallback")
        assert rig.outcomes()[CANDIDATE, "first"] == {"late": 1}


# A replica's failure.


async def ask_until_ejected(rig: Rig, bad: ScriptedUpstream) -> None:
    """Every client is answered well meanwhile."""
    for _ in range(100):
        for answer in await asyncio.gather(*(rig.ask(post(body=b"[%d]" % number)) for number in range(4))):
            assert (answer.code, answer.body) == (200, b"good")
        if rig.gateways(bad).ejected:
            return
    raise AssertionError("it never was")


@pytest.mark.parametrize("how", ["killed", "closes", "half an answer", "hangs", "503"])
async def test_a_bad_replica_of_stable_is_nobodys_error(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests go to the other; it is ejected, asked no more, probed after a while, and readmitted when well."""
    monkeypatch.setattr("serving.gateway.worker._SWEEP_EVERY", 1)
    limits = {**SOON, "ejection_s": 0.5, "connect_timeout_s": 0.5}
    async with running(replicas=TWO, **limits) as rig:
        bad, good = rig.upstreams[STABLE]
        good.usual = answers(ok(b"good"))
        if how == "killed":
            await rig.kill(bad)
        else:
            bad.usual = FAILURES[how][0]
        await ask_until_ejected(rig, bad)
        bad.usual = BUSY
        before = posts(bad)
        for _ in range(40):
            assert (await rig.ask(post())).body == b"good"
        assert posts(bad) == before
        if how != "killed":
            await eventually(lambda: [head for head in bad.heads if head.method == b"GET"])
            assert rig.gateways(bad).ejected
        bad.usual = answers(ok(b"good"))
        if how == "killed":
            await bad.listen()
        await eventually(lambda: not rig.gateways(bad).ejected)
        probes = {head.target for head in bad.heads if head.method == b"GET"}
        assert probes == {b"/v2/models/m/versions/1/ready"}
        while posts(bad) == before:
            assert (await rig.ask(post())).body == b"good"


async def test_failures_with_successes_in_between_eject_nobody() -> None:
    """Four failures, an answer however large, four failures: that is no habit."""
    async with running(policy=Policy(STABLE), replicas=BOTH, repeat_max_response=1_000) as rig:
        candidate = candidate_of(rig)
        large = ok(b"x" * 5_000)
        for success in (answers(ok(b"small")), answers(large), answers(large[:3_000], large[3_000:])):
            candidate.script.extend([BUSY] * 4)
            candidate.script.append(success)
        for _ in range(15):
            await rig.ask(post(PINNED))
        assert not rig.gateways(candidate).ejected
        assert rig.gateways(candidate).health._failures == 0


@pytest.mark.parametrize("large", [False, True])
async def test_a_candidate_is_ejected_for_errors_that_stable_does_not_make(*, large: bool) -> None:
    """Five errors in a row that stable answered well, however large its answers, are the replica's own."""
    async with running(policy=CANARY, replicas=BOTH, repeat_max_response=1_000) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        candidate.usual = WRONG
        whole = ok(b"x" * 5_000)
        if large:
            stable.usual = answers(whole[:3_000], whole[3_000:])
        for _ in range(10):
            assert (await rig.ask(post())).code == 200
        assert (posts(candidate), posts(stable)) == (5, 10)
        assert rig.gateways(candidate).ejected
        assert state_of(rig, CANDIDATE)["straight"] == 5


async def test_a_refused_replica_is_ejected_at_once() -> None:
    """Where nobody listens one refusal is enough, and the next request does not try."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        stable_of(rig)
        await rig.kill(candidate_of(rig))
        assert (await rig.ask(post())).body == b"stable"
        assert rig.gateways(candidate_of(rig)).ejected
        assert state_of(rig, CANDIDATE)["straight"] == 0
        await candidate_of(rig).listen()
        answer = await rig.ask(post())
        assert (answer.body, *version_and_reason(answer)) == (b"stable", b"1", b"fallback")
        assert state_of(rig, CANDIDATE)["straight"] == 1
        assert rig.outcomes() == {(CANDIDATE, "first"): {"refused": 1}, (STABLE, "fallback"): {"ok": 2}}


async def test_stable_is_asked_even_if_all_of_it_is_ejected() -> None:
    """A replica that was bad a moment ago is better than no answer at all."""
    async with running(replicas=TWO) as rig:
        for one in rig.upstreams[STABLE]:
            await rig.kill(one)
        answer = await rig.ask(post())
        assert (answer.code, answer.one("retry-after")) == (503, b"1")
        assert all(one.ejected for one in rig.worker.table.upstreams)
        for one in rig.upstreams[STABLE]:
            await one.listen()
        assert [(await rig.ask(post())).code for _ in range(10)] == [200] * 10
        assert all(one.ejected for one in rig.worker.table.upstreams)


async def test_a_refused_stable_replica_is_no_error_of_the_candidates_clients() -> None:
    """A candidate that refuses, then a replica of stable that refuses: the next one answers."""
    async with running(policy=CANARY, replicas={STABLE: 2, CANDIDATE: 1}) as rig:
        await rig.kill(candidate_of(rig))
        await rig.kill(rig.upstreams[STABLE][1])
        stable_of(rig)
        for _ in range(5):
            assert (await rig.ask(post())).body == b"stable"


async def test_where_all_are_ejected_each_is_tried() -> None:
    """With all replicas ejected, one that is well again answers, whichever is dialled first."""
    async with running(replicas=TWO) as rig:
        dead, well = rig.upstreams[STABLE]
        for one in (dead, well):
            await rig.kill(one)
        assert (await rig.ask(post())).code == 503
        await well.listen()
        for _ in range(20):
            assert (await rig.ask(post())).code == 200
            kill_idle(rig)


async def test_an_ejected_replica_is_no_better_than_an_old_connections_end() -> None:
    """Where a connection broke and the other replica is ejected, the one that is not is asked on a new connection."""
    async with running(replicas=TWO) as rig:
        bad, well = rig.upstreams[STABLE]
        rig.gateways(bad).health.failed(rig.worker.loop.time(), at_once=True)
        well.script.append(CLOSES)
        assert (await rig.ask(post())).code == 200
        assert (posts(bad), posts(well), well.accepted) == (0, 2, 2)


async def test_many_refusals_at_once_are_nobodys_error() -> None:
    """A candidate none of whose replicas can be reached leaves stable dials enough to find the one that can."""
    async with running(policy=CANARY, replicas={STABLE: 3, CANDIDATE: 4}) as rig:
        for one in (*rig.upstreams[CANDIDATE], *rig.upstreams[STABLE][1:]):
            await rig.kill(one)
        stable_of(rig)
        for _ in range(5):
            assert (await rig.ask(post())).body == b"stable"


# The budget and the brake.


async def test_a_candidate_that_fails_too_often_is_braked() -> None:
    """With the budget nearly used up stable answers straight away for a while; then the candidate is asked again."""
    async with running(policy=CANARY, replicas=BOTH, repeat_budget=0.0, brake_s=0.5) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        candidate.script.extend([WRONG, WRONG, WRONG, answers(ok(b"candidate"))] * 100)  # never five in a row
        client = await rig.client()
        while not state_of(rig, CANDIDATE)["braked"]:
            await client.send(post())
            assert (await client.answer()).code == 200
        asked, answered = posts(candidate), posts(stable)
        assert answered <= 100
        assert state_of(rig, CANDIDATE)["straight"] == 0
        straight = 0
        while state_of(rig, CANDIDATE)["braked"] and straight < 20:
            await client.send(post())
            answer = await client.answer()
            straight += 1
            if not state_of(rig, CANDIDATE)["braked"]:
                break
            assert (answer.body, *version_and_reason(answer)) == (b"stable", b"1", b"fallback")
            assert read_id(answer).assigned == CANDIDATE
            assert (posts(candidate), state_of(rig, CANDIDATE)["straight"]) == (asked, straight)
        assert straight
        candidate.script.clear()
        candidate.usual = answers(ok(b"candidate"))
        await eventually(lambda: not state_of(rig, CANDIDATE)["braked"])
        await client.send(post())
        assert (await client.answer()).body == b"candidate"


async def test_a_brake_is_not_for_who_names_the_candidate() -> None:
    """A request that names the braked version gets its answer."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual = answers(ok(b"candidate"))
        stable_of(rig)
        rig.worker.brake(rig.worker.routing.models["m"].versions[CANDIDATE])
        assert (await rig.ask(post(PINNED))).body == b"candidate"
        assert (await rig.ask(post())).body == b"stable"


async def test_one_failure_after_the_budget_has_recovered_brakes_nothing() -> None:
    """The brake asks how much of the budget there is now, not how much there was when it was last used."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        stable_of(rig)
        budget = rig.worker.routing.models["m"].budget
        while budget.take(budget._at, 0):
            pass
        budget._at -= 60.0  # a minute has passed
        candidate_of(rig).script.append(CLOSES)
        assert (await rig.ask(post())).body == b"stable"
        assert not state_of(rig, CANDIDATE)["braked"]


async def test_stables_own_failures_brake_nothing() -> None:
    """There is nothing to brake where stable has used up the budget: the failure is told."""
    async with running(replicas={STABLE: 1}) as rig:
        rig.upstream.usual = BUSY
        client = await rig.client()
        for _ in range(150):
            await client.send(post())
            assert (await client.answer()).code == 503
        assert rig.requests == 150
        assert not state_of(rig, STABLE)["braked"]


# A body that breaks replicas.


async def ask_deadly(rig: Rig, request: bytes) -> list[int]:
    """The codes of five tries."""
    return [(await rig.ask(request)).code for _ in range(5)]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("size", [10, 100_000, 300_000, 900_000])
async def test_a_body_that_breaks_two_replicas_is_shown_to_no_third(size: int, *, split: bool) -> None:
    """It is refused from then on, for a while and it alone, whether candidate and stable broke or two of stable's."""
    policy, replicas = (CANARY, BOTH) if split else (None, TWO)
    async with running(policy=policy, replicas=replicas) as rig:
        everyone = [one for some in rig.upstreams.values() for one in some]
        for one in everyone:
            one.script.append(CLOSES)
        deadly = post(body=b"x" * size)
        assert await ask_deadly(rig, deadly) == [502, 422, 422, 422, 422]
        assert [posts(one) for one in everyone] == [1, 1]
        assert "broken two replicas" in (await rig.ask(deadly)).error
        assert (await rig.ask(post(body=b"y" * size))).code == 200
        rig.worker.quarantine.forget(rig.worker.loop.time() + 61.0)
        assert (await rig.ask(deadly)).code == 200


async def test_a_body_in_chunks_is_the_same_body() -> None:
    """However it is framed, it is refused."""
    async with running(replicas=TWO) as rig:
        for one in rig.upstreams[STABLE]:
            one.script.append(CLOSES)
        assert (await rig.ask(post(body=b"deadly" * 60_000))).code == 502
        assert (await rig.ask(post(chunked=[b"deadly"] * 60_000))).code == 422
        assert rig.requests == 2


async def test_a_request_without_a_body_is_never_refused_for_it() -> None:
    """Two replicas that end while they are asked how they are take nobody's question away."""
    async with running(replicas=TWO) as rig:
        for one in rig.upstreams[STABLE]:
            one.script.append(CLOSES)
        ready = get("/v2/models/m/versions/1/ready")
        assert (await rig.ask(ready, b"GET")).code == 502
        assert (await rig.ask(ready, b"GET")).code == 200
        assert (await rig.ask(post(body=b""))).code == 200


async def test_an_old_connections_end_is_no_broken_replica() -> None:
    """A connection that its upstream had closed already costs nobody an error, and no body its passage."""
    async with running() as rig:
        rig.upstream.script.append(CLOSES)
        assert [(await rig.ask(post())).code for _ in range(3)] == [200, 200, 200]
        assert (rig.upstream.accepted, rig.requests) == (2, 4)
        assert not rig.worker.quarantine


async def test_what_broke_off_is_repeated_on_a_new_connection() -> None:
    """Where the same replica is asked again, an idle connection is not trusted: it may be as old as the one before."""
    async with running() as rig:
        gate = asyncio.Event()
        rig.upstream.script.extend([answers(ok(), gate=gate)] * 2)
        both = [asyncio.ensure_future(rig.ask(post())) for _ in range(2)]
        await eventually(lambda: len(rig.upstream.requests) == 2)
        gate.set()
        await asyncio.gather(*both)
        assert len(rig.gateways(rig.upstream).idle) == 2
        rig.upstream.script.append(CLOSES)
        assert (await rig.ask(post())).code == 200
        assert rig.upstream.accepted == 3


# Places.


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_goes_away_frees_the_place(*, reset: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attempt ends, stable is not asked in its place, and the upstream's connection is closed."""
    monkeypatch.setattr("serving.gateway.worker._SWEEP_EVERY", 1)
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        candidate.usual = HANGS
        client = await rig.client()
        await client.send(post())
        await eventually(lambda: candidate.requests)
        client.close(reset=reset)
        await rig.rests()
        await eventually(lambda: not candidate.connections)
        assert (state_of(rig, CANDIDATE)["requests"], len(stable.requests)) == (1, 0)
        assert rig.outcomes() == {(CANDIDATE, "first"): {"cancelled": 1}}
        assert all(state.in_flight == 0 for state in rig.worker.table.states.values())


async def test_a_client_that_goes_away_during_the_fallback_frees_the_place() -> None:
    """The same where stable's attempt is the one under way."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        stable = stable_of(rig)
        candidate_of(rig).usual, stable.usual = CLOSES, HANGS
        client = await rig.client()
        await client.send(post())
        await eventually(lambda: stable.requests)
        client.close(reset=True)
        await rig.rests()
        await eventually(lambda: not stable.connections)
        assert rig.outcomes() == {(CANDIDATE, "first"): {"broken": 1}, (STABLE, "fallback"): {"cancelled": 1}}


async def test_a_full_candidate_is_no_error() -> None:
    """With all of a candidate's places taken stable answers; with stable's taken too the client may try again."""
    async with running(policy=CANARY, replicas=BOTH, max_in_flight_per_version=1) as rig:
        candidate, stable = candidate_of(rig), stable_of(rig)
        gate = asyncio.Event()
        candidate.usual, stable.usual = answers(ok(b"candidate"), gate=gate), answers(ok(b"stable"), gate=gate)
        waiting: list[Client] = []
        for one in (candidate, stable):
            waiting.append(await rig.client())
            await waiting[-1].send(post())
            await eventually(lambda one=one: one.requests)  # type: ignore[misc]
        answer = await rig.ask(post())
        assert (answer.code, answer.one("retry-after")) == (503, b"1")
        assert "as many requests as it may" in answer.error
        gate.set()
        assert [(await client.answer()).body for client in waiting] == [b"candidate", b"stable"]
        assert (len(candidate.requests), len(stable.requests)) == (1, 1)
        assert state_of(rig, CANDIDATE)["straight"] == 2
        await rig.rests()
        assert (await rig.ask(post())).body == b"candidate"


# What is counted.


async def test_first_attempts_are_counted_apart() -> None:
    """Each attempt counts once, by its version, what it was for and how it ended; a request by whom it was for."""
    async with running(policy=CANARY, replicas=BOTH, **SOON) as rig:
        candidate, _ = candidate_of(rig), stable_of(rig)
        missing = answers(ok(b"no", code="404 Not Found"))
        candidate.script.extend([answers(ok()), WRONG, CLOSES, BUSY, HANGS, missing])
        assert [(await rig.ask(post())).code for _ in range(6)] == [200, 200, 200, 200, 200, 404]
        candidate.script.extend([CLOSES, CLOSES])
        assert (await rig.ask(post(PINNED))).code == 502
        first = {"ok": 1, "server_error": 1, "broken": 2, "unavailable": 1, "late": 1, "client_error": 1}
        assert rig.outcomes() == {
            (CANDIDATE, "first"): first,
            (CANDIDATE, "repeat"): {"broken": 1},
            (STABLE, "fallback"): {"ok": 4},
        }
        of_candidate, of_stable = state_of(rig, CANDIDATE), state_of(rig, STABLE)
        assert (of_candidate["requests"], of_candidate["failed"], of_candidate["straight"]) == (7, 1, 0)
        assert of_stable["requests"] == 0


async def test_repeats_at_stable_are_counted_apart() -> None:
    """The second replica's answer is a repeat, not a first attempt."""
    async with running(replicas=TWO) as rig:
        for one in rig.upstreams[STABLE]:
            one.script.append(CLOSES)
        first, second = await rig.ask(post(body=b"1")), await rig.ask(post(body=b"2"))
        assert (first.code, second.code) == (502, 200)
        assert rig.outcomes() == {(STABLE, "first"): {"broken": 1, "ok": 1}, (STABLE, "repeat"): {"broken": 1}}
        assert (state_of(rig, STABLE)["requests"], state_of(rig, STABLE)["failed"]) == (2, 1)


async def test_an_attempt_without_an_answer_has_no_latency() -> None:
    """The report keeps how long was waited in vain apart from how long answers took."""
    async with running(policy=CANARY, replicas=BOTH, **SOON) as rig:
        candidate_of(rig).usual = HANGS
        await rig.ask(post())
        report: Any = rig.worker.report()
        by_version = {series["version"]: series for series in report["series"]}
        assert (len(by_version[CANDIDATE]["answered"]), len(by_version[CANDIDATE]["unanswered"])) == (0, 1)
        assert (len(by_version[STABLE]["answered"]), len(by_version[STABLE]["unanswered"])) == (1, 0)
