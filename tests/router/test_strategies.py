"""Each strategy is a plan like any other, and plans can be put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from router.errors import PlanError
from router.match import Match
from router.plan import End, Plan, policy_for
from router.policy import WHOLE, Policy, Rule, Shadow
from router.stage import Does, Needs
from router.strategies import CanaryStep, Decide, ab_test, blue_green, canary, manual, put_together, shadow

BASE = Policy(1)


def shares_of(plan: Plan, chosen: int | None = None) -> list[Mapping[int, int]]:
    """The shares of every stage, and of the end."""
    return [dict(policy_for(plan, stage, BASE, chosen=chosen).shares()) for stage in range(len(plan.stages) + 1)]


def test_a_shadow_gets_copies_and_leaves_nothing() -> None:
    """Nobody's answer changes, and at the end everything is as it was."""
    plan = shadow(Shadow(2, 10_000, when=(Match("x", ("a",)),), max_per_s=50), duration_s=3_600, min_requests=100)
    assert shares_of(plan) == [{1: WHOLE}, {1: WHOLE}]
    assert policy_for(plan, 0, BASE).shadows == plan.stages[0].shadows
    assert policy_for(plan, 1, BASE) == BASE


def test_a_canary_grows_and_is_promoted_and_watched() -> None:
    """Step by step, from one part per million; the old version is warm while somebody watches."""
    plan = canary(2, [CanaryStep(1, 60, 10), CanaryStep(500_000, approval=True), CanaryStep(WHOLE)], watch_s=86_400)
    assert shares_of(plan) == [
        {1: WHOLE - 1, 2: 1},
        {1: 500_000, 2: 500_000},
        {1: 0, 2: WHOLE},
        {2: WHOLE, 1: 0},
        {2: WHOLE},
    ]
    assert [stage.name for stage in plan.stages] == ["0.0001 %", "50 %", "100 %", "watch"]
    assert [stage.approval for stage in plan.stages] == [False, True, False, False]
    assert (plan.stages[0].min_s, plan.stages[0].min_requests) == (60, 10)


@pytest.mark.parametrize(
    ("steps", "verdicts"),
    [((1, 10, 50, 100), [50]), ((1, 10), [10]), ((100,), []), ((50, 100), [50]), ((1, 50, 20, 100), [20])],
    ids=lambda one: "-".join(map(str, one)),
)
def test_a_canary_earns_its_promotion_where_it_is_compared_best(steps: tuple[int, ...], verdicts: list[int]) -> None:
    """In the last step that leaves stable something; before it time and requests do, after it nobody is left."""
    plan = canary(2, [CanaryStep(step * 10_000) for step in steps], watch_s=60)
    assert [f"{step} %" for step in verdicts] == [one.name for one in plan.stages if one.needs is Needs.VERDICT]
    for needs in Needs:
        asked = canary(2, [CanaryStep(step * 10_000) for step in steps], watch_s=60, needs=needs)
        assert [one.needs for one in asked.stages] == [needs] * len(steps) + [Needs.MINIMA]


def test_nothing_else_waits_for_a_verdict() -> None:
    """Copies, chosen people and policies set by hand compare nothing by lot."""
    look = blue_green(2, preview=(Match("x", ("a",)),))
    for plan in (shadow(Shadow(2), duration_s=60), look, manual(Policy(1)), ab_test({2: 5}, duration_s=60)):
        assert {one.needs for one in plan.stages} == {Needs.MINIMA}


def test_the_end_of_a_canary_is_approved_before_it_is_promoted() -> None:
    """Which is before the watch, where there is one."""
    assert canary(2, [CanaryStep(5)], approve_end=True).approve_end
    watched = canary(2, [CanaryStep(5)], approve_end=True, watch_s=60)
    assert (watched.approve_end, watched.stages[-1].approval) == (False, True)


