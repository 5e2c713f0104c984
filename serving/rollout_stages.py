"""Every stage of a plan with its policy, computed here: on a stable version alone, for looking at a plan offline.

The API computes the same on the policy that really runs, and says whether it can be started there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.codec import policy_as_dict
from router.errors import RouterError
from router.plan import Plan, policy_for
from router.policy import Policy
from serving.errors import SluiceError

if TYPE_CHECKING:
    from serving.control.rollouts_client import StageRow

END: Final = "the end"
"""What the last row is called: what is left when all stages are passed."""


def stages_on(plan: Plan, stable: int) -> list[StageRow]:
    """The stages, and what is left at the end.

    Raises:
        SluiceError: the plan cannot be carried out on that version.
    """
    base = Policy(stable=stable)
    try:
        rows = [_row(plan, nth, base) for nth in range(len(plan.stages))]
        left = policy_for(plan, len(plan.stages), base, chosen=plan.candidate)
    except RouterError as error:
        sentence = f"this plan cannot be carried out on version {stable}: {error}"
        raise SluiceError(sentence, "name the version that is stable now with --stable") from error
    return [*rows, _end(plan, left)]


def _row(plan: Plan, nth: int, base: Policy) -> StageRow:
    stage, policy = plan.stages[nth], policy_for(plan, nth, base, chosen=plan.candidate)
    return {
        "name": stage.name,
        "does": stage.does.value,
        "shares": _shares(policy),
        "min_s": stage.min_s,
        "min_requests": stage.min_requests,
        "needs": stage.needs.value,
        "approval": stage.approval,
        "flip": stage.flip,
        "policy": policy_as_dict(policy),
    }


def _end(plan: Plan, policy: Policy) -> StageRow:
    return {
        "name": END,
        "does": "end",
        "shares": _shares(policy),
        "min_s": 0,
        "min_requests": 0,
        "needs": "",
        "approval": plan.approve_end or plan.winner_by_hand,
        "flip": False,
        "policy": policy_as_dict(policy),
    }


def _shares(policy: Policy) -> dict[str, int]:
    return {str(version): share for version, share in policy.shares().items()}
