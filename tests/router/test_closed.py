"""What keeps anybody from going on and is in no plan: it holds whatever would grow, and nothing that goes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.advance import obstacles, tick
from router.commands import Approve, Promote, RollBack, SetShares, Stop, ask
from router.errors import RolloutError
from router.phases import Phase
from router.plan import Stalled
from router.policy import Policy
from router.rollout import Approval, Evidence, Rollout, Says, Seen, start
from router.strategies import CanaryStep, canary
from tests.router.cases import STABLE

WORDS = "version 2 could not carry it"
UP = frozenset({STABLE, 2})


def seen(now_s: float, *closed: str, leg: int = 1) -> Seen:
    """Everything is up and speaks for going on; this keeps it from it."""
    return Seen(now_s, UP, Evidence(leg, now_s, Says.PROMOTE), closed)


def running(*, approval: bool = False) -> Rollout:
    """In its first stage, ten seconds of it over."""
    plan = canary(2, [CanaryStep(10_000, 1), CanaryStep(500_000, 1, approval=approval)])
    return tick(start("r1", plan, Policy(STABLE), 0.0), seen(0.0)).rollout


def test_it_is_an_obstacle_like_any_other() -> None:
    """Said among the others; gone, the rollout goes on."""
    rollout = running()
    assert list(obstacles(rollout, seen(10.0, WORDS))) == [WORDS]
    assert tick(rollout, seen(10.0, WORDS)).rollout == rollout
    assert tick(rollout, seen(10.0)).rollout.stage == 1


def test_it_holds_the_first_stage_too() -> None:
    """Nothing begins that could not go on."""
    before = start("r1", running().plan, Policy(STABLE), 0.0)
    assert tick(before, seen(0.0, WORDS)).rollout.phase is Phase.WARMING


def test_it_binds_operators_as_far_as_something_would_grow() -> None:
    """To promote, to approve, to set a larger share; a smaller one may be set."""
    rollout = running()
    for command in (Promote(who="ada"), SetShares(who="ada", shares={2: 20_000})):
        with pytest.raises(RolloutError, match=WORDS):
            ask(rollout, command, seen(10.0, WORDS))
    assert ask(rollout, SetShares(who="ada", shares={2: 1}), seen(10.0, WORDS)).rollout.by_hand == {2: 1}
    waiting = tick(running(approval=True), seen(10.0)).rollout
    approval = Approval("ada", "r1", waiting.revision, 1)
    with pytest.raises(RolloutError, match=WORDS):
        ask(waiting, Approve(who="ada", approval=approval), seen(10.0, WORDS))


def test_nothing_that_goes_back_is_held_up() -> None:
    """By an operator, by a stop, by evidence."""
    rollout = running()
    for command in (RollBack(who="ada", why="errors"), Stop(who="ada")):
        assert ask(rollout, command, seen(10.0, WORDS)).rollout.phase is Phase.ROLLED_BACK
    breach = Seen(10.0, UP, Evidence(1, 10.0, Says.ROLL_BACK), (WORDS,))
    assert tick(rollout, breach).rollout.phase is Phase.ROLLED_BACK


def test_a_deadline_goes_on_and_says_what_held_it() -> None:
    """It is not progress."""
    rollout = running()
    late = replace(rollout, plan=replace(rollout.plan, deadline_s=60, on_deadline=Stalled.PAUSE))
    paused = tick(late, seen(100.0, WORDS)).rollout
    assert paused.phase is Phase.PAUSED
    assert WORDS in paused.cause
