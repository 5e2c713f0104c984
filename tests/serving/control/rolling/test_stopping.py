"""Break glass: stable alone is served, rollouts end where they began, and nothing but Redis is needed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from router.commands import Pause, Promote
from router.match import Match
from router.phases import Phase
from router.policy import Arm, Policy, Rule, Shadow
from serving.control.errors import ModelStopped, NotNow, RolloutMoved, StoreDamaged, Unknown
from serving.control.publishing import Answer, Beside, Publication
from serving.control.rolling.hooks import Courier
from serving.control.rolling.kept import EVERYTHING
from serving.control.rolling.service import approval
from serving.control.rolling.stopping import STOP, UNSTOP, stop, to_stable, unstop
from serving.control.views import Wanted
from tests.contracts.conftest import Bench
from tests.serving.control.rolling.rooms import MODEL, STEPS, Clock, Room, delivered, epochs_in, fake_room, room_on

BUSY = Policy(
    1,
    (Arm(2, 300_000, 100_000),),
    salt="s",
    allow_override=True,
    rules=(Rule(3, (Match("x-tier", ("staff",)),)),),
    shadows=(Shadow(3),),
)


@pytest.fixture
async def room(bench: Bench) -> Room:
    """A room on either store."""
    return await room_on(bench.store, bench.gateway, Clock())


def test_stable_alone_gets_requests() -> None:
    """No share, no rule, no copy, no choice of the client's; arms keep their places."""
    policy = to_stable(BUSY)
    assert policy.shares() == {1: 1_000_000, 2: 0}
    assert (policy.rules, policy.shadows, policy.allow_override) == ((), (), False)
    assert policy.arms[0].offset_ppm == 100_000
    assert policy.salt == BUSY.salt


