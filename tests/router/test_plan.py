"""A plan is right or it cannot be built; shares always sum; nobody flips back and forth, with any number of arms."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.agreement import Comparison
from router.choose import bucket_of, drawn
from router.errors import PlanError, PolicyError
from router.match import Match
from router.observed import Observed, Reading
from router.places import places_of
from router.plan import MOST_ARMS, End, Kind, Plan, grows, policy_for
from router.policy import WHOLE, Arm, Policy, Role, Rule, Shadow
from router.stage import Does, Needs, Stage
from router.strategies import CanaryStep, canary
from tests.examples import examples
from tests.router.cases import STABLE, plans, shares
from tests.router.test_choose import binomial_bounds

BASE = Policy(STABLE, salt="base", unit_header="user", allow_override=True)


def owned(policy: Policy, version: int) -> range:
    """The buckets of an arm: one range, so nothing needs to be sampled."""
    return next((range(start, end) for start, end, arm in policy.ranges if arm.version == version), range(0))


def holds(larger: range, smaller: range) -> bool:
    """Whether every bucket of the one is in the other."""
    return not smaller or (smaller[0] in larger and smaller[-1] in larger)


def policies_of(plan: Plan) -> list[Policy]:
    """The policy of every stage, and of the end."""
    return [policy_for(plan, stage, BASE, chosen=plan.candidate) for stage in range(len(plan.stages) + 1)]


@settings(max_examples=examples(400))
@given(plans())
def test_the_shares_of_every_stage_always_sum(plan: Plan) -> None:
    """To exactly all traffic, each arm having what its stage says."""
    for policy, stage in zip(policies_of(plan), plan.stages, strict=False):
        assert sum(policy.shares().values()) == WHOLE
        if stage.policy is not None:
            assert policy == stage.policy
        elif stage.does is not Does.WATCH:
            assert {v: s for v, s in policy.shares().items() if v != STABLE} == dict(stage.shares)


shares_of_many = st.lists(st.integers(0, WHOLE) | st.sampled_from([0, 1, 100]), min_size=1, max_size=MOST_ARMS).map(
    lambda raw: {version: share // len(raw) for version, share in enumerate(raw, start=2)}
)


@settings(max_examples=examples(1_000), deadline=None)
@given(st.lists(shares | shares_of_many, min_size=2, max_size=5), st.lists(shares | shares_of_many, max_size=3))
def test_a_growing_arm_loses_no_unit_and_a_shrinking_one_gains_none(
    several: list[dict[int, int]], by_hand: list[dict[int, int]]
) -> None:
    """Over any stages that a plan may have, and shares set by hand in between, for every arm at once."""
    stages = tuple(Stage(f"{n}", shares=given, needs=Needs.MINIMA) for n, given in enumerate(several))
    if places_of(several) is None:
        with pytest.raises(PlanError, match="no places"):
            Plan(Kind.CUSTOM, stages, End.RESTORE)
        return
    plan = Plan(Kind.CUSTOM, stages, End.RESTORE)
    policies = [policy_for(plan, stage, BASE) for stage in range(len(stages))]
    for given_by_hand in by_hand:
        try:
            policies.append(
                policy_for(plan, 0, BASE, shares={v: s for v, s in given_by_hand.items() if v in plan.places})
            )
        except PolicyError:  # no room: refused, never squeezed in
            continue
    for version in plan.places:
        for before, after in product(policies, repeat=2):
            had, has = owned(before, version), owned(after, version)
            assert holds(has, had) if len(had) <= len(has) else holds(had, has)


@given(st.lists(shares, min_size=1, max_size=4))
def test_arms_whose_largest_shares_fit_beside_each_other_always_have_places(several: list[dict[int, int]]) -> None:
    """Each place leaves room for the largest share, whichever stage it is in."""
    largest = {v: max(one.get(v, 0) for one in several) for one in several for v in one}
    places = places_of(several)
    if sum(largest.values()) <= WHOLE:
        assert places is not None
    if places is not None:
        for one in several:
            Policy(STABLE, tuple(Arm(v, share, places[v]) for v, share in one.items()))


def test_two_arms_may_have_everything_in_turn() -> None:
    """They have one place, which never both of them own."""
    assert places_of([{2: WHOLE}, {2: 0, 3: WHOLE}]) == {2: 0, 3: 0}
    assert places_of([{2: 600_000, 3: 400_000}, {2: 400_000, 3: 600_000}]) is None


def test_a_million_units_split_as_the_stage_says() -> None:
    """Four arms at 0.01 %, 1 %, 10 % and 50 %, each within the 99.99 % bounds of the binomial."""
    wanted = {2: 100, 3: 10_000, 4: 100_000, 5: 500_000}
    stages = (Stage("small", shares=dict.fromkeys(wanted, 1)), Stage("trial", shares=wanted))
    policy = policy_for(Plan(Kind.CUSTOM, stages, End.RESTORE, salt="rollout-7"), 1, BASE)
    units = 1_000_000
    counted = Counter(drawn(policy, b"unit-%d" % unit).version for unit in range(units))
    for version, share in wanted.items():
        low, high = binomial_bounds(units, share / WHOLE, 0.00005)
        assert low <= counted[version] <= high


@given(st.binary(max_size=16), st.integers(0, WHOLE))
def test_weight_0_is_none(unit: bytes, largest: int) -> None:
    """An arm that has nothing at this stage is nobody's, whatever it will have later."""
    stages = (Stage("none", shares={2: 0}, needs=Needs.MINIMA), Stage("some", shares={2: largest}, needs=Needs.MINIMA))
    assert drawn(policy_for(Plan(Kind.CUSTOM, stages, End.RESTORE), 0, BASE), unit).version == STABLE


