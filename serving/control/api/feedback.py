"""Feedback over HTTP: said of requests by whoever asked them, and shown to operators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from router.verdicts.values import Values
from serving.control.api.asked import JSON_ONLY, Body, ModelName
from serving.control.api.caller import principal_of
from serving.control.api.desk import desk_of
from serving.control.errors import Unacceptable
from serving.control.feedback import MOST_ITEMS, Became, Feedback, Told
from serving.control.feedback_store import by_metric

routes = APIRouter(tags=["feedback"])

_ID = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw"


class FeedbackIn(Body):
    """Feedback about one request, or `items` about many of them; each item is judged by itself."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {"request_id": _ID, "metrics": {"reward": 1, "seconds": 12.5}},
                {"items": [{"request_id": _ID, "label": "cat", "predicted": "dog"}]},
            ]
        },
    )

    items: Annotated[list[Any] | None, Field(max_length=MOST_ITEMS)] = None


class ItemOut(BaseModel):
    """What became of one item: of each metric, and of the label."""

    request_id: str
    became: dict[str, Became]
    why: Annotated[str | None, Field(description="what was wrong; null where nothing was")]


class FeedbackOut(BaseModel):
    """What became of all of it, in the order in which it was sent."""

    counts: Annotated[dict[str, int], Field(description="how many values, by what became of them")]
    items: list[ItemOut]


class MetricOut(BaseModel):
    """What one metric of one version adds up to."""

    count: int
    mean: float
    sum: float
    deviation: Annotated[float | None, Field(description="standard deviation of a value; null for one alone")]


class LabelOut(BaseModel):
    """How often one class was predicted where another, or the same, was true."""

    predicted: Annotated[str | None, Field(description="null where that was not said")]
    label: str
    count: int


class VersionOut(BaseModel):
    """What was said of one version's answers."""

    metrics: dict[str, MetricOut]
    labels: list[LabelOut]


class ModelFeedbackOut(BaseModel):
    """What was said of a model's answers, by the version that gave them."""

    model: str
    counts: Annotated[dict[str, int], Field(description="how many values, by what became of them")]
    versions: dict[str, VersionOut]


def _feedback(request: Request) -> Feedback:
    feedback = desk_of(request).feedback
    if feedback is None:
        raise Unacceptable("This control room takes no feedback.", "Send it to one that serves rollouts.")
    return feedback


TheFeedback = Annotated[Feedback, Depends(_feedback)]


@routes.post(
    "/feedback",
    summary="Say what happened after a request",
    description=(
        "One item, or up to 1,000 as `items`. Each (request id, metric) counts once, so that whatever is unsure may be "
        "sent again. The answer says what became of each item; none of them makes the others fail."
    ),
    dependencies=[JSON_ONLY],
)
async def _say(feedback: TheFeedback, asked: FeedbackIn, request: Request) -> FeedbackOut:
    one = asked.model_extra or {}
    if asked.items is None and not one:
        raise Unacceptable("There is no feedback in this.", "Send request_id and metrics or a label, or items of them.")
    if asked.items is not None and one:
        raise Unacceptable("There is one item beside several.", "Send one item, or all of them in items.")
    told = await feedback.take([one] if asked.items is None else asked.items, principal_of(request.scope))
    return _out(told)


@routes.get("/models/{model}/feedback", summary="What was said of a model's answers, by version")
async def _of_model(feedback: TheFeedback, model: ModelName) -> ModelFeedbackOut:
    sums, tallies = await feedback.sums(model), await feedback.tallies()
    split = {name.rpartition("|")[::2]: count for name, count in tallies.items()}
    counts = {kind: count for (of, kind), count in split.items() if of == model}
    return ModelFeedbackOut(model=model, counts=counts, versions=versions_in(sums))


def versions_in(sums: Mapping[str, int]) -> dict[str, VersionOut]:
    """What a model's counters say, by version."""
    found: dict[str, VersionOut] = {}
    for (version, metric), values in sorted(by_metric(sums).items()):
        there = found.setdefault(str(version), VersionOut(metrics={}, labels=[]))
        there.metrics[metric] = metric_out(values)
    for name, count in sorted(sums.items()):
        version_said, _, rest = name.partition("|")
        metric, _, classes = rest.partition("|")
        if metric == "label":
            predicted, _, label = classes.partition("|")
            there = found.setdefault(version_said, VersionOut(metrics={}, labels=[]))
            there.labels.append(LabelOut(predicted=predicted or None, label=label, count=count))
    return found


def metric_out(values: Values) -> MetricOut:
    """What values add up to, for people."""
    sample = values.sample
    deviation = math.sqrt(sample.variance) if values.count > 1 else None
    return MetricOut(count=values.count, mean=values.mean, sum=values.sum, deviation=deviation)


def _out(told: Sequence[Told]) -> FeedbackOut:
    counts = Counter(became.value for one in told for became in one.became.values())
    items = [ItemOut(request_id=one.request_id, became=dict(one.became), why=one.why or None) for one in told]
    return FeedbackOut(counts=dict(counts), items=items)