def test_an_ab_test_ends_with_the_winner() -> None:
    """Or with what is to be left where none is found best."""
    plan = ab_test({2: 300_000, 3: 300_000}, duration_s=60)
    assert shares_of(plan, chosen=3)[-1] == {3: WHOLE}
    assert shares_of(plan, chosen=1)[-1] == shares_of(plan)[-1] == {1: WHOLE}
    kept = ab_test({2: 300_000}, sample_size=10, undecided=End.KEEP, watch_s=60)
    assert shares_of(kept) == [{1: 700_000, 2: 300_000}] * 3
    with pytest.raises(PlanError, match="duration or a sample size"):
        ab_test({2: 5})


@pytest.mark.parametrize(
    ("decide", "needs", "by_hand"),
    [(Decide.BEST, Needs.MINIMA, False), (Decide.FIRST, Needs.EITHER, False), (Decide.HAND, Needs.MINIMA, True)],
)
def test_an_ab_test_is_decided_by_its_rule(decide: Decide, needs: Needs, by_hand: bool) -> None:  # noqa: FBT001 (in a table)
    """At the end, as soon as it is clear, or by an operator."""
    plan = ab_test({2: 5}, duration_s=60, decide=decide)
    assert (plan.stages[0].needs, plan.winner_by_hand) == (needs, by_hand)


def test_blue_green_previews_and_flips_everything_at_once() -> None:
    """Only who is let in sees the new colour before; the flip asks for an approval and is staged."""
    plan = blue_green(2, preview=(Match("x-preview", ("yes",)),), bake_s=60, keep_warm_s=600)
    assert shares_of(plan) == [{1: WHOLE}, {2: WHOLE, 1: 0}, {2: WHOLE}]
    assert policy_for(plan, 0, BASE).rules == (Rule(2, (Match("x-preview", ("yes",)),)),)
    assert policy_for(plan, 1, BASE).rules == ()
    bake, warm = plan.stages
    assert (bake.does, bake.min_s, warm.does, warm.min_s) == (Does.BAKE, 60, Does.WATCH, 600)
    assert (warm.approval, warm.flip) == (True, True)
    assert not blue_green(2, approval=False).stages[1].approval


def test_a_split_by_hand_stays() -> None:
    """The whole policy, to the byte; it waits for nothing."""
    policy = Policy(3, unit_header="device").with_shares({2: 125_000})
    plan = manual(policy)
    assert policy_for(plan, 0, BASE) == policy_for(plan, 1, BASE) == policy
    assert plan.versions == (3, 2)
    assert (plan.stages[0].needs, plan.stages[0].min_s, plan.stages[0].min_requests) == (Needs.MINIMA, 0, 0)


def test_plans_are_put_together() -> None:
    """A shadow for an hour, then steps, then a watch of a day: the stages in turn, set as the last one is."""
    steps = [CanaryStep(percent * 10_000) for percent in (1, 5, 25, 50, 100)]
    last = replace(canary(2, steps, watch_s=86_400), salt="s", deadline_s=100_000)
    plan = put_together(shadow(Shadow(2), duration_s=3_600), last)
    assert [stage.name for stage in plan.stages] == ["shadow", "1 %", "5 %", "25 %", "50 %", "100 %", "watch"]
    assert (plan.end, plan.candidate, plan.salt, plan.deadline_s) == (End.PROMOTE, 2, "s", 100_000)
    assert policy_for(plan, 1, BASE).shadows == ()


def test_plans_that_do_not_go_together_are_refused() -> None:
    """Two candidates, a watch in the middle, the same stage twice, or none."""
    one, watched = canary(2, [CanaryStep(5)]), canary(2, [CanaryStep(6)], watch_s=60)
    for plans, why in [
        ((one, canary(3, [CanaryStep(6)])), "different candidates"),
        ((watched, one), "only the last"),
        ((one, one), "two stages are named"),
        ((), "no plans"),
    ]:
        with pytest.raises(PlanError, match=why):
            put_together(*plans)
