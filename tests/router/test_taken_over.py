"""A rollout that takes over an earlier split leaves its arms where they are, or says that it deals all out anew."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import PlanError, RolloutError
from router.plan import End, Kind, Plan, policy_for
from router.policy import WHOLE, Arm, Policy
from router.rollout import Rollout, start
from router.rollout_form import rollout_as_dict, rollout_from
from router.salts import deals_anew, draws_anew, settled
from router.stage import Needs, Stage
from router.strategies import CanaryStep, canary
from tests.examples import examples
from tests.router.cases import STABLE, shares
from tests.router.test_plan import holds, owned

BASE = Policy(STABLE, salt="base")
MIDDLE = replace(BASE, arms=(Arm(2, 0), Arm(3, 100_000, 500_000)))
MORE = Plan(Kind.CANARY, (Stage("20 %", shares={3: 200_000}, needs=Needs.MINIMA),), End.PROMOTE, candidate=3)


def every_policy(rollout: Rollout) -> list[Policy]:
    """What it runs from before its start to its last stage."""
    return [rollout.base, *(policy_for(rollout.plan, nth, rollout.base) for nth in range(rollout.end))]


@settings(max_examples=examples(600), deadline=None)
@given(st.lists(shares, min_size=1, max_size=3), st.lists(shares, min_size=1, max_size=3), st.data())
def test_a_growing_arm_loses_no_unit_also_from_a_split_that_was_there(
    before: list[dict[int, int]], several: list[dict[int, int]], data: st.DataObject
) -> None:
    """And a shrinking one gains none. Where no layout has room for that, nothing is kept, and it is said."""
    base = BASE
    for one in before:
        base = base.with_shares(
            data.draw(st.sampled_from([one, {version: share // 3 for version, share in one.items()}]))
        )
    named = [{**dict.fromkeys((arm.version for arm in base.arms), 0), **one} for one in several]
    stages = tuple(Stage(f"{n}", shares=one, needs=Needs.MINIMA) for n, one in enumerate(named))
    try:
        plan = Plan(Kind.CUSTOM, stages, End.RESTORE)
    except PlanError:
        return
    rollout = start("r1", plan, base, 0.0)
    shared = any(arm.share_ppm for arm in base.arms)
    policies = every_policy(rollout) if shared else every_policy(rollout)[1:]
    if {policy.salt for policy in policies} != {policies[0].salt}:
        assert deals_anew(plan, base)
        assert {policy.salt for policy in policies[1:]} == {"r1"}
        return
    assert not deals_anew(plan, base)
    for version, (had, has) in product(rollout.plan.places, product(policies, repeat=2)):
        owns, owned_before = owned(has, version), owned(had, version)
        assert holds(owns, owned_before) if len(owned_before) <= len(owns) else holds(owned_before, owns)


def test_an_arm_in_the_middle_grows_from_where_it_is() -> None:
    """By the salt that it has: that salt alone would be of no use to units that change places."""
    policy = policy_for(start("r1", MORE, MIDDLE, 0.0).plan, 0, MIDDLE)
    assert (policy.salt, owned(policy, 3)) == ("base", range(500_000, 700_000))
    assert not draws_anew(MORE, MIDDLE)


def test_others_find_room_around_it() -> None:
    """On both sides, and with room between them for shares set by hand."""
    wanted = {2: 300_000, 3: 150_000, 4: 200_000}
    plan = Plan(Kind.CUSTOM, (Stage("all", shares=wanted, needs=Needs.MINIMA),), End.KEEP)
    policy = policy_for(settled(plan, MIDDLE), 0, MIDDLE)
    assert owned(policy, 3) == range(500_000, 650_000)
    assert {version: len(owned(policy, version)) for version in wanted} == wanted


def test_what_has_no_room_where_it_is_is_dealt_out_anew_and_it_is_said() -> None:
    """An arm that begins in the middle cannot grow to all traffic: to keep the salt would promise what cannot be."""
    plan = canary(3, [CanaryStep(200_000), CanaryStep(WHOLE)])
    assert deals_anew(plan, MIDDLE)
    assert policy_for(start("r1", plan, MIDDLE, 0.0).plan, 0, MIDDLE).salt == "r1"
    assert not deals_anew(plan, BASE)
    assert not deals_anew(MORE, MIDDLE)


def test_whoever_names_another_salt_deals_out_anew() -> None:
    """Then no place is worth keeping; by the salt that the model has, each is."""
    assert settled(replace(MORE, salt="mine"), MIDDLE).places == {3: 0}
    assert settled(replace(MORE, salt="base"), MIDDLE).places == {3: 500_000}


def test_where_it_began_is_stored_with_the_rollout() -> None:
    """One that was stored before this was goes on where its plan alone had put its arms: nobody moves under way."""
    rollout = start("r1", MORE, MIDDLE, 0.0)
    said = rollout_as_dict(rollout)
    assert rollout_from(said) == rollout
    assert rollout_from(said).plan.places == {3: 500_000}
    del said["fixed"]
    assert rollout_from(said).plan.places == {3: 0}
    assert "fixed" not in rollout_as_dict(start("r1", MORE, BASE, 0.0))


@pytest.mark.parametrize("fixed", [5, {"3": -1}, {"3": 900_000}, {"3": "x"}, {"x": 1}])
def test_a_place_that_cannot_be_is_refused(fixed: object) -> None:
    """As every other field of what is stored."""
    with pytest.raises(RolloutError, match="no rollout of form 1"):
        rollout_from({**rollout_as_dict(start("r1", MORE, MIDDLE, 0.0)), "fixed": fixed})
