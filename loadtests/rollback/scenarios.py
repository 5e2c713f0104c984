"""The scenarios: what becomes of a version in the middle of its rollout, and what the rollout has to do about it.

Each begins with both versions well and all traffic at the first, starts a canary by the product's own command, with
nothing spelled out but steps and their time, and leaves the rest to the rollout. What it returns are figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.installation import Failed
from loadtests.rollback.figures import (
    BACK,
    EVERYWHERE,
    PROMOTED,
    Figure,
    entry_of,
    reached,
    rolled_back,
    seen_by_clients,
)
from loadtests.rollback.heard import Heard
from loadtests.rollback.operator import Standing, told
from loadtests.rollback.room import CANDIDATE, PAIRED, SINGLE, STABLE, Room
from loadtests.rollback.switch import WELL
from loadtests.rollback.switched.behaviour import Behaviour

_STARTS_WITHIN_S = 60.0
_EVERYWHERE_WITHIN_S = 10.0
_WELL_FOR_S = 3.0
_WARM_S = 15.0
_IN_FLIGHT_S = 1.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of them.

    Attributes:
        name: for `--only`.
        words: what happens.
        plays: makes it happen.
        behaviour: what the version then does.
        model: whose rollout it is.
        version: which version it is.
    """

    name: str
    words: str
    plays: Callable[[Room, Scenario], Awaitable[Sequence[Figure]]]
    behaviour: Behaviour
    model: str = SINGLE
    version: int = CANDIDATE


async def played(room: Room, scenario: Scenario) -> Sequence[Figure]:
    """Its figures; where it could not be played to its end, the one that says so."""
    await room.clear(scenario.model)
    try:
        return await scenario.plays(room, scenario)
    except Failed as error:
        return (Figure("it comes to its end", str(error), good=False),)
    finally:
        for version in (room.stable(scenario.model), room.candidate(scenario.model)):
            version.all(WELL)


async def _goes_bad(room: Room, at: Scenario) -> Sequence[Figure]:
    """In the second step of its canary, after some seconds in which it was well."""
    return await _turns_in_step(room, at, "5,20,100", hold=room.sizes.hold, step=1, after_s=_WELL_FOR_S)


async def _slows_down(room: Room, at: Scenario) -> Sequence[Figure]:
    """In its first step: beside stable, for at all of the traffic there is nobody to be slower than."""
    return await _turns_in_step(room, at, "25,100", hold=room.sizes.long_hold, step=0, after_s=_WARM_S)


async def _turns_in_step(
    room: Room, at: Scenario, steps: str, *, hold: str, step: int, after_s: float
) -> Sequence[Figure]:
    async with room.load() as heard:
        rollout = await room.operator.start(SINGLE, CANDIDATE, steps, hold)
        await _enters(room, rollout, step)
        await _is_asked(room, at)
        await asyncio.sleep(after_s)
        since_s = _turns(room, at)
        there = await _ends(room, rollout)
    return await _went_back(room, rollout, there, since_s, heard)


async def _crashes(room: Room, at: Scenario) -> Sequence[Figure]:
    """At a request that it gets in its first step, and again each time that it has been started anew."""
    async with room.load() as heard:
        since_s = _turns(room, at)
        rollout = await room.operator.start(SINGLE, CANDIDATE, "10,100", room.sizes.hold)
        there = await _ends(room, rollout)
    return await _went_back(room, rollout, there, since_s, heard)


async def _went_back(room: Room, rollout: str, there: Standing, since_s: float, heard: Heard) -> Sequence[Figure]:
    everywhere = await room.operator.hears(rollout, EVERYWHERE, _EVERYWHERE_WITHIN_S)
    return rolled_back(there, everywhere, room.candidate().noted(since_s), heard)


async def _stays_well(room: Room, _at: Scenario) -> Sequence[Figure]:
    began_s = time.monotonic()
    async with room.load() as heard:
        rollout = await room.operator.start(SINGLE, CANDIDATE, "10,50,100", room.sizes.hold)
        there = await _ends(room, rollout)
        took_s = time.monotonic() - began_s
    entered = [one["facts"]["rollout"]["stage"] for one in await room.operator.story(rollout)]
    return (
        Figure("it is promoted", told(there), there["phase"] == PROMOTED),
        Figure("by way of", ", ".join(dict.fromkeys(map(str, entered)))),
        Figure("seconds from the command to the promotion", f"{took_s:.1f} s"),
        Figure("requests that it answered", f"{heard.good[CANDIDATE]:,}", heard.good[CANDIDATE] > 0),
        seen_by_clients(heard, CANDIDATE),
    )


async def _gets_no_traffic(room: Room, _at: Scenario) -> Sequence[Figure]:
    rollout = await room.operator.start(SINGLE, CANDIDATE, "10,100", "1s")
    await _enters(room, rollout, 0)
    await asyncio.sleep(room.sizes.quiet_s)
    there = await room.operator.standing(rollout)
    waits = there["phase"] == "running" and there["stage_number"] == 0
    return (Figure(f"it still waits in its first step after {room.sizes.quiet_s:g} s", told(there), waits),)


