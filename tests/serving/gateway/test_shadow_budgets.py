"""A shadow gets the copies that its conditions and its budget allow; what it does not get is counted, with why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.choose import shadowed
from router.match import How, Match, Place, Said
from router.policy import Policy, Shadow
from router.unit import JsonSource
from tests.serving.gateway.rig import HEAD, Rig, eventually, running
from tests.serving.gateway.test_rules import places
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import ok, post

STABLE, SHADOW, OTHER = 1, 2, 3
GOLD = Match("x-tier", ("gold",))
BOTH = {STABLE: 1, SHADOW: 1}


def said_of(rig: Rig, version: int = SHADOW) -> dict[str, Any]:
    """What the worker reports of a version."""
    report: Any = rig.worker.report()
    [row] = [row for row in report["versions"] if row["version"] == version]
    return dict(row)


async def copies_end(rig: Rig) -> None:
    """Waits until no copy is under way."""
    await eventually(lambda: not rig.worker.shadows)


@pytest.mark.parametrize(
    ("match", "headers", "copied"),
    [
        (GOLD, ["X-Tier: gold"], True),
        (GOLD, ["X-Tier: silver"], False),
        (GOLD, [], False),
        (Match("x-tier", ("go",), How.PREFIX), ["x-tier: gold"], True),
        (Match("x-tier", (r"g\w+",), How.REGEX), ["x-tier: gold"], True),
        (Match("x-tier", ("a", "gold"), How.IN), ["x-tier: gold"], True),
        (Match("x-tier", ("gold",), place=Place.METADATA), ["x-tier: gold"], False),
    ],
)
async def test_only_requests_that_fulfil_its_conditions_are_copied(
    match: Match, headers: list[str], *, copied: bool
) -> None:
    """The others are no copies that were dropped: nobody wanted them."""
    async with running(policy=Policy(STABLE, shadows=(Shadow(SHADOW, when=(match,)),)), replicas=BOTH) as rig:
        assert (await rig.ask(post(headers=headers))).code == 200
        await copies_end(rig)
        assert len(rig.upstreams[SHADOW][0].requests) == copied
        assert (said_of(rig)["shed"], said_of(rig)["dropped"]) == (0, {})


async def test_conditions_and_the_sample_hold_together() -> None:
    """By the unit that the body names, for each shadow on its own."""
    shadows = (Shadow(SHADOW, 300_000, when=(GOLD,)), Shadow(OTHER, 500_000, "other"))
    policy = Policy(STABLE, salt="s", shadows=shadows, unit_sources=(JsonSource("$.user"),))
    async with running(policy=policy, replicas={**BOTH, OTHER: 1}) as rig:
        client = await rig.client()
        due = {SHADOW: 0, OTHER: 0}
        for number in range(60):
            tier = "gold" if number % 3 else "iron"
            await client.send(post(body=b'{"user": "u%d"}' % number, headers=[f"x-tier: {tier}"]))
            assert (await client.answer()).code == 200
            for version in shadowed(policy, b"u%d" % number, Said({b"x-tier": tier.encode()})):
                due[version] += 1
        await copies_end(rig)
        assert {version: len(rig.upstreams[version][0].requests) for version in due} == due
        assert all(due.values())


async def test_copies_per_second_are_bounded() -> None:
    """What is over the rate is dropped and counted so; the clock is the loop's, and time brings more."""
    policy = Policy(STABLE, shadows=(Shadow(SHADOW, max_per_s=1), Shadow(OTHER)))
    async with running(policy=policy, replicas={**BOTH, OTHER: 1}) as rig:
        rig.worker.table.states["m", SHADOW].ration._tokens = 1.0
        rig.worker.table.states["m", SHADOW].ration._at = now = rig.worker.loop.time()
        for _ in range(5):
            assert (await rig.ask(post())).code == 200
        await copies_end(rig)
        copied = len(rig.upstreams[SHADOW][0].requests)
        assert 1 <= copied <= 1 + (rig.worker.loop.time() - now)
        assert said_of(rig)["dropped"] == {"max_per_s": 5 - copied}
        assert (len(rig.upstreams[OTHER][0].requests), said_of(rig, OTHER)["dropped"]) == (5, {})
        rig.worker.table.states["m", SHADOW].ration._at -= 1.0
        assert (await rig.ask(post())).code == 200
        await copies_end(rig)
        assert len(rig.upstreams[SHADOW][0].requests) == copied + 1


async def test_copies_under_way_are_bounded_for_each_shadow() -> None:
    """One that hangs uses up its own room alone, and has room again when its copies end."""
    policy = Policy(STABLE, shadows=(Shadow(SHADOW, max_in_flight=2), Shadow(OTHER)))
    async with running(policy=policy, replicas={**BOTH, OTHER: 1}) as rig:
        gate = asyncio.Event()
        rig.upstreams[SHADOW][0].usual = answers(ok(), gate=gate)
        for _ in range(5):
            assert (await rig.ask(post())).code == 200
        await eventually(lambda: len(rig.upstreams[OTHER][0].requests) == 5)
        await eventually(lambda: len(rig.upstreams[SHADOW][0].requests) == 2)
        told = said_of(rig)
        assert (told["copies"], told["shed"], told["dropped"]) == (2, 3, {"max_in_flight": 3})
        gate.set()
        await copies_end(rig)
        assert said_of(rig)["copies"] == 0
        assert (await rig.ask(post())).code == 200
        await copies_end(rig)
        assert len(rig.upstreams[SHADOW][0].requests) == 3


async def test_a_budget_outlives_a_change_of_the_policy() -> None:
    """Copies under way count against the next policy's limit."""
    async with running(policy=Policy(STABLE, shadows=(Shadow(SHADOW),)), replicas=BOTH) as rig:
        gate = asyncio.Event()
        rig.upstreams[SHADOW][0].usual = answers(ok(), gate=gate)
        assert (await rig.ask(post())).code == 200
        worker = rig.worker
        limited = Policy(STABLE, shadows=(Shadow(SHADOW, max_in_flight=1),))
        worker.swap(worker.table.build(HEAD, {"m": limited}, places(rig)))
        assert (await rig.ask(post())).code == 200
        assert said_of(rig)["dropped"] == {"max_in_flight": 1}
        gate.set()
        await copies_end(rig)


async def test_every_reason_is_told() -> None:
    """No replica, a body that was not held, no room in the worker: each under its own name."""
    policy = Policy(STABLE, shadows=(Shadow(SHADOW), Shadow(OTHER)))
    async with running(policy=policy, replicas=BOTH, repeat_max_request=100, max_shadows=1) as rig:
        gate = asyncio.Event()
        rig.upstreams[SHADOW][0].usual = answers(ok(), gate=gate)
        for body in (b" " * 101, b"{}", b"{}"):
            assert (await rig.ask(post(body=body))).code == 200
        assert said_of(rig)["dropped"] == {"not_whole": 1, "full": 1}
        assert said_of(rig, OTHER)["dropped"] == {"no_replica": 3}
        gate.set()
        await copies_end(rig)
