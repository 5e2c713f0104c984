"""A bad replica is found out and is nobody's error, and no client can get a good one blamed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from router.policy import Policy
from serving.endpoint import Endpoint
from serving.gateway.upstream import Upstream, UpstreamConnection
from tests.serving.gateway.failures import (
    BOTH,
    BUSY,
    CANARY,
    CANDIDATE,
    FAILURES,
    PINNED,
    SOON,
    STABLE,
    TWO,
    WRONG,
    assert_unharmed,
    candidate_of,
    kill_idle,
    posts,
    stable_of,
    state_of,
    version_and_reason,
)
from tests.serving.gateway.rig import HEAD, Rig, eventually, running
from tests.serving.gateway.upstream import CLOSES, HANGS, ScriptedUpstream, answers
from tests.serving.gateway.wire import get, ok, post

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


async def test_a_replica_that_left_while_it_was_dialled_is_nobodys_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is gone without a word, and its lease lapses before the dial is given up: the one that is left answers."""
    connect, lapsed = Upstream._connect, asyncio.Event()
    async with running(replicas=TWO) as rig:
        gone, well = map(rig.gateways, rig.upstreams[STABLE])

        async def dialled(upstream: Upstream) -> UpstreamConnection:
            if upstream is gone:
                await lapsed.wait()
                raise TimeoutError
            return await connect(upstream)

        monkeypatch.setattr(Upstream, "_connect", dialled)
        well.in_flight += 1  # so that the other one is asked
        asked = asyncio.create_task(rig.ask(post()))
        await eventually(lambda: gone.in_flight)
        well.in_flight -= 1
        left = [Endpoint(well.host, well.port, 0, "m", STABLE)]
        rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(STABLE)}, left))
        lapsed.set()
        assert (await asked).code == 200


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