async def _shares_an_incident(room: Room, at: Scenario) -> Sequence[Figure]:
    """Both versions at once, and it goes on after the rollout has paused."""
    async with room.load() as heard:
        rollout = await room.operator.start(SINGLE, CANDIDATE, "25,100", room.sizes.long_hold)
        await _enters(room, rollout, 0)
        await _is_asked(room, at)
        await asyncio.sleep(_WARM_S)
        room.stable().all(at.behaviour)
        since_s = _turns(room, at)
        paused = await room.operator.comes_to(rollout, _is_paused, "paused", room.sizes.ends_within_s)
        took_s = time.time() - since_s
        await asyncio.sleep(room.sizes.incident_s)
        there = await room.operator.standing(rollout)
    return (
        Figure("it pauses by itself", told(paused)),
        Figure("seconds from the incident's beginning to the pause", f"{took_s:.1f} s"),
        Figure(f"and is not rolled back {room.sizes.incident_s:g} s later", told(there), not there["over"]),
        reached(room.candidate().noted(since_s)),
        Figure("requests that failed, with either version", f"{heard.errors.total():,} of {heard.answers:,}"),
    )


async def _in_bursts(room: Room, at: Scenario) -> Sequence[Figure]:
    """One of two servers, for a while at a time: every test that looks at requests one by one takes it for harm."""
    switch = room.switches[at.model, at.version]
    async with room.load(PAIRED) as heard:
        rollout = await room.operator.start(PAIRED, CANDIDATE, "50,100", "1h")
        await _enters(room, rollout, 0)
        await _is_asked(room, at)
        await asyncio.sleep(_WARM_S)
        since_s, server = time.time(), switch.servers()[0]
        for _ in range(room.sizes.bursts):
            switch.one(server, at.behaviour)
            await asyncio.sleep(room.sizes.burst_s)
            switch.one(server, WELL)
            await asyncio.sleep(room.sizes.burst_s)
        there = await room.operator.standing(rollout)
    failed = sum(one.bad for one in switch.noted(since_s))
    story = await room.operator.story(rollout)
    return (
        Figure("it is not rolled back", told(there), not there["over"] and entry_of(story, BACK) is None),
        Figure("requests that the replica failed", f"{failed:,}", failed > 0),
        seen_by_clients(heard, CANDIDATE),
    )


def _turns(room: Room, at: Scenario) -> float:
    """The version behaves like that from now on; since when, seconds since 1970."""
    since_s = time.time()
    room.switches[at.model, at.version].all(at.behaviour)
    return since_s


async def _enters(room: Room, rollout: str, stage: int) -> None:
    def in_it(there: Standing) -> bool:
        return there["stage"] is not None and there["stage_number"] == stage and there["phase"] == "running"

    within_s = _STARTS_WITHIN_S if stage == 0 else room.sizes.ends_within_s
    await room.operator.comes_to(rollout, in_it, f"in its step {stage + 1}", within_s)


async def _is_asked(room: Room, at: Scenario) -> None:
    """Returns once requests reach the version: gateways give one that has just hung or died a rest."""
    since_s, deadline = time.time(), time.monotonic() + _STARTS_WITHIN_S
    while not room.switches[at.model, at.version].noted(since_s):
        if time.monotonic() > deadline:
            raise Failed(f"no request reached version {at.version} of {at.model} within {_STARTS_WITHIN_S:g} s")
        await asyncio.sleep(_LOOK_S)


async def _ends(room: Room, rollout: str) -> Standing:
    """How it stands once it is over, and what was in flight then has been answered."""
    there = await room.operator.comes_to(rollout, lambda one: bool(one["over"]), "over", room.sizes.ends_within_s)
    await asyncio.sleep(_IN_FLIGHT_S)
    return there


def _is_paused(there: Standing) -> bool:
    return bool(there["phase"] == "paused")


ALL: Final = (
    Scenario("fails", "a candidate that starts to fail 5 % of its requests", _goes_bad, Behaviour(fails=0.05)),
    Scenario("slow", "a candidate that gets 25 % slower", _slows_down, Behaviour(slower=1.25)),
    Scenario("hangs", "a candidate that hangs", _goes_bad, Behaviour(hangs=True)),
    Scenario("crashes", "a candidate that crashes at its hundredth request", _crashes, Behaviour(crashes_at=100)),
    Scenario("good", "a good candidate", _stays_well, WELL),
    Scenario("quiet", "a good candidate, and nobody asks anything", _gets_no_traffic, WELL),
    Scenario("incident", "both versions fail at once", _shares_an_incident, Behaviour(fails=0.2)),
    Scenario(
        "stable-burst",
        "one of stable's two replicas fails now and then",
        _in_bursts,
        Behaviour(fails=0.3),
        PAIRED,
        STABLE,
    ),
    Scenario("candidate-burst", "one of the candidate's two replicas does", _in_bursts, Behaviour(fails=0.3), PAIRED),
)
"""In the order in which they are played."""
