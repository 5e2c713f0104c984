"""What is shown of rollouts, and what operators' commands answer: values, computed when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from router.advance import ahead, name_of, obstacles
from router.phases import STANDING
from router.plan import Plan, policy_for
from router.policy import Policy
from router.rollout import Seen, policy_of
from router.verdicts.shown import Shown
from serving.control.rates import Lately
from serving.control.rolling.records import Record
from serving.control.views import Acknowledged

_NONE_SHOWN: Mapping[int, Shown] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout, and what keeps it where it is.

    Attributes:
        record: where it stands.
        shares: what it gives, parts per million by version.
        desired: what its stage is to give, which is more where a version carries less than that.
        waits: what keeps it from going on by itself, in sentences.
        next_stage: what comes next: a stage's name, or 'the end'; None where it is over.
        next_step_s: seconds until its shortest time is over; None where that is not known or the clock stands still.
        stage_s: how long its stage has run, seconds.
        requests: by version, since this leg began.
        lately: how the model's versions answered within the last few seconds.
        verdicts: what is known of each candidate that was heard of.
    """

    record: Record
    shares: Mapping[int, int]
    desired: Mapping[int, int]
    waits: tuple[str, ...]
    next_stage: str | None
    next_step_s: float | None
    stage_s: float
    requests: Mapping[int, int]
    lately: Mapping[int, Lately] = field(default_factory=dict)
    verdicts: Mapping[int, Shown] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RolloutChange:
    """What a command made of a rollout, and who runs it by now; nothing of the latter where no policy changed."""

    view: RolloutView
    acknowledged: Acknowledged | None
    epoch: int | None
    took_s: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of a plan with its policy; what is left at the end is the last of them, and has no stage."""

    name: str
    number: int
    policy: Policy


def view_of(
    record: Record, seen: Seen, lately: Mapping[int, Lately], verdicts: Mapping[int, Shown] = _NONE_SHOWN
) -> RolloutView:
    """The rollout as it is at that moment."""
    rollout = record.rollout
    requests = {} if seen.evidence is None else seen.evidence.requests
    return RolloutView(
        record,
        policy_of(rollout).shares(),
        policy_of(rollout.uncut).shares(),
        tuple(obstacles(rollout, seen)),
        None if rollout.over else name_of(rollout, ahead(rollout, seen).target),
        _next_step_s(record, seen),
        0.0 if rollout.over else rollout.spent_s(seen.now_s),
        requests,
        lately,
        verdicts,
    )


def stages_of(plan: Plan, base: Policy) -> tuple[StageView, ...]:
    """Every stage that a plan leads through on this policy, and what is left at the end.

    Raises:
        PlanError: the plan cannot be carried out on it.
        PolicyError: one of its stages would be no policy.
    """
    names = [*(stage.name for stage in plan.stages), "the end"]
    return tuple(
        StageView(name, number, policy_for(plan, number, base, chosen=plan.candidate))
        for number, name in enumerate(names)
    )


def _next_step_s(record: Record, seen: Seen) -> float | None:
    rollout = record.rollout
    if rollout.over or rollout.entered is None or rollout.phase in STANDING:
        return None
    return max(0.0, rollout.entered.min_s - rollout.spent_s(seen.now_s))
