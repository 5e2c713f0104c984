"""Break glass: stable alone is served, rollouts end where they began, and nothing but Redis is needed for it."""

from __future__ import annotations

import pytest

from router.commands import Promote
from router.match import Match
from router.phases import Phase
from router.policy import Arm, Policy, Rule, Shadow
from serving.control.errors import NotNow, Unknown
from serving.control.publishing import Beside
from serving.control.rolling.kept import EVERYTHING
from serving.control.rolling.stopping import STOP, UNSTOP, stop, to_stable, unstop
from tests.contracts.conftest import Bench
from tests.serving.control.rolling.rooms import MODEL, STEPS, Clock, Room, epochs_in, room_on

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