def test_a_rollouts_salt_is_its_own() -> None:
    """Mixed into every hash while it runs, kept when it ends; a plan without one leaves the model's."""
    plan = canary(2, [CanaryStep(500_000)])
    assert [policy.salt for policy in policies_of(replace(plan, salt="mine"))] == ["mine", "mine"]
    assert [policy.salt for policy in policies_of(plan)] == ["base", "base"]
    assert bucket_of(b"mine", b"u") != bucket_of(b"base", b"u")


@settings(max_examples=examples(200))
@given(plans())
def test_what_a_plan_does_not_speak_of_stays(plan: Plan) -> None:
    """Unit, overrides, rules and shadows of the policy from before."""
    base = replace(BASE, rules=(Rule(8, (Match("x", ("a",)),)),), shadows=(Shadow(9),))
    for stage in range(len(plan.stages) + 1):
        policy = policy_for(plan, stage, base, chosen=plan.candidate)
        if policy in {one.policy for one in plan.stages}:
            continue
        assert (policy.unit_header, policy.allow_override) == ("user", True)
        assert set(base.rules) <= set(policy.rules)
        assert set(base.shadows) <= set(policy.shadows)


def test_a_stages_rules_come_before_those_from_before() -> None:
    """And its shadows take the place of those of the same version."""
    rule, other = Rule(2, (Match("x", ("a",)),)), Rule(3, (Match("x", ("a",)),))
    stage = Stage("s", rules=(rule,), shadows=(Shadow(9, 5),))
    base = replace(BASE, rules=(other,), shadows=(Shadow(8), Shadow(9)))
    policy = policy_for(Plan(Kind.CUSTOM, (stage,), End.RESTORE), 0, base)
    assert policy.rules == (rule, other)
    assert policy.shadows == (Shadow(8), Shadow(9, 5))


@given(st.integers(1, WHOLE), st.integers(1, WHOLE))
def test_stable_is_asked_again_for_a_part_of_what_is_copied(sample: int, noise: int) -> None:
    """By the same salt, so that the units of the one shadow are among those of the other; and not in the plan's end."""
    stage = Stage("s", shadows=(Shadow(9, sample, "mine", max_per_s=3, noise_ppm=noise),))
    plan = Plan(Kind.CUSTOM, (stage,), End.RESTORE)
    policy = policy_for(plan, 0, BASE)
    part = sample * noise // WHOLE
    again = (Shadow(STABLE, part, "mine", max_per_s=3),) if part else ()
    assert policy.shadows == (Shadow(9, sample, "mine", max_per_s=3), *again)
    assert part <= sample
    assert policy_for(plan, 1, BASE).shadows == ()


@settings(max_examples=examples(200))
@given(plans())
def test_an_output_is_observed_while_its_values_are_compared(plan: Plan) -> None:
    """In every stage that splits traffic by itself; not where a policy was set by hand, and never after the end."""
    wanted = None if plan.terms is None or len(plan.terms.guardrails) == 2 else Observed("label", Reading.SCORE)
    for policy, stage in zip(policies_of(plan), plan.stages, strict=False):
        runs = stage.does is not Does.WATCH and stage.policy is None
        assert policy.observes == (wanted if runs else None)
    assert policies_of(plan)[-1].observes is None


