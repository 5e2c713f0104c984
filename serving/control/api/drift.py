"""Drift over HTTP: how versions are watched, what was found, and baselines, to be read and brought."""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field

from registry.baselines import MOST_BYTES
from serving.control.api.asked import JSON_ONLY, Body, ModelName, Who, Why
from serving.control.api.desk import desk_of
from serving.control.api.drift_shapes import (
    BaselineOut,
    BaselinesOut,
    FindingOut,
    FindingsOut,
    SeenOut,
    StatusesOut,
    baseline_out,
    finding_out,
    seen_out,
    status_out,
)
from serving.control.api.long_work import Number
from serving.control.errors import Unacceptable
from serving.control.watched import Drift

routes = APIRouter(prefix="/drift", tags=["drift"])

_LONGEST_BLOB = (MOST_BYTES + 2) // 3 * 4

FindingId = Annotated[str, Path(max_length=64, examples=["1700000000000-0"])]


class BaselineIn(Body):
    """A baseline as `sluice drift baseline` computes it."""

    blob: Annotated[str, Field(max_length=_LONGEST_BLOB, description="its canonical bytes, in base64")]
    why: Why = ""


def _drift(request: Request) -> Drift:
    drift = desk_of(request).drift
    if drift is None:
        raise Unacceptable("This control room knows nothing of drift.", "Ask one that serves a registry.")
    return drift


TheDrift = Annotated[Drift, Depends(_drift)]


@routes.get("", summary="How versions are watched for drift")
async def _statuses(drift: TheDrift) -> StatusesOut:
    return StatusesOut(versions=[status_out(one) for one in await drift.statuses()])


@routes.get("/findings", summary="What was found")
async def _findings(
    drift: TheDrift,
    *,
    model: Annotated[str | None, Query(max_length=256)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    before: Annotated[str, Query(max_length=64, description="only older ones: the last page's last id")] = "",
    after: Annotated[str | None, Query(max_length=64, description="only newer ones, oldest first; 0-0 is all")] = None,
) -> FindingsOut:
    if after is not None:
        found = await drift.findings_after(after, limit, model=model)
    else:
        found = await drift.findings(limit, model=model, before=before)
    return FindingsOut(findings=[finding_out(one) for one in found])


@routes.get("/findings/{finding}", summary="One finding, with histograms before and after")
async def _one_finding(drift: TheDrift, finding: FindingId) -> FindingOut:
    return finding_out(await drift.finding(finding))


@routes.get("/baselines", summary="What versions are held against")
async def _baselines(drift: TheDrift) -> BaselinesOut:
    return BaselinesOut(baselines=[baseline_out(one) for one in await drift.baselines()])


@routes.get("/models/{model}/versions/{version}", summary="How one version is watched, and what its windows showed")
async def _seen(
    drift: TheDrift, model: ModelName, version: Number, findings: Annotated[int, Query(ge=0, le=50)] = 5
) -> SeenOut:
    return seen_out(model, version, await drift.seen(model, version, findings))


@routes.get("/models/{model}/versions/{version}/baseline", summary="What one version is held against")
async def _one_baseline(drift: TheDrift, model: ModelName, version: Number) -> BaselineOut:
    return baseline_out(await drift.baseline(model, version))


@routes.put(
    "/models/{model}/versions/{version}/baseline",
    summary="Bring what one version is to be held against",
    description=(
        "In the place of the one that is there. Where the version was registered with a baseline's digest, only that "
        "one is taken. The sidecar begins anew with it; the very bytes that are there already change nothing."
    ),
    dependencies=[JSON_ONLY],
)
async def _keep(drift: TheDrift, model: ModelName, version: Number, wanted: BaselineIn, who: Who) -> BaselineOut:
    try:
        blob = base64.b64decode(wanted.blob, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unacceptable(
            "The baseline's bytes are no base64.", "Send them as `sluice drift baseline` does."
        ) from error
    brought = await drift.keep(model, version, blob, who=who, why=wanted.why)
    return baseline_out(brought.record, again=brought.again)


@routes.delete(
    "/models/{model}/versions/{version}/baseline",
    summary="Forget what one version is held against",
    description="It is no longer watched then, unless it is to learn a baseline from live requests.",
    status_code=HTTPStatus.NO_CONTENT,
)
async def _drop(
    drift: TheDrift, model: ModelName, version: Number, who: Who, why: Annotated[str, Query(max_length=1_000)] = ""
) -> None:
    await drift.drop(model, version, who=who, why=why)