async def test_everything_is_stopped_by_one_change(room: Room) -> None:
    """Two models, a rollout in each of which one is after its flip: one epoch, and stable is what was stable before."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.ask(record, Promote(who="ada", to_end=True))
    assert await room.shares() == {2: 1_000_000, 1: 0}
    await room.store.change("other", BUSY, 0, who="bob")
    before = (await room.store.head()).epoch
    done = await stop(room.store, None, who="ada", why="smoke")
    assert (done.models, done.rolled_back, done.published) == ((MODEL, "other"), (record.id,), True)
    assert (await room.store.head()).epoch == before + 1
    assert {v: s for v, s in (await room.shares()).items() if s} == {1: 1_000_000}
    assert (await room.service.current("other")).policy == to_stable(BUSY)
    ended = (await room.now(record)).rollout
    assert (ended.phase, ended.cause) == (Phase.ROLLED_BACK, "stopped by ada: smoke")
    entries = await room.entries()
    assert [one.entry.kind for one in entries[-2:]] == [STOP, "rollout"]
    assert epochs_in(entries) == list(range(1, before + 2))
    assert EVERYTHING in await room.store.stopped()


async def test_a_stop_of_one_model_leaves_the_others(room: Room) -> None:
    """And is taken back for that model alone."""
    await room.store.change("other", BUSY, 0, who="bob")
    await stop(room.store, [MODEL], who="ada")
    assert (await room.service.current("other")).policy == BUSY
    assert set(await room.store.stopped()) == {MODEL}
    assert await unstop(room.store, "other", who="ada") == ()
    assert await unstop(room.store, MODEL, who="ada") == (MODEL,)
    assert (await room.entries())[-1].entry.kind == UNSTOP


async def test_a_stop_where_stable_has_everything_changes_no_epoch(room: Room) -> None:
    """It is in force and in the ledger all the same; a second one is as good as the first."""
    before = await room.store.head()
    for _ in range(2):
        assert not (await stop(room.store, [MODEL], who="ada")).published
    assert await room.store.head() == before
    assert set(await room.store.stopped()) == {MODEL}


async def test_one_models_word_does_not_take_back_a_stop_of_everything(room: Room) -> None:
    """It says what does."""
    await stop(room.store, None, who="ada")
    with pytest.raises(NotNow):
        await unstop(room.store, MODEL, who="ada")
    assert await unstop(room.store, None, who="ada") == (EVERYTHING,)
    assert await room.store.stopped() == {}


async def test_an_unknown_model_is_refused(room: Room) -> None:
    """Nobody believes to have stopped what they have not."""
    with pytest.raises(Unknown, match="digit"):
        await stop(room.store, ["digit"], who="ada")
    assert await room.store.stopped() == {}


async def test_a_rollout_that_starts_as_the_glass_breaks_grows_nothing(room: Room) -> None:
    """Should it be in progress when the stop comes to stand, the loop is held by it, tick after tick."""
    record = await room.start(STEPS)
    await room.store.note(Beside(stops={MODEL: "{}"}))
    for _ in range(5):
        await room.tick(60)
    assert (await room.now(record)).rollout.phase is Phase.WARMING
    assert any("stopped" in one for one in (await room.rollouts.rollout(record.id)).waits)


async def test_nothing_grows_from_the_first_moment_and_less_is_changed_at_once_where_others_come_first(
    room: Room,
) -> None:
    """However others hurry, a stop of everything comes to its end, and what may not grow does not grow meanwhile."""
    for number in range(6):
        await room.store.change(f"m{number}", BUSY, 0, who="bob")
    swap, widths, refused = room.store.swap, [], []

    async def hurried(publication: Publication) -> Answer:
        """Whoever changes more than one model at once comes too late."""
        wide = len(publication.entry.facts.get("models", ()))
        if wide == 0:
            return await swap(publication)  # type: ignore[no-any-return]
        widths.append(wide)
        if wide > 1:
            with pytest.raises(ModelStopped):
                await room.store.change(MODEL, BUSY, None, who="bob", grows=True)
            refused.append(MODEL)
            await room.store.change(MODEL, Policy(1, salt=f"s{len(refused)}"), None, who="bob")
        return await swap(publication)  # type: ignore[no-any-return]

    room.store.swap = hurried
    done = await stop(room.store, None, who="ada")
    assert len(done.models) == 7
    for number in range(6):
        assert (await room.service.current(f"m{number}")).policy == to_stable(BUSY)
    assert widths[-1] == 1
    assert len(refused) < 10


async def test_a_policy_that_is_lost_keeps_no_other_model_from_being_stopped() -> None:
    """It is named, and frozen with the others."""
    room = await fake_room()
    await room.store.change("other", BUSY, 0, who="bob")
    await room.store.change("third", Policy(1, salt="t"), 0, who="bob")
    del room.store._blobs[(await room.store.state()).snapshot.models["third"].digest]
    done = await stop(room.store, None, who="ada")
    assert (done.models, done.unread) == ((MODEL, "other"), ("third",))
    assert (await room.service.current("other")).policy == to_stable(BUSY)
    assert EVERYTHING in await room.store.stopped()
    assert any(one.entry.facts.get("unreadable_policies_of") == ["third"] for one in await room.entries())


async def test_a_rollout_that_begins_between_look_and_write_is_ended_as_well(room: Room) -> None:
    """Whether it comes just before the freeze, or after somebody took that back."""
    note, begun = room.store.note, []

    async def before(beside: Beside) -> Answer:
        room.store.note = note
        begun.append(await room.start(STEPS))
        return await note(beside)  # type: ignore[no-any-return]

    room.store.note = before
    done = await stop(room.store, None, who="ada")
    assert done.rolled_back == (begun[0].id,)
    assert (await room.store.look()).records == ()
    await unstop(room.store, None, who="ada")
    await room.store.change(MODEL, BUSY, None, who="bob")
    state = room.store.state

    async def between() -> object:
        room.store.state = state
        await unstop(room.store, None, who="bob")
        await room.store.change(MODEL, Policy(1, salt="x", allow_override=True), None, who="bob")
        found = await state()
        begun.append(await room.start({**STEPS, "again": True}))
        return found

    room.store.state = between
    done = await stop(room.store, None, who="ada")
    assert done.rolled_back == (begun[1].id,)
    assert (await room.store.look()).records == ()


async def test_a_rollout_that_nobody_can_read_is_ended_by_a_stop() -> None:
    """Looking at it says so in a sentence, deliveries to others go on, and the model is free afterwards."""
    room = await fake_room()
    hooks = [{"url": "https://hooks.example.com/a", "secret": "whsec_" + "A" * 32}]
    record = await room.start({**STEPS, "webhooks": hooks})
    await room.tick(1)
    revision, _, model = room.store._rollouts[record.id]
    room.store._rollouts[record.id] = revision, "broken", model
    for asked in (room.rollouts.rollout(record.id), room.ask(record, Pause(who="ada"))):
        with pytest.raises(StoreDamaged, match=record.id):
            await asked
    assert list(await room.rollouts.newest(MODEL, 10)) == []
    courier = Courier(room.store, room.post)
    assert [await delivered(courier, room) for _ in range(3)] == [1, 1, 0]
    done = await stop(room.store, [MODEL], who="ada")
    assert done.rolled_back == (record.id,)
    assert {version: share for version, share in (await room.shares()).items() if share} == {1: 1_000_000}
    await unstop(room.store, MODEL, who="ada")
    again = await room.start(STEPS)
    assert [one.id for one in (await room.store.look()).records] == [again.id]


@pytest.mark.parametrize(
    "more",
    [{"shadows": (Shadow(2, 1_000_000),)}, {"allow_override": True}, {"rules": BUSY.rules}, {"shares": {2: 10}}],
    ids=lambda more: next(iter(more)),
)
async def test_a_stopped_model_gives_others_nothing_by_hand(room: Room, more: Mapping[str, Any]) -> None:
    """Neither copies nor a choice of the client's; what takes away is still done."""
    await stop(room.store, None, who="ada")
    with pytest.raises(ModelStopped):
        await room.service.set_policy(MODEL, Wanted(**{"stable": 1, "shares": {}, **more}), None, who="bob", wait_s=0)
    await unstop(room.store, None, who="ada")
    await room.service.set_policy(
        MODEL, Wanted(1, {}, shadows=(Shadow(2, 9_000),), allow_override=True), None, who="bob", wait_s=0
    )
    await room.store.note(Beside(stops={MODEL: "{}"}))
    await room.service.set_policy(
        MODEL, Wanted(1, {}, shadows=(Shadow(2, 8_000),), allow_override=False), None, who="bob", wait_s=0
    )


@pytest.mark.parametrize("ends", ["pause", "stop"])
async def test_what_was_staged_for_a_flip_that_is_not_to_be_is_dropped(ends: str) -> None:
    """By whatever came in between, so that no gateway holds what nobody wants any more."""
    room = await fake_room()
    await room.service.set_policy(MODEL, Wanted(1, {}, allow_override=False), None, who="bob", wait_s=0)
    record = await room.start({"candidate": 2, "blue_green": {"bake": "0s", "approval": True, "keep_warm": "9s"}})
    for _ in range(4):
        await room.tick(1)
    flip = asyncio.create_task(room.rollouts.ask(record.id, approval("ada", "", None), expected=None, wait_s=0))
    for _ in range(500):
        if (await room.store.state()).snapshot.staged:
            break
        await asyncio.sleep(0.01)
    before = await room.shares()
    if ends == "pause":
        await room.ask(record, Pause(who="bob"))
    else:
        await stop(room.store, None, who="bob")
    await room.follow()
    with pytest.raises((NotNow, RolloutMoved, ModelStopped)):
        await flip
    assert (await room.store.state()).snapshot.staged == {}
    assert await room.shares() == before
