"""The conductor judges by what gateways tell: it goes back at once, promotes what has earned it, and waits else."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from router.commands import Resume, Retry
from router.phases import Phase
from router.verdicts.case import Case
from router.verdicts.guardrails import USUAL
from router.verdicts.replaying import recorded, replayed
from router.verdicts.tallies import Moment
from router.verdicts.units import ALL, People, Took, UnitBlock
from serving.control.errors import Deposed
from serving.control.publishing import Recorded
from serving.control.rolling.gates import Gatekeeper
from serving.control.rolling.judged import Arm, Beside, Tried
from serving.control.rolling.records import Record
from serving.control.rolling.walker import Walker
from serving.totals import Braked, Units, UnitSeen
from tests.serving.control.rolling.rooms import MODEL, Room, fake_room

TRIAL = {"candidate": 2, "canary": {"steps": ["50%"], "hold": "5s", "needs": "verdict"}}
TIMED = {"candidate": 2, "canary": {"steps": ["50%"], "hold": "500s", "needs": "minima"}}
WATCHED = {"candidate": 2, "canary": {"steps": ["50%"], "hold": "5s", "watch": "600s", "needs": "minima"}}


@pytest.fixture
async def room() -> Room:
    """A room in memory."""
    return await fake_room()


async def run(room: Room, seconds: int, *, candidate: tuple[int, int], stable: tuple[int, int]) -> None:
    """So many seconds in each of which the arms have so many requests, of which so many fail."""
    for _ in range(seconds):
        for version, (count, failed) in ((2, candidate), (1, stable)):
            room.serves(version, count - failed, failed=failed)
        await room.tick(1)


async def begun(room: Room, document: dict[str, object]) -> Record:
    """The rollout, in its first stage, gateways heard of."""
    record = await room.start(document)
    await room.tick(1)
    await room.tick(1)
    return record


def said(entries: Sequence[Recorded], what: str) -> list[Recorded]:
    """The entries that say this."""
    return [one for one in entries if one.entry.facts.get("what") == what]


async def test_a_candidate_that_fails_goes_back_within_one_look_of_enough_evidence(room: Room) -> None:
    """The policy from before is back, the ledger has the numbers, how long harm was done, and who has gone back."""
    record = await begun(room, TIMED)
    await run(room, 20, candidate=(50, 0), stable=(50, 0))
    assert (await room.now(record)).rollout.phase is Phase.RUNNING
    looks = 0
    while not (await room.now(record)).rollout.over:
        looks += 1
        assert looks < 20, "it did not go back"
        await run(room, 1, candidate=(50, 25), stable=(50, 0))
    await room.tick(1)
    rollout = (await room.now(record)).rollout
    assert rollout.phase is Phase.ROLLED_BACK
    assert await room.shares() == {1: 1_000_000}
    [breach] = said(await room.entries(), "breach")
    numbers = breach.entry.facts["numbers"]
    assert numbers["log10_e.2.harm"] >= numbers["log10_needed.2.harm"]
    assert looks - 1 <= numbers["detection_s"] <= looks + 1
    [done] = said(await room.entries(), "acknowledged")
    assert done.entry.facts["event"] == "acknowledged"
    assert done.entry.facts["numbers"]["waiting"] == 0
    assert done.entry.facts["numbers"]["gateways"] == 1
    figures = room.rollouts.figures()
    assert sum(figures.detected.counts) == sum(figures.propagated.counts) == 1
    view = await room.rollouts.rollout(record.id)
    assert view.verdicts[2].decision == "roll_back"
    assert view.verdicts[2].guardrails[0].candidate.events == 25 * (looks - 1)


async def test_a_good_candidate_is_promoted_once_that_is_certified(room: Room) -> None:
    """Not by its time: while the evidence is not enough it waits and says so."""
    record = await begun(room, TRIAL)
    await run(room, 8, candidate=(10, 0), stable=(10, 0))
    assert (await room.rollouts.rollout(record.id)).waits == ("the evidence is not enough yet",)
    for _ in range(60):
        await run(room, 1, candidate=(500, 1), stable=(500, 1))
    assert (await room.now(record)).rollout.phase is Phase.PROMOTED
    [done] = said(await room.entries(), "finish")
    assert "certified" in done.entry.why


async def test_what_is_shown_of_verdicts_is_what_they_rest_on(room: Room) -> None:
    """Each test's number beside what is enough, and how the arms' odds compare, between bounds."""
    await begun(room, TIMED)
    await run(room, 10, candidate=(50, 2), stable=(50, 2))
    figures = room.rollouts.figures()
    weight, odds = figures.weights[MODEL, 2, "harm"], figures.odds[MODEL, 2, "errors"]
    assert weight.log10_e < weight.needed
    assert 0 < odds.lower < odds.likeliest < odds.upper
    assert odds.lower < 1 < odds.upper


async def test_without_traffic_it_waits(room: Room) -> None:
    """A verdict is not given by silence, though gateways are heard of all night."""
    record = await begun(room, TRIAL)
    for _ in range(30):
        await room.tick(10)
    view = await room.rollouts.rollout(record.id)
    assert (view.record.rollout.phase, view.waits) == (Phase.RUNNING, ("the evidence is not enough yet",))


async def test_gateways_that_are_not_heard_of_hold_it(room: Room) -> None:
    """Also a stage that asks for time alone: nobody would see harm."""
    record = await begun(room, {**TIMED, "canary": {"steps": ["50%"], "hold": "5s", "needs": "minima"}})
    room.tells = False
    for _ in range(30):
        await room.tick(10)
    view = await room.rollouts.rollout(record.id)
    assert view.record.rollout.phase is Phase.RUNNING
    assert view.waits == ("there is no evidence of this leg",)


async def test_a_gateway_that_tells_nothing_is_named(room: Room) -> None:
    """One of an older release, in the middle of an upgrade: whoever looks is told what to bring up to date."""
    room.tells = False
    await room.follow("older")
    record = await begun(room, TIMED)
    await room.follow("older")
    await room.tick(1)
    view = await room.rollouts.rollout(record.id)
    assert "the gateway older does not tell what it counts: it may be of an older release" in view.waits


async def test_an_incident_of_both_pauses_and_blames_nobody(room: Room) -> None:
    """Once for each leg: who resumes it is not overruled, and no share grows before the incident is over."""
    record = await begun(room, TIMED)
    await run(room, 20, candidate=(50, 0), stable=(50, 0))
    await run(room, 20, candidate=(50, 15), stable=(50, 15))
    rollout = (await room.now(record)).rollout
    assert (rollout.phase, rollout.resumes) == (Phase.PAUSED, Phase.RUNNING)
    assert "limit" in rollout.cause
    [entry] = said(await room.entries(), "incident")
    assert entry.entry.facts["event"] == "paused"
    await room.ask(record, Resume(who="ada"))
    await run(room, 5, candidate=(50, 15), stable=(50, 15))
    view = await room.rollouts.rollout(record.id)
    assert view.record.rollout.phase is Phase.RUNNING
    assert any("asks to stand still" in one for one in view.waits)
    assert len(said(await room.entries(), "incident")) == 1


async def test_units_that_did_not_go_where_shares_promised_call_somebody(room: Room) -> None:
    """It stands still and is not rolled back; hooks that ask for alerts hear of it once."""
    record = await begun(room, TIMED)
    for nth in range(12):
        room.serves(2, 20)
        room.serves(1, 180)
        units = Units(2**53, tuple(UnitSeen(nth * 1_000 + one, 1 if one % 10 else 2, 0) for one in range(200)))
        head = await room.store.head()
        room.clock.now_s += 1
        await room.tell("g1 b", head.epoch, units={MODEL: units})
        await room.walker.tick(room.fence)
    view = await room.rollouts.rollout(record.id)
    assert view.record.rollout.phase is Phase.RUNNING
    assert any("shares promised" in one for one in view.waits)
    [alert] = said(await room.entries(), "alert")
    assert alert.entry.facts["event"] == "alerted"


async def test_a_ramp_is_no_mismatch(room: Room) -> None:
    """What was dealt by the shares before is not held against those after."""
    document = {"candidate": 2, "canary": {"steps": ["1%", "50%"], "hold": "8s", "needs": "minima"}}
    record = await begun(room, document)
    for nth in range(24):
        every = 100 if (await room.shares())[2] == 10_000 else 2
        room.serves(2, 200 // every)
        room.serves(1, 200 - 200 // every)
        seen = tuple(UnitSeen(nth * 1_000 + one, 1 if one % every else 2, 1) for one in range(200))
        head = await room.store.head()
        room.clock.now_s += 1
        await room.tell("g1 b", head.epoch, units={MODEL: Units(2**53, seen)})
        await room.follow()
        await room.walker.tick(room.fence)
    assert said(await room.entries(), "alert") == []
    assert (await room.now(record)).rollout.stage == 1


async def test_after_the_promotion_its_own_limits_take_it_back(room: Room) -> None:
    """In the watch there is nobody to compare it with."""
    record = await begun(room, WATCHED)
    await run(room, 12, candidate=(50, 0), stable=(50, 0))
    await run(room, 10, candidate=(100, 0), stable=(0, 0))
    assert (await room.now(record)).rollout.phase is Phase.WATCHING
    judged = room.walker.judged(record.id)
    assert judged is not None
    assert judged.arms[2].tried.how is Beside.ALONE
    await run(room, 20, candidate=(100, 50), stable=(0, 0))
    rollout = (await room.now(record)).rollout
    assert rollout.phase is Phase.ROLLED_BACK
    assert "alone" in rollout.cause


async def test_a_successor_goes_on_with_the_evidence_that_there_was(room: Room) -> None:
    """Killed in the middle: its successor has every request of every second that is over, none of them twice."""
    record = await begun(room, TIMED)
    await run(room, 15, candidate=(50, 1), stable=(50, 1))
    room.walker = Walker(room.store, room.service.traffic, Gatekeeper(room.post), clock=room.clock)
    room.fence = await successor(room)
    await run(room, 15, candidate=(50, 1), stable=(50, 1))
    judged = room.walker.judged(record.id)
    assert judged is not None
    seen = judged.arms[2].case.dockets[0].seen
    assert (seen.n_c, seen.n_b, seen.x, seen.m) == (1_450, 1_450, 29, 58)


async def successor(room: Room) -> int:
    """The fence of another conductor, which leads from now on."""
    room.store._leader = "", 0.0
    fence: int = await room.store.lead("another", 1e6)
    return fence


async def test_a_deposed_conductor_writes_no_evidence(room: Room) -> None:
    """What it still has in hand is refused."""
    record = await begun(room, TIMED)
    await run(room, 5, candidate=(50, 0), stable=(50, 0))
    kept = await room.store.case(record.id)
    await successor(room)
    await run(room, 5, candidate=(50, 25), stable=(50, 0))
    assert await room.store.case(record.id) == kept
    found = await room.now(record)
    await room.walker.judge.listen([found], room.clock.now_s)
    with pytest.raises(Deposed):
        await room.walker.judge.judge(found, None, room.fence)
    assert await room.store.case(record.id) == kept


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        '{"form": 9}',
        "[]",
        '{"form": 1, "first_leg": 1, "arms": {"2": {}}}',
        '"newest_s": Infinity',
        '"began_s": NaN',
    ],
)
async def test_a_case_that_nobody_can_read_begins_anew(
    room: Room, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, the ledger says so, and from there on it is judged as any other."""
    record = await begun(room, TIMED)
    await run(room, 5, candidate=(50, 0), stable=(50, 0))
    name, _, value = damage.partition(": ")
    known = room.store._cases[record.id]
    broken = re.sub(f"{name}: [0-9.]+", damage, known)
    room.store._cases[record.id] = broken if value in {"Infinity", "NaN"} else damage
    room.walker = Walker(room.store, room.service.traffic, Gatekeeper(room.post), clock=room.clock)
    await run(room, 10, candidate=(50, 25), stable=(50, 0))
    assert "begins anew" in caplog.text
    [entry] = said(await room.entries(), "evidence")
    assert entry.entry.facts["event"] == "corrected"
    assert (await room.now(record)).rollout.phase is Phase.ROLLED_BACK


