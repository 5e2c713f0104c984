"""What feedback says of a rollout, over HTTP."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from router.verdicts.needing import Needed
from serving.control.api.desk import TheRollouts
from serving.control.api.feedback import MetricOut, metric_out
from serving.control.rolling.results import ArmResult, Effect, MetricResult, Results

routes = APIRouter(tags=["rollouts"])

_TENS = "as a power of ten: 2 is a hundred to one"


class NeededOut(BaseModel):
    """What it takes to show a difference of that size, in the middle of all runs; null for never."""

    difference: float
    values: float | None
    more: float | None


class EffectOut(BaseModel):
    """The candidate's mean minus stable's, and what is known of it."""

    difference: float
    lower: Annotated[float | None, Field(description="of an interval that is right at every look, at level 5 %")]
    upper: float | None
    shown: Annotated[str, Field(description="better, worse, or empty where neither is shown")]
    log10_better: Annotated[float, Field(description=_TENS)]
    log10_worse: float
    threshold: float
    log10_ratio: Annotated[float, Field(description="against both versions having had feedback alike")]
    trusted: bool
    as_seen: NeededOut | None
    half: Annotated[NeededOut | None, Field(description="of a difference of half the interval's radius")]


class ArmResultOut(BaseModel):
    """One version's values."""

    version: int
    values: MetricOut
    effect: EffectOut | None


class MetricResultOut(BaseModel):
    """One metric."""

    metric: str
    direction: Annotated[str | None, Field(description="null where the rollout is not judged by it")]
    decides: bool
    stable: ArmResultOut
    candidates: list[ArmResultOut]


class ResultsOut(BaseModel):
    """What feedback says of a rollout."""

    id: str
    model: str
    winner: Annotated[int | None, Field(description="the version that the evidence names")]
    words: list[str]
    metrics: list[MetricResultOut]
    not_first: Annotated[int, Field(description="values of units that had one before; they are not compared")]
    beyond: Annotated[int, Field(description="values of units beyond those that are remembered")]
    sample_ratio: Annotated[
        dict[str, float], Field(description=f"against units having gone where shares promised, by version, {_TENS}")
    ]
    sample_ratio_threshold: float
    values_per_s: float


@routes.get("/rollouts/{rollout}/results", summary="What feedback says of a rollout, and what it would take to decide")
async def _results(rollouts: TheRollouts, rollout: str) -> ResultsOut:
    return _out(await rollouts.results(rollout))


def _out(found: Results) -> ResultsOut:
    return ResultsOut(
        id=found.record.id,
        model=found.record.model,
        winner=found.winner,
        words=list(found.words),
        metrics=[_metric(one) for one in found.metrics],
        not_first=found.again,
        beyond=found.beyond,
        sample_ratio={str(version): one for version, one in found.mismatch.items()},
        sample_ratio_threshold=found.mismatch_threshold,
        values_per_s=found.values_per_s,
    )


def _metric(one: MetricResult) -> MetricResultOut:
    return MetricResultOut(
        metric=one.metric,
        direction=one.direction or None,
        decides=one.decides,
        stable=_arm(one.stable),
        candidates=[_arm(arm) for arm in one.candidates],
    )


def _arm(arm: ArmResult) -> ArmResultOut:
    effect = None if arm.effect is None else _effect(arm.effect)
    return ArmResultOut(version=arm.version, values=metric_out(arm.values), effect=effect)


def _effect(one: Effect) -> EffectOut:
    lower, upper = (None, None) if one.interval is None else one.interval
    return EffectOut(
        difference=one.difference,
        lower=lower,
        upper=upper,
        shown=one.shown,
        log10_better=one.log10_better,
        log10_worse=one.log10_worse,
        threshold=one.threshold,
        log10_ratio=one.log10_ratio,
        trusted=one.trusted,
        as_seen=_needed(one.as_seen),
        half=_needed(one.half),
    )


def _needed(one: Needed | None) -> NeededOut | None:
    if one is None:
        return None
    values, more = (None if math.isinf(count) else count for count in (one.values, one.more))
    return NeededOut(difference=one.difference, values=values, more=more)