def test_answers_are_compared_as_the_plan_says_while_its_copies_are_made() -> None:
    """In a stage without copies, and after the end, what the policy from before says of them stays."""
    before, own = Comparison(keep=1), Comparison(keep=2)
    stages = (Stage("copies", shadows=(Shadow(2),)), Stage("none", Does.BAKE, needs=Needs.MINIMA))
    for said, found in ((own, [own, before, before]), (None, [before, before, before])):
        plan = Plan(Kind.CUSTOM, stages, End.PROMOTE, candidate=2, comparison=said)
        base = replace(BASE, comparison=before)
        assert [policy_for(plan, stage, base, chosen=2).comparison for stage in range(3)] == found


def test_the_decisive_stage_is_where_the_candidate_stands_beside_stable_for_the_last_time() -> None:
    """Counted from 0; none where nothing is promoted, or where it never does."""
    steps = [CanaryStep(share) for share in (10_000, 500_000, WHOLE)]
    plan = canary(2, steps, watch_s=60)
    assert plan.decisive == 1
    assert canary(2, steps[2:]).decisive is None
    assert replace(plan, stages=plan.stages[:3], end=End.KEEP).decisive is None
    others = tuple(replace(one, shares={3: 10_000}) for one in plan.stages[:2])
    assert replace(plan, stages=(*others, *plan.stages[2:])).decisive is None


def test_only_the_candidate_of_a_promotion_is_a_canary() -> None:
    """The others are arms side by side."""
    stage = Stage("s", shares={2: 10, 3: 10})
    for end, role in ((End.PROMOTE, Role.CANARY), (End.KEEP, Role.ARM)):
        arms = policy_for(Plan(Kind.CUSTOM, (stage,), end, candidate=2), 0, BASE).arms
        assert {arm.version: arm.role for arm in arms} == {2: role, 3: Role.ARM}


def test_each_end_leaves_what_it_says() -> None:
    """The candidate, the winner, the split, or what was before; the old version is warm while somebody watches."""
    run, watch = Stage("run", shares={2: 300_000}), Stage("watch", Does.WATCH, min_s=60)
    promoted = Plan(Kind.CUSTOM, (run, watch), End.PROMOTE, candidate=2)
    assert policy_for(promoted, 1, BASE, chosen=2) == replace(BASE, stable=2, arms=(Arm(STABLE, 0),))
    assert policy_for(promoted, 2, BASE, chosen=2) == replace(BASE, stable=2)
    won = replace(promoted, end=End.WINNER, candidate=None)
    assert policy_for(won, 2, BASE, chosen=2) == replace(BASE, stable=2)
    assert policy_for(won, 2, BASE, chosen=STABLE) == policy_for(won, 2, BASE) == BASE
    kept = replace(promoted, end=End.KEEP)
    assert policy_for(replace(won, undecided=End.KEEP), 2, BASE) == policy_for(kept, 2, BASE)
    assert policy_for(kept, 1, BASE).shares() == policy_for(kept, 2, BASE).shares() == {1: 700_000, 2: 300_000}
    assert policy_for(kept, 2, BASE, shares={2: 5}).shares() == {1: WHOLE - 5, 2: 5}
    assert policy_for(Plan(Kind.SHADOW, (run,), End.RESTORE), 1, BASE) == BASE


def test_a_promoted_version_is_nobodys_shadow() -> None:
    """It answers, so a copy would be for itself."""
    plan = canary(2, [CanaryStep(WHOLE)])
    assert policy_for(plan, 1, replace(BASE, shadows=(Shadow(2), Shadow(3)))).shadows == (Shadow(3),)


def test_a_policy_set_by_hand_is_taken_as_it_is() -> None:
    """Also over an earlier split, and with another stable version: a hand may do what a plan may not."""
    base = replace(BASE, arms=(Arm(3, 100_000, 500_000),))
    policy = Policy(2, (Arm(4, 5, 7),), unit_header="device")
    plan = Plan(Kind.MANUAL, (Stage("by hand", policy=policy), Stage("watch", Does.WATCH)), End.KEEP)
    assert [policy_for(plan, stage, base) for stage in range(3)] == [policy] * 3


