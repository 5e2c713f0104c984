"""What an attempt may use up (time, the budget, a place), and how it is counted."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.serving.gateway.failures import (
    BOTH,
    BUSY,
    CANARY,
    CANDIDATE,
    PINNED,
    SOON,
    STABLE,
    TWO,
    WRONG,
    candidate_of,
    posts,
    stable_of,
    state_of,
    the_exchange,
    version_and_reason,
)
from tests.serving.gateway.rig import Client, eventually, read_id, running
from tests.serving.gateway.upstream import CLOSES, HANGS, answers
from tests.serving.gateway.wire import ok, post

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
