"""Whoever newly gets traffic has to be up, and 'newly' is counted from what runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from router.advance import tick
from router.commands import SetShares, ask
from router.errors import RolloutError
from router.freeze import Dated
from router.plan import given
from router.policy import WHOLE, Arm, Policy
from router.rollout import Rollout, Seen, policy_of, start
from router.strategies import CanaryStep, canary
from tests.router.cases import policies, shares

NOW_S = 1_800_000_000.0
PLAN = canary(2, [CanaryStep(250_000, 100), CanaryStep(500_000, 100)])


@drawn(policies, shares)
def test_those_with_traffic_are_those_that_a_request_or_a_copy_can_reach(policy: Policy, split: dict[int, int]) -> None:
    """An arm of share 0 and a shadow that samples nothing are named, and have no traffic."""
    whole = policy.with_shares(split)
    reached = {version for version, share in whole.shares().items() if share} | {policy.stable}
    reached |= {one.version for one in policy.rules} | {one.version for one in policy.shadows if one.sample_ppm}
    assert given(whole) == reached
    assert given(whole) <= set(whole.versions)


@drawn(
    st.dictionaries(st.sampled_from([2, 3]), st.just(0), min_size=1),
    st.frozensets(st.sampled_from([1, 2, 3])),
)
def test_nothing_that_is_not_up_gets_traffic_that_it_had_not(left: dict[int, int], up: frozenset[int]) -> None:
    """Whatever arms of share 0 an earlier split has left: the first stage waits for its version."""
    base = Policy(1, tuple(Arm(version, share) for version, share in left.items()), salt="s")
    rollout = start("r1", PLAN, base, NOW_S)
    after = tick(rollout, Seen(NOW_S, up)).rollout
    assert given(policy_of(after)) - given(base) <= up
    assert (after.entered is not None) is (2 in up)


def test_an_arm_without_a_share_that_stays_without_one_need_not_be_up() -> None:
    """What an earlier split has left behind holds nothing up, not even the way to the end."""
    base = Policy(1, (Arm(3, 0),), salt="s")
    after = tick(start("r1", PLAN, base, NOW_S), Seen(NOW_S, frozenset({1, 2}))).rollout
    assert after.entered is not None


def running() -> Rollout:
    """A rollout at 25 %, with a freeze that begins a while later."""
    freeze = Dated("later", "2027-01-15T09:00:00+00:00", "2027-01-16T09:00:00+00:00")
    rollout = start("r1", replace(PLAN, freezes=(freeze,)), Policy(1, salt="s"), NOW_S)
    return tick(rollout, Seen(NOW_S, frozenset({1, 2}))).rollout


@drawn(st.integers(1, 250_000))
def test_a_freeze_holds_shares_that_are_more_than_what_runs(share: int) -> None:
    """Though they are no more than the rollout had, before the store forgot."""
    rollout, frozen_s = running(), NOW_S + 7_200
    lowers = SetShares(who="ada", shares={2: share})
    seen = Seen(frozen_s, frozenset({1, 2}))
    assert policy_of(ask(rollout, lowers, seen).rollout).shares()[2] == share
    with pytest.raises(RolloutError, match="freeze"):
        ask(rollout, lowers, seen._replace(runs=rollout.base))


def test_shares_set_by_hand_go_to_who_is_up() -> None:
    """An arm that had nothing may be gone by now; one that has traffic may be given more or less."""
    rollout = running()
    none = ask(rollout, SetShares(who="ada", shares={2: 0}), Seen(NOW_S)).rollout
    more = SetShares(who="ada", shares={2: WHOLE // 2})
    with pytest.raises(RolloutError, match="version 2 is not up"):
        ask(none, more, Seen(NOW_S, frozenset({1})))
    assert policy_of(ask(none, more, Seen(NOW_S, frozenset({1, 2}))).rollout).shares()[2] == WHOLE // 2
    assert policy_of(ask(rollout, more, Seen(NOW_S, frozenset({1}))).rollout).shares()[2] == WHOLE // 2
