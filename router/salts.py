"""Whose units come first: each rollout draws by a salt of its own, so that it is not always the same people who try.

The salt is the rollout's name, which is drawn anew for each, or what the plan says. It is set once, when the rollout
starts, and stands in its plan from then on: every step, every share set by hand, a retry and the split that is kept at
the end draw by it, so that whoever has the new version keeps it while its share grows.

The policy from before draws by its own. Where it has a split already, which the rollout takes over, that salt stays:
another one would deal out those units anew. So it does beside a policy set by hand, which has a salt of its own.
"""

from __future__ import annotations

from dataclasses import replace

from router.plan import Plan
from router.policy import Policy


def salted(plan: Plan, base: Policy, name: str) -> Plan:
    """The plan with the salt that its rollout draws by.

    Args:
        plan: that is to start; one that names a salt keeps it.
        base: the policy from before.
        name: of the rollout.
    """
    return replace(plan, salt=name) if draws_anew(plan, base) else plan


def draws_anew(plan: Plan, base: Policy) -> bool:
    """Whether a rollout of this plan gets a salt of its own."""
    splits = any(share for stage in plan.stages for share in stage.shares.values())
    by_hand = any(stage.policy is not None for stage in plan.stages)
    taken_over = any(arm.share_ppm for arm in base.arms)
    return not plan.salt and splits and not by_hand and not taken_over