async def test_a_brake_is_one_entry_for_each_episode(room: Room) -> None:
    """However many gateways put it on; about the rollout, if there is one."""
    record = await begun(room, TIMED)
    head = await room.store.head()
    for name in ("g1", "g2", "g1"):
        room.clock.now_s += 1
        await room.tell(f"{name} b", head.epoch, braked=(Braked(MODEL, 2, 5.0, 30.0), Braked("other", 7, 5.0, 30.0)))
        await room.walker.tick(room.fence)
    [entry] = [one for one in said(await room.entries(), "brake") if one.entry.kind == "rollout"]
    assert (entry.entry.facts["rollout"]["id"], entry.entry.who) == (record.id, "g1")
    [other] = [one for one in said(await room.entries(), "brake") if one.entry.kind == "brake"]
    assert other.entry.facts["model"] == "other"
    room.clock.now_s += 200
    await room.tell("g1 b", head.epoch, braked=(Braked(MODEL, 2, 205.0, 30.0),))
    await room.walker.tick(room.fence)
    assert len([one for one in said(await room.entries(), "brake") if one.entry.kind == "rollout"]) == 2


async def test_what_was_recorded_can_be_read_again(room: Room) -> None:
    """Blocks in their order, and where shares changed; of that version alone."""
    record = await begun(room, TIMED)
    await run(room, 6, candidate=(50, 1), stable=(50, 0))
    await room.tick(2)
    lines = [json.loads(line) async for line in await room.rollouts.blocks(record.id, None)]
    assert lines[0] == {"ramped": [500_000, 500_000]}
    assert sum(one["candidate"]["r2"][0]["ok"] for one in lines[1:]) == 6 * 49
    assert [one["ended_s"] for one in lines[1:]] == sorted(one["ended_s"] for one in lines[1:])


