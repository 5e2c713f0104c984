"""No stage is passed, and none stands still, because the store's clock was set or nobody conducted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.commands import Pause, Resume
from router.phases import Phase
from router.policy import Policy
from router.rollout import Rollout
from router.rollout import start as started
from serving.control.rolling.clocks import ALLOWANCE_S, Look, Watch, steadied
from serving.control.rolling.document import document_from
from serving.control.rolling.outward import Event
from serving.control.rolling.records import Record
from serving.control.rolling.walker import UNWATCHED_S, Walker
from tests.examples import examples
from tests.serving.control.rolling.rooms import STEPS, Room, fake_room

HOUR_S = 3_600.0
TIMES = st.floats(0, 1e9)


@pytest.fixture
async def room() -> Room:
    """A room whose conductor measures time by itself."""
    room = await fake_room()
    room.walker = Walker(room.store, room.service.traffic, room.gates, clock=lambda: room.clock() - room.set_s)
    return room


async def stage(room: Room) -> int:
    """The stage that the one rollout is in."""
    found: list[Record] = [*(await room.store.look()).records]
    return found[0].rollout.stage


def rollout_at(since_s: float) -> Rollout:
    """One whose leg began then."""
    return started("ro_000000000000", document_from(STEPS).plan, Policy(1, salt="s"), since_s)


@given(since_s=TIMES, watched_s=st.none() | TIMES, now_s=TIMES, passed_s=st.floats(0, 1e6))
@settings(max_examples=examples(200))
def test_no_leg_grows_by_more_than_has_passed(
    since_s: float, watched_s: float | None, now_s: float, passed_s: float
) -> None:
    """Nor by less than nothing, and it never begins in the future; what is right, or unknown, is left alone."""
    rollout = rollout_at(since_s)
    step = steadied(rollout, watched_s, now_s, passed_s)
    after = rollout if step is None else step.rollout
    assert after.since_s <= now_s + ALLOWANCE_S
    if watched_s is None:
        assert (step is None) == (since_s <= now_s + ALLOWANCE_S)
    else:
        assert (now_s - after.since_s) - max(0.0, watched_s - since_s) <= passed_s + 1e-3
        if max(since_s, watched_s) <= now_s <= max(since_s, watched_s) + passed_s:
            assert step is None
    assert step is None or step.rollout.revision == rollout.revision + 1


def test_a_release_that_wrote_down_no_watch_loses_no_time() -> None:
    """What a stage had spent before the upgrade is spent after it; from then on the conductor measures."""
    watch = Watch(unwatched_s=6.0)
    watch.begin(1, None)
    rollout = rollout_at(10.0)
    assert watch.steadied(rollout, Look(80_000.0, 5.0, 5.0)) is None
    watch.watched(rollout.id, Look(80_000.0, 5.0, 5.0))
    step = watch.steadied(rollout, Look(90_000.0, 6.0, 6.0))
    assert step is not None
    assert step.rollout.spent_s(90_000.0) == pytest.approx(79_990.0 + 1.0 + ALLOWANCE_S)


def test_what_stands_still_is_left_alone() -> None:
    """A pause keeps what had passed before it, whatever the clock does meanwhile."""
    watch = Watch(unwatched_s=1.0)
    watch.begin(1, None)
    paused = rollout_at(10.0).with_pause("pause", 20.0, "by ada")  # type: ignore[arg-type]
    assert watch.steadied(paused, Look(1e6, 0.0, 0.0)) is None


async def test_a_clock_that_is_set_forward_passes_no_stage(room: Room) -> None:
    """Of ten seconds four had passed: six are left, and the ledger says what does not count."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.tick(4)
    room.set_clock(HOUR_S)
    await room.tick(0.25)
    assert await stage(room) == 0
    for _ in range(5):
        await room.tick(1)
    assert await stage(room) == 0
    await room.tick(1)
    assert await stage(room) == 1
    [said] = [one.entry for one in await room.entries() if one.entry.facts.get("event") == Event.CORRECTED]
    assert "do not count" in said.why
    assert said.facts["rollout"]["id"] == record.id


async def test_a_clock_that_is_set_forward_meets_no_deadline(room: Room) -> None:
    """A rollout does not fail for time that did not pass."""
    document = {
        **STEPS,
        "deadline": "1m",
        "on_deadline": "fail",
        "canary": {"steps": ["1%"], "needs": "minima", "min_requests": 5},
    }
    record = await room.start(document)
    await room.tick(1)
    room.set_clock(HOUR_S)
    await room.tick(0.25)
    await room.tick(0.25)
    assert (await room.now(record)).rollout.phase is Phase.RUNNING


@pytest.mark.parametrize("back_s", [3.0, HOUR_S, 20 * 365 * 24 * HOUR_S])
async def test_a_clock_that_is_set_back_holds_nothing_up(room: Room, back_s: float) -> None:
    """A stage takes its shortest time anew at most, whatever the clock says."""
    await room.start(STEPS)
    await room.tick(1)
    await room.tick(4)
    room.set_clock(-back_s)
    for _ in range(13):
        await room.tick(1)
    assert await stage(room) == 1


async def test_a_pause_across_a_clock_that_is_set(room: Room) -> None:
    """What was left before it is left after it."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.tick(4)
    await room.ask(record, Pause(who="ada"))
    room.set_clock(HOUR_S)
    await room.tick(1)
    await room.ask(record, Resume(who="ada"))
    await room.tick(1)
    assert await stage(room) == 0
    for _ in range(7):
        await room.tick(1)
    assert await stage(room) == 1


async def test_what_nobody_watched_does_not_count(room: Room) -> None:
    """Another conductor leads after an hour: two leases of it count, and the rest has to pass."""
    await room.start({**STEPS, "canary": {"steps": ["1%", "25%"], "needs": "minima", "hold": "60s"}})
    for _ in range(4):
        await room.tick(1)
    room.clock.now_s += HOUR_S
    await room.store.resign("tests")
    room.fence = await room.store.lead("another", 1e6)
    room.walker = Walker(room.store, room.service.traffic, room.gates, clock=room.clock)
    for _ in range(round(60 - UNWATCHED_S) - 5):
        await room.tick(1)
    assert await stage(room) == 0
    for _ in range(5):
        await room.tick(1)
    assert await stage(room) == 1


async def test_a_lead_that_changes_hands_costs_no_time(room: Room) -> None:
    """What is shorter than two leases counts in full: nothing is written about it."""
    await room.start(STEPS)
    await room.tick(1)
    await room.tick(1)
    room.clock.now_s += UNWATCHED_S - 1
    await room.store.resign("tests")
    room.fence = await room.store.lead("another", 1e6)
    room.walker = Walker(room.store, room.service.traffic, room.gates, clock=room.clock)
    await room.tick(0)
    assert not [one for one in await room.entries() if one.entry.facts.get("event") == Event.CORRECTED]
    await room.tick(5)
    assert await stage(room) == 1
