"""How replicas fail, and what the tests of what follows have in common: one candidate, one stable version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from router.policy import WHOLE, Arm, Policy, Role
from serving.gateway.exchange import Exchange
from tests.serving.gateway.rig import Rig, eventually
from tests.serving.gateway.upstream import CLOSES, HANGS, RESETS, Reply, ScriptedUpstream, Then, answers
from tests.serving.gateway.wire import CHUNKED, Answer, chunks, ok

STABLE, CANDIDATE = 1, 2
CANARY = Policy(STABLE, (Arm(CANDIDATE, WHOLE, role=Role.CANARY),))
ARM = Policy(STABLE, (Arm(CANDIDATE, WHOLE, role=Role.ARM),))
PINNED = "/v2/models/m/versions/2/infer"
BOTH = {STABLE: 1, CANDIDATE: 1}
TWO = {STABLE: 2}
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
    (exchange,) = rig.worker.in_flight
    assert isinstance(exchange, Exchange)
    return exchange
