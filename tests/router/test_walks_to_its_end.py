"""Every plan that the strategies make walks to its end: on time and requests, and one verdict where it asks for one."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.advance import nameless, tick
from router.commands import Approve, Promote, ask
from router.errors import PlanError
from router.match import Match
from router.phases import Phase
from router.plan import End, Plan
from router.policy import Policy, Shadow
from router.rollout import Approval, Evidence, Rollout, Says, Seen, start
from router.stage import Does, Needs, Stage
from router.strategies import CanaryStep, Decide, ab_test, blue_green, canary, manual, put_together, shadow
from tests.examples import examples

BASE = Policy(1, salt="base")
UP = frozenset(range(1, 10))
STEP_S = 50.0


def walked(plan: Plan, says: Says = Says.PROMOTE) -> Rollout:
    """Where it gets by traffic, a verdict, and operators who approve and name what they are asked for."""
    rollout, now_s = start("r1", plan, BASE, 0.0), 0.0
    for _ in range(500):
        if rollout.over:
            return rollout
        now_s += STEP_S
        counted = Evidence(rollout.leg, now_s, says, requests=dict.fromkeys(UP, int(rollout.spent_s(now_s)) * 10))
        seen = Seen(now_s, UP, counted)
        rollout = tick(rollout, seen).rollout
        if rollout.phase is Phase.WAITING:
            rollout = passed_by_hand(rollout, seen)
    return rollout


def passed_by_hand(rollout: Rollout, seen: Seen) -> Rollout:
    """What waits for somebody gets somebody."""
    if nameless(rollout):
        return ask(rollout, Promote(who="ada", version=2), seen).rollout
    approval = Approval("ada", rollout.id, rollout.revision, rollout.target or 0)
    return ask(rollout, Approve(who="ada", approval=approval), seen).rollout


steps = st.lists(
    st.builds(
        CanaryStep, st.integers(1, 1_000_000), st.sampled_from([0, 100]), st.sampled_from([0, 500]), st.booleans()
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.share_ppm,
)
watches = st.sampled_from([0, 60])
ends = st.one_of(
    st.builds(canary, st.just(2), steps, watch_s=watches, approve_end=st.booleans()),
    st.builds(
        ab_test,
        st.sampled_from([{2: 300_000}, {2: 300_000, 3: 300_000}, {2: 300_000, 3: 0}]),
        duration_s=st.sampled_from([60, 600]),
        sample_size=st.sampled_from([0, 500]),
        decide=st.sampled_from(Decide),
        undecided=st.sampled_from([End.RESTORE, End.KEEP]),
        watch_s=watches,
    ),
    st.builds(
        blue_green,
        st.just(2),
        preview=st.sampled_from([(), (Match("x-tier", ("staff",)),)]),
        bake_s=st.sampled_from([0, 60]),
        approval=st.booleans(),
        keep_warm_s=st.sampled_from([1, 60]),
    ),
    st.just(manual(Policy(1).with_shares({2: 500_000}))),
)
shadows = st.builds(
    shadow, st.just(Shadow(2)), duration_s=st.sampled_from([0, 60]), min_requests=st.sampled_from([0, 500])
)


@settings(max_examples=examples(400))
@given(ends, st.booleans(), shadows)
def test_every_strategy_alone_and_after_a_shadow(last: Plan, after_a_shadow: bool, before: Plan) -> None:  # noqa: FBT001 (drawn)
    """Its end is reached, with the watch before it; only a canary that splits the traffic waits for a verdict."""
    plan = put_together(before, last) if after_a_shadow else last
    assert walked(plan).phase is Phase.PROMOTED
    without = walked(plan, Says.NOT_YET)
    assert without.over is (plan.decisive is None)
    assert without.over or without.stage == plan.decisive


@given(steps, watches)
def test_a_canary_that_asks_for_no_verdict_needs_none(some: list[CanaryStep], watch_s: int) -> None:
    """Its time and its requests are enough."""
    plan = canary(2, some, watch_s=watch_s, needs=Needs.MINIMA)
    assert walked(plan, Says.NOT_YET).phase is Phase.PROMOTED


@given(shadows)
def test_a_shadow_ends_as_it_was(plan: Plan) -> None:
    """By itself, after its time and its copies."""
    assert walked(plan).phase is Phase.PROMOTED


@pytest.mark.parametrize(("decide", "undecided"), list(product(Decide, [End.RESTORE, End.KEEP])))
def test_an_ab_test_with_a_watch_ends(decide: Decide, undecided: End) -> None:
    """Whichever way it is decided: its watch needs its time, and no verdict."""
    plan = ab_test({2: 300_000}, duration_s=60, decide=decide, undecided=undecided, watch_s=60)
    assert walked(plan, Says.NOT_YET).phase is Phase.PROMOTED


def test_what_could_never_end_is_no_plan() -> None:
    """An A/B test without time or sample would end at once; a stage that waits for nobody's requests never."""
    with pytest.raises(PlanError, match="would end at once"):
        ab_test({2: 5})
    with pytest.raises(PlanError, match="would never come"):
        Stage("look", Does.BAKE, needs=Needs.VERDICT)
