"""Rollouts as they are shown, and what every command of one has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Response

from router.commands import Command
from router.plan import Plan
from router.plan_form import plan_as_document
from router.rollout import policy_of
from router.verdicts.shown import as_dict
from serving.control.api.asked import IfMatch, WaitS, Who, etag, given_revision, needed_revision
from serving.control.api.desk import TheRollouts
from serving.control.api.idempotent import IdempotencyKey
from serving.control.api.policies import acknowledged_out, policy_out
from serving.control.api.rollout_bodies import (
    ApprovalOut,
    GateOut,
    LatelyOut,
    RolloutChangedOut,
    RolloutDetailOut,
    RolloutOut,
    StageOut,
    StagesOut,
    VerdictOut,
    WebhookOut,
)
from serving.control.rates import Lately
from serving.control.rolling.outward import shown_url
from serving.control.rolling.records import Record
from serving.control.rolling.service import Rollouts
from serving.control.rolling.views import RolloutChange, RolloutView, StageView

Wait = Annotated[WaitS, Query(description="for the gateways to run it, seconds")]
Force = Annotated[bool, Query(description="even if a version would get more than it carries")]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks something of which rollout, and what is said about it beside the body.

    Attributes:
        rollouts: who does it.
        rollout: the id in the path.
        who: for the ledger.
        if_match: the header, None where there is none.
        wait_s: for the gateways.
        force: whether a version may get more than it carries.
        response: what the answer's headers are written to.
    """

    rollouts: Rollouts
    rollout: str
    who: str
    if_match: str | None
    wait_s: float
    force: bool
    response: Response

    async def for_(self, command: Command | Callable[[Record], Command], *, at_once: bool = False) -> RolloutChangedOut:
        """What became of it.

        Args:
            command: what is asked; or what makes it of the rollout as it is.
            at_once: whether the revision may be left out.
        """
        expected = given_revision(self.if_match) if at_once else needed_revision(self.if_match)
        made = (lambda _record: command) if isinstance(command, Command) else command
        done = await self.rollouts.ask(self.rollout, made, expected=expected, wait_s=self.wait_s, force=self.force)
        return changed_out(done, self.response)


def _asking(  # noqa: PLR0917 - FastAPI fills them in by name
    rollouts: TheRollouts,
    rollout: str,
    who: Who,
    response: Response,
    if_match: IfMatch = None,
    wait_s: Wait = 2.0,
    idempotency_key: IdempotencyKey = None,
    *,
    force: Force = False,
) -> Asking:
    del idempotency_key  # the route has seen to it
    return Asking(rollouts, rollout, who, if_match, wait_s, force, response)


TheAsking = Annotated[Asking, Depends(_asking)]


def changed_out(changed: RolloutChange, response: Response) -> RolloutChangedOut:
    """What became of a rollout, as it is shown; the answer gets its `ETag`."""
    response.headers["ETag"] = etag(changed.view.record.rollout.revision)
    seen = changed.acknowledged
    return RolloutChangedOut(
        rollout=detail_out(changed.view),
        acknowledged=None if seen is None else acknowledged_out(seen),
        epoch=changed.epoch,
        took_ms=round(changed.took_s * 1000, 1),
        notes=list(changed.notes),
    )


def rollout_out(record: Record) -> RolloutOut:
    """A rollout at a glance."""
    return RolloutOut(**_at_a_glance(record))


def _at_a_glance(record: Record) -> dict[str, Any]:
    rollout = record.rollout
    return {
        "id": rollout.id,
        "model": record.model,
        "kind": rollout.plan.kind,
        "phase": rollout.phase,
        "place": rollout.place,
        "stage": None if rollout.entered is None else rollout.entered.name,
        "stage_number": rollout.stage,
        "stages": len(rollout.plan.stages),
        "automation": rollout.automation,
        "revision": rollout.revision,
        "candidate": rollout.plan.candidate,
        "stable": rollout.base.stable,
        "shares": {str(one): share for one, share in policy_of(rollout).shares().items()},
        "desired": {str(one): share for one, share in policy_of(rollout.uncut).shares().items()},
        "by_hand": rollout.by_hand is not None,
        "over": rollout.over,
        "cause": rollout.cause,
        "created_by": record.created_by,
        "created_at": datetime.fromtimestamp(record.created_s, UTC),
    }


def detail_out(view: RolloutView) -> RolloutDetailOut:
    """A rollout in full."""
    record, rollout = view.record, view.record.rollout
    return RolloutDetailOut(
        **_at_a_glance(record),
        waits=list(view.waits),
        next_stage=view.next_stage,
        next_step_s=view.next_step_s,
        stage_s=view.stage_s,
        requests={str(one): count for one, count in view.requests.items()},
        lately={str(one): lately_out(how) for one, how in sorted(view.lately.items())},
        verdicts={str(one): VerdictOut.model_validate(as_dict(said)) for one, said in sorted(view.verdicts.items())},
        chosen=rollout.chosen,
        advised=rollout.advised,
        approvals=[ApprovalOut(who=one.who, revision=one.revision, stage=one.stage) for one in rollout.approvals],
        epochs=list(record.epochs),
        plan=plan_as_document(rollout.plan),
        gates=[
            GateOut(type=one.kind.value, url=shown_url(one.url), name=one.name, timeout_s=one.timeout_s)
            for one in record.gates
        ],
        webhooks=[WebhookOut(url=shown_url(one.url), events=[*map(str, one.events)]) for one in record.hooks],
    )


def lately_out(how: Lately) -> LatelyOut:
    """How a version answered lately."""
    figures = how.figures
    p50_ms, p99_ms = figures.took_ms(0.5), figures.took_ms(0.99)
    return LatelyOut(
        requests_per_s=round(how.per_s, 1),
        error_share=round(figures.error_share or 0.0, 6),
        p50_ms=None if p50_ms is None else round(p50_ms, 3),
        p99_ms=None if p99_ms is None else round(p99_ms, 3),
    )


def stages_out(plan: Plan, stages: tuple[StageView, ...], notes: tuple[str, ...]) -> StagesOut:
    """What a plan would lead through."""
    return StagesOut(stages=[_stage_out(plan, one) for one in stages], plan=plan_as_document(plan), notes=list(notes))


def _stage_out(plan: Plan, view: StageView) -> StageOut:
    stage = plan.stages[view.number] if view.number < len(plan.stages) else None
    return StageOut(
        name=view.name,
        does="end" if stage is None else stage.does.value,
        shares={str(one): share for one, share in view.policy.shares().items()},
        min_s=0 if stage is None else stage.min_s,
        min_requests=0 if stage is None else stage.min_requests,
        needs="" if stage is None else stage.needs.value,
        approval=plan.approve_end if stage is None else stage.approval,
        flip=False if stage is None else stage.flip,
        policy=policy_out(view.policy),
    )
