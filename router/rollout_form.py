"""Rollouts as plain values: what a store keeps, so that whoever resumes one begins where it stood.

A stored rollout is read back whole or refused: the value checks its own position, the plan and the policy theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from router.codec import policy_as_dict, policy_from_dict
from router.errors import RolloutError, RouterError
from router.phases import Phase
from router.plan_form import plan_as_dict, plan_from
from router.rollout import Approval, Automation, Fact, Rollout, policy_of

FORM: Final = 1
_PLAIN: Final = (
    "id", "since_s", "progress_s", "stage", "target", "stopped_s", "leg", "first_leg", "revision", "chosen", "advised",
    "cause",
)  # fmt: skip
_LEGS: Final = ("halted_on", "alerted_on")
"""What is written only where there is something, for most rollouts have neither."""


def rollout_as_dict(rollout: Rollout) -> dict[str, Any]:
    """The rollout as plain values."""
    by_hand = rollout.by_hand
    carried = {str(version): share for version, share in rollout.carried.items()}
    fixed = {str(version): begins for version, begins in rollout.plan.fixed.items()}
    return {
        "form": FORM,
        "plan": plan_as_dict(rollout.plan),
        "base": policy_as_dict(rollout.base),
        "automation": rollout.automation.value,
        "phase": rollout.phase.value,
        "resumes": None if rollout.resumes is None else rollout.resumes.value,
        "by_hand": None if by_hand is None else {str(version): share for version, share in by_hand.items()},
        "approvals": [list(approval) for approval in rollout.approvals],
        "carried": carried,
        **({"fixed": fixed} if fixed else {}),
        **{name: leg for name in _LEGS if (leg := getattr(rollout, name)) is not None},
        **{name: getattr(rollout, name) for name in _PLAIN},
    }


def rollout_from(said: Mapping[str, Any]) -> Rollout:
    """The rollout in plain values.

    Raises:
        RolloutError: no rollout, or one that is written in another form.
    """
    try:
        rollout = _built(said)
        policy_of(rollout)  # a split by hand that cannot be would otherwise show only when it is published
    except (RouterError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RolloutError(f"this is no rollout of form {FORM}: {error!r}") from error
    return rollout


def _built(said: Mapping[str, Any]) -> Rollout:
    by_hand, resumes = said["by_hand"], said["resumes"]
    if said["form"] != FORM:
        raise RolloutError(f"it is written in form {said['form']!r}")
    fixed = {int(version): begins for version, begins in said.get("fixed", {}).items()}
    fields: dict[str, Any] = {name: said[name] for name in _PLAIN} | {name: said.get(name) for name in _LEGS}
    return Rollout(
        plan=replace(plan_from(said["plan"]), fixed=fixed),
        base=policy_from_dict(said["base"]),
        automation=Automation(said["automation"]),
        phase=Phase(said["phase"]),
        resumes=None if resumes is None else Phase(resumes),
        by_hand=None if by_hand is None else {int(version): share for version, share in by_hand.items()},
        carried={int(version): share for version, share in said.get("carried", {}).items()},
        approvals=tuple(Approval(*approval) for approval in said["approvals"]),
        **fields,
    )


def fact_as_dict(fact: Fact) -> dict[str, Any]:
    """The ledger's entry as plain values."""
    return {**fact._asdict(), "numbers": dict(fact.numbers)}
