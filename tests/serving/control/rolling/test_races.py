"""Operators who race: each change is applied once or refused, and ledger and epochs tell one story."""

from __future__ import annotations

import asyncio
import random

import pytest

from router.commands import Command, Pause, Promote, Resume, RollBack, SetShares
from serving.control.errors import ModelStopped, NotNow, RolloutActive, RolloutMoved
from serving.control.rolling.records import Record
from serving.control.rolling.views import RolloutChange
from tests.contracts.conftest import Bench
from tests.serving.control.rolling.rooms import MODEL, STEPS, Clock, Room, epochs_in, room_on

RACES = 200
REFUSED = (RolloutMoved, NotNow, RolloutActive, ModelStopped)


@pytest.fixture
async def room(bench: Bench) -> Room:
    """A room on either store."""
    return await room_on(bench.store, bench.gateway, Clock())


async def attempt(room: Room, record: Record, command: Command, expected: int | None) -> RolloutChange | Exception:
    """The change, or how it was refused."""
    try:
        return await room.ask(record, command, expected)
    except REFUSED as error:
        return error


def made_up(number: int, drawn: random.Random) -> Command:
    """What an operator might ask."""
    who = f"operator {number}"
    return drawn.choice(
        [
            Pause(who=who),
            Resume(who=who),
            SetShares(who=who, shares={2: drawn.randrange(1, 240_000)}),
            Promote(who=who),
        ]
    )


async def test_two_operators_with_one_revision_race_and_one_wins(room: Room) -> None:
    """Both began with what they saw: one change takes place, the other is told that it has moved."""
    record = await room.start(STEPS)
    await room.tick(1)
    for number in range(RACES):
        revision = (await room.now(record)).rollout.revision
        shares = [SetShares(who=f"{name} {number}", shares={2: 1_000 + number}) for name in ("ada", "bob")]
        done = await asyncio.gather(*(attempt(room, record, one, revision) for one in shares))
        assert sorted(isinstance(one, RolloutChange) for one in done) == [False, True]
        assert [type(one) for one in done if not isinstance(one, RolloutChange)] == [RolloutMoved]
        assert (await room.now(record)).rollout.revision == revision + 1
    entries = await room.entries()
    head = await room.store.head()
    assert epochs_in(entries) == list(range(1, head.epoch + 1))
    assert len([one for one in entries if one.entry.facts.get("event") == "set"]) == RACES


async def test_commands_of_every_kind_race_with_the_loop(room: Room) -> None:
    """Revisions in the ledger go up by one, each said once; the last of them is what is kept."""
    drawn = random.Random(7)
    record = await room.start(STEPS)
    await room.tick(1)
    for number in range(RACES // 4):
        if (await room.now(record)).rollout.over:
            break
        several = [attempt(room, record, made_up(4 * number + one, drawn), None) for one in range(4)]
        await asyncio.gather(*several, room.tick(drawn.choice([0, 1])))
    await attempt(room, record, RollBack(who="ada", why="enough"), None)
    entries = [one for one in await room.entries() if one.entry.kind == "rollout"]
    revisions = [one.entry.facts["rollout"]["revision"] for one in entries]
    assert revisions == list(range(1, len(revisions) + 1))
    assert (await room.now(record)).rollout.revision == revisions[-1]
    head = await room.store.head()
    assert epochs_in(await room.entries()) == list(range(1, head.epoch + 1))
    assert (await room.now(record)).epochs[-1] == head.epoch


async def test_a_rollback_gets_through_whatever_else_goes_on(room: Room) -> None:
    """Without a revision it is computed anew until it is done."""
    for _ in range(5):
        record = await room.start({**STEPS, "again": True})
        await room.tick(1)
        noise = [SetShares(who="bob", shares={2: 1_000 * one}) for one in range(1, 20)]
        done, *_ = await asyncio.gather(
            attempt(room, record, RollBack(who="ada", why="errors"), None),
            *(attempt(room, record, one, None) for one in noise),
        )
        assert isinstance(done, RolloutChange)
        assert (await room.now(record)).rollout.over
        assert await room.shares() == {1: 1_000_000}


async def test_stops_race_with_everything(room: Room) -> None:
    """After the last of them stable has everything, and nothing is in progress."""
    record = await room.start(STEPS)
    await room.tick(1)
    noise = [SetShares(who="bob", shares={2: 1_000 * one}) for one in range(1, 20)]
    await asyncio.gather(
        *(attempt(room, record, one, None) for one in noise),
        *(room.rollouts.stop([MODEL], who="ada", why="smoke", wait_s=0) for _ in range(3)),
        room.tick(1),
    )
    assert {version: share for version, share in (await room.shares()).items() if share} == {1: 1_000_000}
    assert (await room.store.look()).records == ()
    assert (await room.now(record)).rollout.over
