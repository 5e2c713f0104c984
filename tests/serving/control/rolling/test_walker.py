"""The loop walks every kind of rollout to its end, holds where something keeps it, and writes what it did."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from router.commands import Approve, Pause, Promote, Resume, Retry, RollBack, SetShares
from router.phases import Phase
from router.rollout import Approval, Seen, Step, fact
from serving.control.errors import (
    ModelStopped,
    NotNow,
    RolloutActive,
    RolloutMoved,
    StoreUnavailable,
    Unacceptable,
    Unknown,
)
from serving.control.publishing import LedgerEntry, Recorded, publication_of
from serving.control.rolling.kept import Look, Stop
from serving.control.rolling.moving import STAGING_S, move
from serving.control.rolling.outward import Event
from serving.control.rolling.walker import Walker
from serving.control.views import Wanted
from serving.endpoint import Endpoint, Load
from serving.leases import GatewayLease
from tests.serving.control.rolling.rooms import FLIP, MODEL, STEPS, Room, epochs_in, fake_room, stages_in


@pytest.fixture
async def room() -> Room:
    """A room in memory."""
    return await fake_room()


def events(entries: Sequence[Recorded]) -> list[str]:
    """What the ledger says happened."""
    return [one.entry.facts["event"] for one in entries if "event" in one.entry.facts]


async def test_a_canary_walks_to_its_end(room: Room) -> None:
    """Every stage once and in order, the candidate stable at the end, an epoch for each change of traffic."""
    record = await room.walked(await room.start(STEPS))
    assert record.rollout.phase is Phase.PROMOTED
    entries = await room.entries()
    assert stages_in(entries) == ["enter stage '1 %'", "enter stage '25 %'", "enter stage 'watch'", "finish"]
    assert epochs_in(entries) == [1, 2, 3, 4, 5]
    assert record.epochs == (2, 3, 4, 5)
    assert events(entries) == [Event.STARTED, Event.ENTERED, Event.ENTERED, Event.ENTERED, Event.PROMOTED]
    assert await room.shares() == {2: 1_000_000}


async def test_no_stage_is_shorter_than_its_shortest_time(room: Room) -> None:
    """By the store's clock: after ten seconds less one tick it is where it was."""
    record = await room.start(STEPS)
    await room.tick(1)
    assert await room.shares() == {1: 990_000, 2: 10_000}
    for _ in range(9):
        await room.tick(1)
    assert (await room.now(record)).rollout.stage == 0
    await room.tick(1)
    assert await room.shares() == {1: 750_000, 2: 250_000}


async def test_a_shadow_copies_and_leaves_everything_as_it_was(room: Room) -> None:
    """Its copies are counted as its requests, and the policy from before is back to the byte."""
    before = (await room.service.current(MODEL)).policy
    record = await room.start({"shadow": {"version": 3, "sample": "10%", "for": "5s", "min_requests": 20}})
    await room.tick(1)
    assert [one.version for one in (await room.service.current(MODEL)).policy.shadows] == [3]
    for _ in range(10):
        await room.tick(1)
    view = await room.rollouts.rollout(record.id)
    assert view.waits == ("version 3 has had 0 of 20 requests",)
    room.copied[f"{MODEL}/3"] = 25
    await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.PROMOTED
    assert (await room.service.current(MODEL)).policy == before


async def test_copies_are_not_sent_past_a_gateway_that_is_too_old_or_a_stop(room: Room) -> None:
    """A stage that only copies takes nothing back: it waits as any other does, and says why; a rollback never does."""
    record = await room.start({"shadow": {"version": 3, "sample": "10%", "for": "1h", "max_per_s": 5}})
    await room.follow(reader=1)
    await room.walker.tick(room.fence)
    said = "The gateway g1 is of an earlier release, and could not read this policy."
    assert said in (await room.rollouts.rollout(record.id)).waits
    after = record.rollout.with_stage(0, 2.0)
    entered = Step(after, (fact(record.rollout, after, Seen(2.0), who="ada", what="enter", why=""),))
    await room.follow()
    room.store._stopped[MODEL] = Stop("ada", 1.0, "smoke").encode()
    with pytest.raises(ModelStopped):
        await move(room.store, record, entered)
    assert (await room.service.current(MODEL)).policy.shadows == ()
    del room.store._stopped[MODEL]
    await room.tick(1)
    assert [one.version for one in (await room.service.current(MODEL)).policy.shadows] == [3]
    await room.follow(reader=1)
    await room.ask(await room.now(record), RollBack(who="ada", why="it is bad"))
    assert (await room.service.current(MODEL)).policy.shadows == ()


