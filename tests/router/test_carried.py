"""A policy that clamps: a stage gives a version what it carries, says so, stands there, and gives more once it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from router.advance import obstacles, tick
from router.commands import Pause, Promote, Resume, RollBack, SetShares, ask
from router.freeze import Dated
from router.phases import Phase
from router.plan import End, Kind, Plan
from router.policy import Arm, OverCapacity, Policy
from router.rollout import Automation, Evidence, Rollout, Seen, cut_words, policy_of, start
from router.rollout_form import rollout_as_dict, rollout_from
from router.stage import Does, Needs, Stage
from router.strategies import CanaryStep, ab_test, canary, manual

BASE = Policy(1, salt="base", over_capacity=OverCapacity.CLAMP)
UP = frozenset({1, 2, 3})
PLAN = canary(2, [CanaryStep(100_000, 60), CanaryStep(500_000, 60)], needs=Needs.MINIMA)


def seen(rollout: Rollout, now_s: float, carries: Mapping[int, int] | None = None) -> Seen:
    """All that a stage needs, and what is carried."""
    return Seen(now_s, UP, Evidence(rollout.leg, now_s, requests=dict.fromkeys(UP, 10_000)), carries=carries)


def ticked(rollout: Rollout, now_s: float, carries: Mapping[int, int] | None = None) -> Rollout:
    """After one look."""
    return tick(rollout, seen(rollout, now_s, carries)).rollout


def cut() -> Rollout:
    """In its second stage, which gives 30 % of its 50 %."""
    first = ticked(start("r1", PLAN, BASE, 0.0), 1.0)
    return ticked(first, 62.0, {2: 300_000})


def test_a_stage_gives_what_is_carried_and_says_so() -> None:
    """The share of the plan stays what is wanted; in the ledger and in what it waits for stands what it gives."""
    rollout = cut()
    assert policy_of(rollout).shares() == {1: 700_000, 2: 300_000}
    assert policy_of(rollout.uncut).shares() == {1: 500_000, 2: 500_000}
    words = "version 2 gets 30 % of its 50 %: that is what it carries"
    assert list(cut_words(rollout)) == [words]
    first = ticked(start("r1", PLAN, BASE, 0.0), 1.0)
    [fact] = tick(first, seen(first, 62.0, {2: 300_000})).facts
    assert words in fact.why


def test_what_is_cut_down_stands_until_more_is_carried() -> None:
    """However long it takes: the end would promote what never had its share."""
    rollout = cut()
    assert ticked(rollout, 10_000.0) is rollout
    assert ticked(rollout, 10_000.0, {2: 300_000}) is rollout
    assert "that is what it carries" in next(obstacles(rollout, seen(rollout, 10_000.0)))


def test_more_is_given_as_soon_as_more_is_carried() -> None:
    """Each time on a new leg, so that the stage is earned on what it gives; in the end it has all of its share."""
    rollout = cut()
    more = ticked(rollout, 100.0, {2: 400_000})
    assert (policy_of(more).shares()[2], more.leg, more.stage) == (400_000, rollout.leg + 1, rollout.stage)
    whole = ticked(more, 200.0, {})
    assert policy_of(whole).shares()[2] == 500_000
    assert not list(cut_words(whole))
    assert ticked(whole, 230.0).phase is Phase.RUNNING
    assert ticked(whole, 261.0).phase is Phase.PROMOTED


def test_a_little_more_is_not_worth_a_new_leg() -> None:
    """Rates swing all the time; a leg for each swing would never end. Less than a tenth is left, all of it is taken."""
    rollout = cut()
    assert ticked(rollout, 100.0, {2: 320_000}) is rollout
    nearly = ticked(rollout, 100.0, {2: 480_000})
    assert policy_of(ticked(nearly, 101.0, {})).shares()[2] == 500_000


def test_nothing_is_raised_that_may_not_grow() -> None:
    """Not in a freeze, not while something is closed, not paused, and not where it acts by hand alone."""
    frozen = replace(PLAN, freezes=(Dated("f", "1970-01-01T00:01:30+00:00", "1970-01-02T00:00:00+00:00"),))
    rollout = ticked(ticked(start("r1", frozen, BASE, 0.0), 1.0), 62.0, {2: 300_000})
    assert ticked(rollout, 100.0, {}) is rollout
    rollout = cut()
    assert tick(rollout, seen(rollout, 100.0, {})._replace(closed=("it is stopped",))).rollout is rollout
    paused = ask(rollout, Pause(who="ada"), seen(rollout, 70.0)).rollout
    assert ticked(paused, 100.0, {}) is paused
    assert policy_of(paused) == policy_of(rollout)
    by_hand = replace(rollout, automation=Automation.RECOMMEND)
    assert policy_of(ticked(by_hand, 100.0, {})) == policy_of(by_hand)


def test_what_others_of_the_model_carry_is_nothing_to_it() -> None:
    """A version that the plan does not name has no share that could be cut down, or raised."""
    first = ticked(start("r1", PLAN, BASE, 0.0), 1.0)
    rollout = ticked(first, 62.0, {2: 300_000, 3: 0})
    assert policy_of(rollout).shares() == {1: 700_000, 2: 300_000}
    assert policy_of(ticked(rollout, 100.0, {3: 0})).shares() == {1: 500_000, 2: 500_000}


def test_nothing_is_raised_that_is_not_up() -> None:
    """What a version carried says nothing once it is gone; others that are up are given theirs."""
    rollout = cut()
    gone = seen(rollout, 100.0, {})._replace(ready=frozenset({1, 3}))
    assert tick(rollout, gone).rollout is rollout
    split = ab_test({2: 300_000, 3: 300_000}, duration_s=60)
    both = ticked(start("r1", split, BASE, 0.0), 1.0, {2: 100_000, 3: 100_000})
    one = tick(both, seen(both, 100.0, {})._replace(ready=frozenset({1, 3}))).rollout
    assert policy_of(one).shares() == {1: 600_000, 2: 100_000, 3: 300_000}


def test_a_policy_set_by_hand_is_not_said_to_be_cut_down() -> None:
    """It runs as it is: whether it is carried is for whoever shows what holds it."""
    plan = manual(replace(BASE, arms=(Arm(2, 500_000),)))
    rollout = ticked(start("r1", plan, BASE, 0.0), 1.0, {2: 100_000})
    assert (policy_of(rollout).shares()[2], rollout.carried, [*cut_words(rollout)]) == (500_000, {}, [])
    assert [*cut_words(replace(rollout, carried={2: 100_000}))] == []
    assert ticked(replace(rollout, carried={2: 100_000}), 10_000.0).phase is Phase.PROMOTED


def test_a_kept_split_that_is_cut_down_on_its_watch_comes_to_its_end() -> None:
    """There it has what is carried by then; nothing could ever raise it while it is watched."""
    halves = Stage("half", shares={2: 500_000}, needs=Needs.MINIMA)
    watch = Stage("watch", Does.WATCH, min_s=10, needs=Needs.MINIMA)
    rollout = ticked(start("r1", Plan(Kind.CUSTOM, (halves, watch), End.KEEP), BASE, 0.0), 1.0)
    watched = ask(rollout, Promote(who="ada"), seen(rollout, 5.0, {2: 100_000})).rollout
    assert (watched.phase, policy_of(watched).shares()[2]) == (Phase.WATCHING, 100_000)
    assert any("left" in one for one in obstacles(watched, seen(watched, 6.0)))
    for carries, share in (({}, 500_000), ({2: 200_000}, 200_000)):
        ended = ticked(watched, 100.0, carries)
        assert (ended.phase, policy_of(ended).shares()[2]) == (Phase.PROMOTED, share)


def test_shares_set_by_hand_are_cut_down_as_well() -> None:
    """What was asked for is kept, so that more is given once more is carried, and a pause changes nothing of it."""
    rollout = cut()
    asked = SetShares(who="ada", shares={2: 450_000})
    step = ask(rollout, asked, seen(rollout, 70.0, {2: 350_000}))
    assert step.facts[0].what.endswith("version 2 gets 35 % of its 45 %: that is what it carries for now")
    paused = ask(step.rollout, Pause(who="ada"), seen(step.rollout, 71.0)).rollout
    again = ask(paused, Resume(who="ada"), seen(paused, 72.0)).rollout
    assert policy_of(again).shares()[2] == 350_000
    assert policy_of(ticked(again, 80.0, {})).shares()[2] == 450_000


def test_an_operator_who_promotes_goes_on_from_it() -> None:
    """Whoever insists may; and what goes back goes back to the policy from before."""
    rollout = cut()
    promoted = ask(rollout, Promote(who="ada"), seen(rollout, 70.0)).rollout
    assert (promoted.phase, policy_of(promoted).stable) == (Phase.PROMOTED, 2)
    back = ask(rollout, RollBack(who="ada", why="errors"), seen(rollout, 70.0)).rollout
    assert (policy_of(back), back.carried) == (BASE, {})


@pytest.mark.parametrize("carries", [{2: 200_000}, {2: 0}])
def test_a_split_that_is_kept_is_kept_within_what_is_carried(carries: dict[int, int]) -> None:
    """The end gives no version more than the last stage could."""
    plan = ab_test({2: 400_000}, duration_s=60, undecided=End.KEEP)
    rollout = ticked(start("r1", plan, BASE, 0.0), 1.0, carries)
    kept = ask(rollout, Promote(who="ada", to_end=True), seen(rollout, 100.0, carries)).rollout
    assert (kept.phase, policy_of(kept).shares()[2]) == (Phase.PROMOTED, carries[2])


def test_it_comes_back_from_its_form() -> None:
    """What is cut is stored; a rollout that was stored before there was such a thing is read as it was."""
    rollout = cut()
    said = rollout_as_dict(rollout)
    assert rollout_from(said) == rollout
    assert rollout_from({name: value for name, value in said.items() if name != "carried"}) == rollout.uncut