@pytest.mark.parametrize(
    ("plan", "base", "why"),
    [
        (canary(1, [CanaryStep(5)]), BASE, "is stable"),
        (Plan(Kind.BLUE_GREEN, (Stage("w", Does.WATCH),), End.PROMOTE, candidate=1), BASE, "stable already"),
        (canary(2, [CanaryStep(5)]), replace(BASE, arms=(Arm(3, 200_000),)), "has 20 % by an earlier split"),
    ],
)
def test_a_plan_that_does_not_fit_the_policy_is_refused(plan: Plan, base: Policy, why: str) -> None:
    """Stable as an arm or candidate, or an earlier split that it does not name."""
    with pytest.raises(PlanError, match=why):
        policy_for(plan, 0, base)


def test_what_grows_is_told() -> None:
    """A larger share, or a rule of its own; stable is not asked."""
    before = Policy(1, (Arm(2, 10), Arm(3, 10, 500)))
    assert grows(before, Policy(1, (Arm(2, 5), Arm(3, 11, 500))), 1) == (3,)
    assert grows(before, Policy(1, rules=(Rule(4, (Match("x", ("a",)),)),)), 1) == (4,)
    assert grows(before, Policy(2), 1) == (2,)
    assert grows(before, Policy(1), 1) == ()


RUN = Stage("run", shares={2: 5})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": ""}, "no name"),
        ({"does": "run"}, "none of those"),
        ({"needs": None}, "none of those"),
        ({"approval": 1}, "none of those"),
        ({"shares": {0: 5}}, "no version"),
        ({"shares": {2: 0.5}}, "whole number"),
        ({"shares": {2: WHOLE, 3: 1}}, "at most 100 %"),
        ({"min_s": -1}, "min_s"),
        ({"min_requests": True}, "min_requests"),
        ({"does": Does.BAKE}, "only stages that run"),
        ({"does": Does.WATCH, "shares": {}, "rules": (Rule(2, (Match("x", ("a",)),)),)}, "neither shadows nor rules"),
        ({"shares": {}}, "would never come"),
        ({"policy": BASE}, "has a policy set by hand"),
        ({"policy": "all"}, "none of those"),
        ({"shares": {}, "needs": Needs.MINIMA, "min_requests": 5}, "would never come"),
        ({"shadows": [Shadow(2)]}, "tuples"),
        ({"shadows": (Shadow(2), Shadow(2, 5))}, "twice"),
        ({"shadows": (Shadow(2, noise_ppm=1), Shadow(3, noise_ppm=1))}, "for one of them"),
        ({"name": "", "min_s": -1}, "no name.*; min_s"),
    ],
)
def test_a_stage_that_cannot_be_is_not_built(fields: dict[str, Any], why: str) -> None:
    """Every mistake is named, not the first only."""
    with pytest.raises(PlanError, match=why):
        replace(RUN, **fields)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"stages": ()}, "1 to 100 stages"),
        ({"stages": (RUN, RUN)}, "two stages are named 'run'"),
        ({"stages": (Stage("w", Does.WATCH), RUN)}, "only the last"),
        ({"stages": (replace(RUN, shares=dict.fromkeys(range(2, 9), 1)),)}, "at most 6 arms"),
        ({"end": End.RESTORE, "stages": (RUN, Stage("w", Does.WATCH))}, "nothing that could be watched"),
        ({"candidate": None}, "names its candidate"),
        ({"candidate": 0}, "no version"),
        ({"end": End.WINNER, "stages": (Stage("s", shadows=(Shadow(2),)),)}, "has arms"),
        ({"end": End.KEEP, "stages": (Stage("w", Does.WATCH),)}, "nothing to keep"),
        ({"end": End.WINNER, "winner_by_hand": True, "approve_end": True}, "no other approval"),
        ({"end": "promote"}, "none of those"),
        ({"undecided": End.PROMOTE}, "undecided"),
        ({"salt": "a\0b"}, "salt"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"max_age_s": None}, "max_age_s"),
        ({"freezes": ("weekend",)}, "freezes"),
        ({"salt": 5, "max_age_s": 0}, "salt.*; max_age_s"),
    ],
)
def test_a_plan_that_cannot_be_is_not_built(fields: dict[str, Any], why: str) -> None:
    """Every mistake is named, not the first only."""
    with pytest.raises(PlanError, match=why):
        Plan(**{"kind": Kind.CANARY, "stages": (RUN,), "end": End.PROMOTE, "candidate": 2, **fields})