async def test_an_ab_test_waits_for_its_sample_and_is_decided_by_hand(room: Room) -> None:
    """Requests are counted by version; whoever named the winner is in the ledger."""
    document = {"ab_test": {"arms": {"2": "30%", "3": "30%"}, "sample_size": 10, "decide": "hand"}}
    record = await room.start(document)
    await room.tick(1)
    await room.tick(1)
    assert await room.shares() == {1: 400_000, 2: 300_000, 3: 300_000}
    room.requests |= {f"{MODEL}/2": 10, f"{MODEL}/3": 9}
    await room.tick(1)
    assert (await room.rollouts.rollout(record.id)).waits == ("version 3 has had 9 of 10 requests",)
    room.requests[f"{MODEL}/3"] = 10
    await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.WAITING
    await room.ask(record, Promote(who="ada", version=3, why="more sales"))
    await room.walked(record)
    assert await room.shares() == {3: 1_000_000}


async def test_blue_green_is_staged_everywhere_before_it_is_active_anywhere(room: Room) -> None:
    """Two changes: the first has the new policy lie ready, the second only makes it active."""
    record = await room.start(FLIP)
    await room.tick(1)
    await room.tick(1)
    entries = await room.entries()
    assert [one for one in events(entries) if one != Event.STARTED][:3] == [Event.ENTERED, Event.STAGED, Event.ENTERED]
    assert epochs_in(entries) == [1, 2, 3]
    assert await room.shares() == {2: 1_000_000, 1: 0}
    assert (await room.store.state()).snapshot.staged == {}
    assert (await room.walked(record)).rollout.phase is Phase.PROMOTED