async def test_a_retry_is_judged_by_what_it_does_itself(room: Room) -> None:
    """What was held against the version before is not held against it again."""
    record = await begun(room, TIMED)
    await run(room, 10, candidate=(50, 25), stable=(50, 0))
    over = (await room.now(record)).rollout
    assert over.phase is Phase.ROLLED_BACK
    case = await room.store.case(record.id)
    await room.tick(1)
    again = replace(await room.now(record), rollout=over.with_attempt(room.clock.now_s))
    found = await room.walker.judge._kept(again, room.fence)
    assert case is not None
    assert found is None


def test_units_beyond_the_sample_are_neither_heard_nor_recorded() -> None:
    """Of millions of users a block keeps those that the case remembers, by their hashes alone."""
    case = Case(people=People(threshold=ALL // 4))
    arm = Arm(case, Tried(Beside.COMPARED, (500_000, 500_000)), 1, 0.0)
    units = {nth * (ALL // 1_000 + 1): frozenset({"ok"}) for nth in range(1_000)}
    took = dict.fromkeys(units, Took(200))
    people = arm.admitted(Moment(10.0, people=UnitBlock(ALL, units, {}, took))).people
    assert people is not None
    assert (people.threshold, len(people.candidate), len(people.took)) == (ALL // 4, 250, 250)
    assert people.estimated == 1_000
    assert arm.admitted(Moment(10.0, people=people)).people is people


@pytest.mark.parametrize("shows", ["rules", "shadows"])
async def test_a_later_look_that_nothing_is_compared_in_is_passed_by_time_and_requests(room: Room, shows: str) -> None:
    """Also where the plan asks for a verdict in it: nobody could ever give one."""
    look = {"rules": [{"version": 2, "when": [{"name": "x", "values": ["1"]}]}], "shadows": [{"version": 2}]}
    stages = [
        {"name": "a part", "shares": {"2": "10%"}, "min_s": 2, "needs": "minima"},
        {"name": "a look", shows: look[shows], "min_s": 5, "min_requests": 50, "needs": "verdict"},
    ]
    plan = {"form": 1, "kind": "custom", "end": "promote", "candidate": 2, "stages": stages}
    record = await begun(room, {"plan": plan})
    await run(room, 10, candidate=(1, 0), stable=(50, 0))
    assert (await room.now(record)).rollout.stage == 1
    await run(room, 10, candidate=(50, 0), stable=(50, 0))
    assert (await room.now(record)).rollout.phase is Phase.PROMOTED


async def test_a_record_of_two_attempts_is_replayed_as_two(room: Room) -> None:
    """What the first one was taken back for is not held against the second in a replay either."""
    record = await begun(room, TIMED)
    await run(room, 12, candidate=(50, 25), stable=(50, 0))
    assert (await room.now(record)).rollout.phase is Phase.ROLLED_BACK
    await room.ask(record, Retry(who="ada", why="mended", again=True))
    await run(room, 15, candidate=(50, 0), stable=(50, 0))
    lines = [line async for line in await room.rollouts.blocks(record.id, None)]
    replay = replayed(recorded(lines), USUAL)
    assert replay.back is not None
    assert replay.last.verdict.decision != "roll_back"
    assert replay.case.dockets[0].seen.x == 0
