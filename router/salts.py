"""Whose units come first: each rollout draws by a salt of its own, so that it is not always the same people who try.

The salt is the rollout's name, which is drawn anew for each, or what the plan says. It is set once, when the rollout
starts, and stands in its plan from then on: every step, every share set by hand, a retry and the split that is kept at
the end draw by it, so that whoever has the new version keeps it while its share grows.

The policy from before draws by its own. Where it has a split already, which the rollout takes over, that salt stays and
each arm that has a share begins where it began: so nobody loses what an arm that grows has given them. Where the plan
leaves no room for that (an arm that begins in the middle cannot grow to all traffic) nothing is kept: the units are
dealt out anew, by a salt of its own, and it is said. Beside a policy set by hand the salt stays, for that has its own.

Copies are drawn by another salt than shares, or a sample would hold one arm only. It is the rollout's own as well: what
is found in its pairs of answers is kept under it, so that two rollouts of one version are never taken for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from router.errors import PlanError
from router.plan import Plan
from router.policy import USUAL_SHADOW, Policy
from router.stage import Stage

DEALT_ANEW: Final = (
    "the arms of the earlier split cannot grow where they are, so its units are dealt out anew: who had a version may "
    "get another"
)


def salted(plan: Plan, base: Policy, name: str) -> Plan:
    """The plan with the salt that its rollout draws by, and where the arms begin that it takes over.

    Args:
        plan: that is to start; one that names a salt keeps it.
        base: the policy from before.
        name: of the rollout.
    """
    own = replace(plan, salt=name) if draws_anew(plan, base) else settled(plan, base)
    stages = tuple(_with_own_copies(stage, name) for stage in own.stages)
    return own if stages == own.stages else replace(own, stages=stages)


def settled(plan: Plan, base: Policy) -> Plan:
    """The plan with the arms of an earlier split where they are, if it draws by the same salt and has room for that."""
    if not _taken_over(base) or plan.salt not in {"", base.salt}:
        return plan
    return _around(plan, base) or plan


def draws_anew(plan: Plan, base: Policy) -> bool:
    """Whether a rollout of this plan gets a salt of its own."""
    splits = any(share for stage in plan.stages for share in stage.shares.values())
    by_hand = any(stage.policy is not None for stage in plan.stages)
    kept = bool(_taken_over(base)) and _around(plan, base) is not None
    return not plan.salt and splits and not by_hand and not kept


def deals_anew(plan: Plan, base: Policy) -> bool:
    """Whether a rollout of this plan takes over a split, and has to deal out its units anew."""
    return bool(_taken_over(base)) and draws_anew(plan, base)


def _with_own_copies(stage: Stage, name: str) -> Stage:
    """The stage with the usual salt of copies exchanged for the rollout's own; one that was named stays."""
    shadows = [replace(one, salt=f"{name} shadow") if one.salt == USUAL_SHADOW else one for one in stage.shadows]
    return replace(stage, shadows=tuple(shadows))


def _taken_over(base: Policy) -> Mapping[int, int]:
    """Where the arms begin that have a share."""
    return {arm.version: arm.offset_ppm for arm in base.arms if arm.share_ppm}


def _around(plan: Plan, base: Policy) -> Plan | None:
    """The plan around the arms of the earlier split; None where it has no room for them where they are."""
    named = {version for stage in plan.stages for version in stage.shares}
    try:
        return replace(plan, fixed={one: at for one, at in _taken_over(base).items() if one in named})
    except PlanError:
        return None
