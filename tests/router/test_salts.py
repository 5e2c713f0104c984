"""Each rollout draws by a salt of its own, and by one alone, from its first step to what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.advance import tick
from router.choose import drawn
from router.commands import Retry, RollBack, SetShares, ask
from router.plan import Kind, Plan, policy_for
from router.policy import WHOLE, Arm, Policy, Shadow
from router.rollout import Evidence, Rollout, Says, Seen, policy_of, start
from router.rollout_form import rollout_as_dict, rollout_from
from router.salts import draws_anew, salted
from router.strategies import CanaryStep, ab_test, blue_green, canary, manual, put_together, shadow
from tests.examples import examples

BASE = Policy(1, salt="base")
STEPS = canary(2, [CanaryStep(10_000), CanaryStep(250_000), CanaryStep(WHOLE)], watch_s=60)
UP = frozenset(range(1, 10))
UNITS = [b"unit-%d" % number for number in range(20_000)]


def first_units(rollout: Rollout) -> frozenset[bytes]:
    """Those that its first stage shows the candidate to."""
    policy = policy_for(rollout.plan, 0, rollout.base)
    return frozenset(unit for unit in UNITS if drawn(policy, unit).version == 2)


def walked(rollout: Rollout) -> Iterator[Rollout]:
    """Every state that it walks through by itself."""
    now_s = 0.0
    while not rollout.over:
        now_s += 100
        rollout = tick(rollout, Seen(now_s, UP, Evidence(rollout.leg, now_s, Says.PROMOTE))).rollout
        yield rollout


def test_successive_rollouts_do_not_begin_with_the_same_units() -> None:
    """Two rollouts of one plan on one policy share no more of their first units than chance gives them."""
    first, second = (first_units(start(name, STEPS, BASE, 0)) for name in ("ro_000000000001", "ro_000000000002"))
    assert len(first) > 100
    assert len(first & second) < 20, "1 % of 1 % of 20,000 units are 2"


@settings(max_examples=examples(100))
@given(st.sampled_from(UNITS))
def test_one_salt_from_the_first_step_to_what_is_left(unit: bytes) -> None:
    """So whoever has the new version keeps it at every step, and nobody is dealt out anew on the way."""
    rollout = start("ro_000000000001", STEPS, BASE, 0)
    states = list(walked(rollout))
    assert {policy_of(one).salt for one in states} == {"ro_000000000001"}
    given_it = [drawn(policy_of(one), unit).version == 2 for one in states]
    assert given_it == sorted(given_it)


def test_shares_by_hand_and_a_retry_keep_the_salt() -> None:
    """It is drawn once: what goes back has the salt from before, and begins again with its own."""
    rollout = tick(start("r1", STEPS, BASE, 0), Seen(1, UP)).rollout
    rollout = ask(rollout, SetShares(who="ada", shares={2: 30_000}), Seen(2, UP)).rollout
    assert policy_of(rollout).salt == "r1"
    rollout = ask(rollout, RollBack(who="ada", why="errors"), Seen(3, UP)).rollout
    assert policy_of(rollout) == BASE
    rollout = ask(rollout, Retry(who="ada", again=True), Seen(4, UP)).rollout
    assert policy_of(tick(rollout, Seen(5, UP)).rollout).salt == "r1"


def test_a_rollout_that_is_read_back_draws_as_it_did() -> None:
    """The salt is in what is stored; one that was stored without draws by the model's, as it always has."""
    rollout = tick(start("r1", STEPS, BASE, 0), Seen(1, UP)).rollout
    assert rollout_from(rollout_as_dict(rollout)) == rollout
    old = rollout_as_dict(rollout)
    old["plan"]["salt"] = ""
    assert policy_of(rollout_from(old)).salt == "base"


def test_a_salt_that_is_named_is_taken() -> None:
    """Whoever wants the same units again names the same salt."""
    named = replace(STEPS, salt="mine")
    assert salted(named, BASE, "r1") is named
    assert first_units(start("r1", named, BASE, 0)) == first_units(start("r2", named, BASE, 0))


@pytest.mark.parametrize(
    ("plan", "anew"),
    [
        (STEPS, True),
        (ab_test({2: 10, 3: 10}, duration_s=5), True),
        (put_together(shadow(Shadow(2), duration_s=5), STEPS), True),
        (shadow(Shadow(2), duration_s=5), False),
        (blue_green(2), False),
        (manual(Policy(1, (Arm(2, 5),), salt="hand")), False),
        (Plan(Kind.CUSTOM, (*manual(Policy(1)).stages, *STEPS.stages), STEPS.end, 2), False),
    ],
    ids=["canary", "a/b", "shadow and canary", "shadow", "blue-green", "manual", "by hand and canary"],
)
def test_who_splits_draws_anew(plan: Plan, anew: bool) -> None:  # noqa: FBT001 (a row of the table)
    """What deals out no units needs no salt, and a policy set by hand keeps its own."""
    assert draws_anew(plan, BASE) is anew
    assert (start("r1", plan, BASE, 0).plan.salt == "r1") is anew


def test_the_copies_of_each_rollout_are_its_own() -> None:
    """Drawn by a salt that no other rollout has, and that is not the one of its shares; a salt that is named stays."""
    plan = put_together(shadow(Shadow(2), duration_s=5), STEPS)
    policies = [policy_for(start(name, plan, BASE, 0).plan, 0, BASE) for name in ("r1", "r2")]
    salts = [one.shadows[0].salt for one in policies]
    assert len({*salts, *(one.salt for one in policies)}) == 4
    named = put_together(shadow(Shadow(2, salt="mine"), duration_s=5), STEPS)
    assert start("r1", named, BASE, 0).plan.stages[0].shadows[0].salt == "mine"


def test_a_split_that_is_taken_over_keeps_its_units() -> None:
    """Who had the version by the earlier split has it in the rollout: its salt stays, and so does its place."""
    base = BASE.with_shares({2: 10_000})
    rollout = start("r1", canary(2, [CanaryStep(250_000)]), base, 0)
    had = {unit for unit in UNITS if drawn(base, unit).version == 2}
    assert had
    assert had <= first_units(rollout)