async def test_a_flip_that_a_gateway_does_not_stage_is_abandoned_and_says_who(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees the new colour, what was staged is taken back, and the ledger names the gateway."""
    monkeypatch.setattr("serving.control.rolling.moving.STAGING_S", 0.05)
    record = await room.start(FLIP)
    await room.follow("deaf")
    await room.tick(1)
    await room.tick(1)
    entries = await room.entries()
    [abandoned] = [one.entry for one in entries if one.entry.facts.get("event") == Event.ABANDONED]
    assert "deaf" in abandoned.why
    assert await room.shares() == {1: 1_000_000}
    assert (await room.store.state()).snapshot.staged == {}
    await room.tick(0)
    assert any("deaf" in one for one in (await room.rollouts.rollout(record.id)).waits)
    room.store._gateways.pop("deaf")
    await room.tick(STAGING_S + 1)
    await room.tick(1)
    assert await room.shares() == {2: 1_000_000, 1: 0}


async def test_a_rollout_waits_for_its_versions(room: Room) -> None:
    """Nothing moves before every version of the plan is up."""
    room.service.traffic._declared = {MODEL: {1: "pool", 2: "pool"}}
    await room.store.drop(Endpoint("127.0.0.1", 9_002, 0, MODEL, 2))
    record = await room.start(STEPS)
    await room.tick(5)
    assert (await room.now(record)).rollout.phase is Phase.WARMING
    assert (await room.rollouts.rollout(record.id)).waits == ("version 2 is not up",)
    await room.store.hold(Endpoint("127.0.0.1", 9_002, 0, MODEL, 2), 1e6)
    await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.RUNNING


async def test_a_stage_that_a_version_could_not_carry_is_held_with_the_figures(room: Room) -> None:
    """The sentence is the one that a policy set by hand would get; more capacity lets it go on."""
    small = Endpoint("127.0.0.1", 9_002, 0, MODEL, 2)
    await room.store.hold(small, 1e6, Load(0, 10.0))
    for total in (0, 10_000):
        room.requests[f"{MODEL}/1"] = total
        await room.follow()
        room.service.rates = room.service.rates.with_totals(await room.store.gateways(), room.clock())
        room.clock.now_s += 5
    record = await room.start(STEPS)
    await room.tick(1)
    waits = (await room.rollouts.rollout(record.id)).waits
    assert any("carries 10" in one for one in waits), waits
    assert await room.shares() == {1: 1_000_000}
    await room.store.hold(small, 1e6, Load(0, 10_000.0))
    await room.tick(1)
    assert await room.shares() == {1: 990_000, 2: 10_000}


async def test_what_the_registry_does_not_let_through_is_held(room: Room) -> None:
    """The loop asks as operators are asked."""

    async def routable(_model: str, versions: Collection[int], /) -> list[str]:
        return ["version 2 of digits was never verified"] if 2 in versions else []

    room.service.routable = routable
    record = await room.start(STEPS)
    await room.tick(1)
    assert "version 2 of digits was never verified" in (await room.rollouts.rollout(record.id)).waits
    assert await room.shares() == {1: 1_000_000}


async def test_versions_whose_servers_are_drained_get_nothing(room: Room) -> None:
    """What is being taken away is not given traffic by a rollout either."""
    room.service.going = frozenset({(MODEL, 2)})
    record = await room.start(STEPS)
    await room.tick(1)
    assert "version 2 is being drained" in (await room.rollouts.rollout(record.id)).waits
    room.service.going = frozenset()
    await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.RUNNING


# Commands.


async def test_a_rollback_applies_at_once_and_the_version_is_not_tried_again_by_itself(room: Room) -> None:
    """The policy from before is back to the byte; a new rollout of that version needs somebody who insists."""
    before = (await room.service.current(MODEL)).policy
    record = await room.start(STEPS)
    await room.tick(1)
    done = await room.ask(record, RollBack(who="ada", why="errors"))
    assert (await room.service.current(MODEL)).policy == before
    assert (done.epoch, done.view.record.rollout.phase) == (3, Phase.ROLLED_BACK)
    with pytest.raises(NotNow, match=record.id):
        await room.start(STEPS)
    again = await room.start({**STEPS, "again": True})
    assert (await room.walked(again)).rollout.phase is Phase.PROMOTED


async def test_what_was_promoted_may_be_rolled_out_again(room: Room) -> None:
    """Only what went back is barred."""
    await room.walked(await room.start(STEPS))
    back = {"candidate": 1, "canary": {"steps": ["10%"], "needs": "minima", "hold": "1s"}}
    assert (await room.walked(await room.start(back))).rollout.phase is Phase.PROMOTED
    assert await room.shares() == {1: 1_000_000}


async def test_a_pause_stops_the_clock(room: Room) -> None:
    """However long it is paused, the stage has as much time left as before."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.tick(4)
    await room.ask(record, Pause(who="ada"))
    await room.tick(500)
    await room.ask(record, Resume(who="ada"))
    await room.tick(3)
    assert (await room.now(record)).rollout.stage == 0
    await room.tick(4)
    assert (await room.now(record)).rollout.stage == 1


async def test_shares_set_by_hand_are_published_and_recorded(room: Room) -> None:
    """12.5 % at once, and the ledger says who."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.ask(record, SetShares(who="ada", why="carefully", shares={2: 125_000}))
    assert await room.shares() == {1: 875_000, 2: 125_000}
    last = (await room.entries())[-1].entry
    assert (last.who, last.why, last.facts["event"]) == ("ada", "carefully", Event.SET)


async def test_a_command_for_another_revision_is_refused_with_where_it_stands(room: Room) -> None:
    """Whoever saw an old revision decides again."""
    record = await room.start(STEPS)
    await room.tick(1)
    with pytest.raises(RolloutMoved, match="revision 2"):
        await room.ask(record, Pause(who="ada"), expected=1)
    assert (await room.now(record)).rollout.phase is Phase.RUNNING


async def test_one_approval_lets_it_into_one_stage(room: Room) -> None:
    """The same record a second time is refused: it names the revision that it was given for."""
    record = await room.start(
        {"candidate": 2, "canary": {"steps": ["1%", "5%"], "needs": "minima", "hold": "1s", "approve": ["1%", "5%"]}}
    )
    await room.tick(1)
    waiting = (await room.now(record)).rollout
    approval = Approval("ada", record.id, waiting.revision, 0)
    await room.ask(record, Approve(who="ada", approval=approval))
    await room.tick(2)
    await room.tick(2)
    assert (await room.now(record)).rollout.target == 1
    with pytest.raises(NotNow, match="stage 0"):
        await room.ask(record, Approve(who="ada", approval=approval))


async def test_a_command_that_the_phase_forbids_says_what_there_is(room: Room) -> None:
    """No command moves a rollout that is over."""
    record = await room.start(STEPS)
    await room.ask(record, RollBack(who="ada", why="no"))
    with pytest.raises(NotNow, match="retry"):
        await room.ask(record, Pause(who="ada"))


async def test_a_retry_begins_again_unless_somebody_changed_the_policy(room: Room) -> None:
    """What was set by hand meanwhile is not undone by a rollout that would go back behind it."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.ask(record, RollBack(who="ada", why="no"))
    await room.ask(record, Retry(who="ada", again=True))
    await room.tick(1)
    assert await room.shares() == {1: 990_000, 2: 10_000}
    await room.ask(record, RollBack(who="ada", why="no"))
    await room.service.set_policy(MODEL, Wanted(1, {3: 1_000}), None, who="bob", wait_s=0)
    with pytest.raises(NotNow, match="something else"):
        await room.ask(record, Retry(who="ada", again=True))


async def test_a_policy_set_by_hand_is_refused_while_a_rollout_is_in_progress(room: Room) -> None:
    """The sentence names the rollout; once that is over, the change is recorded as a rollout by hand."""
    record = await room.start(STEPS)
    with pytest.raises(RolloutActive, match=record.id):
        await room.service.set_policy(MODEL, Wanted(1, {3: 1_000}), None, who="bob", wait_s=0)
    await room.ask(record, RollBack(who="ada", why="no"))
    await room.service.set_policy(MODEL, Wanted(1, {3: 1_000}), None, who="bob", wait_s=0)
    last = (await room.entries())[-1].entry
    assert (last.kind, last.facts["rollout"]) == ("policy", {"kind": "manual"})


async def test_a_fault_of_ours_holds_one_rollout_and_ends_no_tick(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks at that rollout is told, the log has the traceback once, and it goes on when the fault is gone."""
    record = await room.start(STEPS)
    with monkeypatch.context() as patched:
        patched.setattr(room.walker, "_shown", _broken)
        await room.tick(1)
        await room.tick(1)
        [held] = room.walker.closed(record.id)
        assert held == "a fault of ours keeps it from going on (ZeroDivisionError): see the log"
        assert caplog.text.count("Traceback") == 1
    assert (await room.walked(record)).rollout.phase is Phase.PROMOTED


async def _broken(*_args: object) -> Seen:
    raise ZeroDivisionError


async def test_one_model_has_one_rollout_at_a_time(room: Room) -> None:
    """A second one is refused with the name of the first."""
    record = await room.start(STEPS)
    with pytest.raises(RolloutActive, match=record.id):
        await room.start({"candidate": 3, "canary": {"steps": ["1%"], "needs": "minima"}})


async def test_a_plan_that_cannot_be_is_refused_at_the_start(room: Room) -> None:
    """Versions that nobody has, and promoting what is stable."""
    with pytest.raises(Unknown, match="no version 9"):
        await room.start({"candidate": 9, "canary": {"steps": ["1%"], "needs": "minima"}})
    with pytest.raises(Unacceptable, match="stable already"):
        await room.start(
            {"plan": {"form": 1, "end": "promote", "candidate": 1, "stages": [{"name": "w", "does": "watch"}]}}
        )


async def test_a_change_before_the_start_is_noticed(room: Room) -> None:
    """Whoever names the revision that they saw begins with that one or not at all."""
    await room.service.set_policy(MODEL, Wanted(1, {3: 1_000}), None, who="bob", wait_s=0)
    with pytest.raises(RolloutMoved):
        await room.start(STEPS, expected=1)


# Where the store has forgotten.


async def test_a_rollout_whose_traffic_is_not_what_it_set_is_paused(room: Room) -> None:
    """Nothing is made true again by itself: the version may have been taken back by what the store forgot."""
    record = await room.start(STEPS)
    await room.tick(1)
    state = await room.store.state()
    base = record.rollout.base
    await room.store.swap(publication_of(state, {MODEL: base}, LedgerEntry("recovery", "conductor", "", {})))
    await room.tick(1)
    paused = (await room.now(record)).rollout
    assert paused.phase is Phase.PAUSED
    assert "something else" in paused.cause
    for _ in range(3):
        await room.tick(60)
    assert await room.shares() == {1: 1_000_000}
    with pytest.raises(NotNow, match="something else"):
        await room.ask(record, Resume(who="ada"))
    await room.ask(record, SetShares(who="ada", shares={2: 20_000}))
    assert await room.shares() == {1: 980_000, 2: 20_000}


async def test_nothing_goes_on_while_a_gateway_does_not_follow(room: Room) -> None:
    """The store may have forgotten what it runs: first that is put right; what goes back may at any time."""
    record = await room.start(STEPS)
    await room.tick(1)
    holding = GatewayLease("g2", "b", 7, "h", 8000, 9, "d9", held="the store shows epoch 2", reader=2)
    room.store.gateway_says(holding, 1e6)
    for _ in range(15):
        await room.tick(1)
    assert (await room.now(record)).rollout.stage == 0
    assert any("g2 does not follow" in one for one in (await room.rollouts.rollout(record.id)).waits)
    room.store._gateways.pop("g2")
    await room.tick(1)
    assert (await room.now(record)).rollout.stage == 1


async def test_a_stopped_model_starts_no_rollout_and_grows_no_share(room: Room) -> None:
    """Until that is taken back; what goes back may."""
    await room.rollouts.stop([MODEL], who="ada", why="smoke", wait_s=0)
    with pytest.raises(ModelStopped):
        await room.start(STEPS)
    with pytest.raises(ModelStopped):
        await room.service.set_policy(MODEL, Wanted(1, {2: 1_000}), None, who="bob", wait_s=0)
    await room.service.set_policy(MODEL, Wanted(1, {}), None, who="bob", wait_s=0)
    assert await room.rollouts.unstop(MODEL, who="ada", why="over") == (MODEL,)
    assert (await room.walked(await room.start(STEPS))).rollout.phase is Phase.PROMOTED


async def test_nothing_goes_forward_right_after_the_store_was_away(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before gateways had time to say anew what they run; nor at the start, nor when an earlier head is shown."""
    room.walker = Walker(room.store, room.service.traffic, room.gates, settle_s=3.0, clock=room.clock)
    record = await room.start(STEPS)
    await room.tick()
    await room.tick(2.9)
    assert (await room.now(record)).rollout.phase is Phase.WARMING
    assert any("anew" in one for one in (room.walker.closed(record.id)))
    await room.tick(0.2)
    assert await room.shares() == {1: 990_000, 2: 10_000}

    async def away() -> Look:
        raise StoreUnavailable("it is away")

    with monkeypatch.context() as broken:
        broken.setattr(room.store, "look", away)
        with pytest.raises(StoreUnavailable):
            await room.walker.tick(room.fence)
    await room.tick(11)
    assert await room.shares() == {1: 990_000, 2: 10_000}
    await room.tick(3)
    assert await room.shares() == {1: 750_000, 2: 250_000}
    room.walker._latest += 2  # it has seen a later head than the store shows
    await room.tick(11)
    assert await room.shares() == {1: 750_000, 2: 250_000}
    await room.tick(3)
    assert await room.shares() == {2: 1_000_000, 1: 0}
