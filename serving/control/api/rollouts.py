"""Rollouts over HTTP: start them, look at them, command them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from router.commands import Pause, Promote, Resume, Retry, RollBack, SetShares
from router.errors import RouterError
from router.plan_form import plan_as_document
from router.policy import parse_share
from serving.control.api.asked import JSON_ONLY, IfMatch, ModelName, VersionNumber, Who, etag, given_revision
from serving.control.api.desk import TheRollouts
from serving.control.api.idempotent import IdempotencyKey, IdempotentRoute
from serving.control.api.rollout_bodies import (
    ApproveIn,
    AskIn,
    LintOut,
    PromoteIn,
    RetryIn,
    RollBackIn,
    RolloutChangedOut,
    RolloutDetailOut,
    RolloutIn,
    RolloutsOut,
    SharesIn,
    StagesOut,
)
from serving.control.api.rollout_shapes import TheAsking, changed_out, detail_out, rollout_out, stages_out
from serving.control.errors import Unacceptable
from serving.control.rolling.document import Document, document_from
from serving.control.rolling.service import approval

routes = APIRouter(tags=["rollouts"], route_class=IdempotentRoute)

_ONE = "/rollouts/{rollout}"


@routes.post(
    "/models/{model}/rollouts",
    summary="Start a rollout",
    description="With `dry_run`, nothing is started: the answer is 200 and has every stage with its policy.",
    status_code=HTTPStatus.CREATED,
    responses={200: {"model": StagesOut, "description": "What it would do (`dry_run`)."}},
    dependencies=[JSON_ONLY],
)
async def _start(
    *,
    rollouts: TheRollouts,
    model: ModelName,
    asked: RolloutIn,
    response: Response,
    who: Who,
    if_match: IfMatch = None,
    dry_run: bool = False,
    idempotency_key: IdempotencyKey = None,
) -> RolloutChangedOut | StagesOut:
    del idempotency_key  # the route has seen to it
    document = _document(asked, model)
    if dry_run:
        response.status_code = HTTPStatus.OK
        stages, notes = await rollouts.stages(model, document)
        return stages_out(document.plan, stages, notes)
    changed = await rollouts.start(model, document, who=who, expected=given_revision(if_match))
    response.headers["Location"] = f"/api/v1/rollouts/{changed.view.record.id}"
    return changed_out(changed, response)


@routes.get("/models/{model}/rollouts", summary="A model's rollouts, newest first")
async def _of_model(
    rollouts: TheRollouts, model: ModelName, limit: Annotated[int, Query(ge=1, le=1_000)] = 50
) -> RolloutsOut:
    return RolloutsOut(rollouts=[rollout_out(one) for one in await rollouts.newest(model, limit)])


@routes.get("/rollouts", summary="The rollouts of all models that are in progress")
async def _all(
    *,
    rollouts: TheRollouts,
    everything: Annotated[bool, Query(alias="all", description="those that are over as well")] = False,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> RolloutsOut:
    found = await rollouts.newest(None, limit) if everything else await rollouts.active()
    return RolloutsOut(rollouts=[rollout_out(one) for one in found[:limit]])


@routes.get(_ONE, summary="Where a rollout stands, what keeps it there, what it does next")
async def _one(rollouts: TheRollouts, rollout: str, response: Response) -> RolloutDetailOut:
    view = await rollouts.rollout(rollout)
    response.headers["ETag"] = etag(view.record.rollout.revision)
    return detail_out(view)


@routes.get(
    f"{_ONE}/blocks",
    summary="What was recorded of a candidate, a line of JSON for each second with traffic",
    description="Oldest first; the last 7,200 of the rollout. `sluice simulate` replays them.",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "Blocks, and where shares changed."}},
)
async def _blocks(
    rollouts: TheRollouts,
    rollout: str,
    version: Annotated[VersionNumber | None, Query(description="where there are several candidates")] = None,
) -> StreamingResponse:
    return StreamingResponse(await rollouts.blocks(rollout, version), media_type="application/x-ndjson")


@routes.post(f"{_ONE}/pause", summary="Leave traffic as it is, and stop the clock", dependencies=[JSON_ONLY])
async def _pause(asking: TheAsking, asked: AskIn) -> RolloutChangedOut:
    return await asking.for_(Pause(who=asking.who, why=asked.why))


@routes.post(f"{_ONE}/resume", summary="Go on where the pause found it", dependencies=[JSON_ONLY])
async def _resume(asking: TheAsking, asked: AskIn) -> RolloutChangedOut:
    return await asking.for_(Resume(who=asking.who, why=asked.why))


@routes.post(f"{_ONE}/approve", summary="Let it into the stage that it waits for", dependencies=[JSON_ONLY])
async def _approve(asking: TheAsking, asked: ApproveIn) -> RolloutChangedOut:
    return await asking.for_(approval(asking.who, asked.why, asked.stage))


@routes.post(
    f"{_ONE}/promote",
    summary="Go on without waiting for time or evidence",
    description="An approval that the plan asks for is not saved by it.",
    dependencies=[JSON_ONLY],
)
async def _promote(asking: TheAsking, asked: PromoteIn) -> RolloutChangedOut:
    return await asking.for_(Promote(who=asking.who, why=asked.why, to_end=asked.to_end, version=asked.version))


@routes.post(
    f"{_ONE}/rollback",
    summary="Go back to what was before",
    description="It waits for nobody and nothing. `If-Match` may be left out, which is as good as `*`.",
    dependencies=[JSON_ONLY],
)
async def _roll_back(asking: TheAsking, asked: RollBackIn) -> RolloutChangedOut:
    return await asking.for_(RollBack(who=asking.who, why=asked.why), at_once=True)


@routes.post(f"{_ONE}/retry", summary="Begin again", dependencies=[JSON_ONLY])
async def _retry(asking: TheAsking, asked: RetryIn) -> RolloutChangedOut:
    return await asking.for_(Retry(who=asking.who, why=asked.why, again=asked.again))


@routes.patch(_ONE, summary="Give arms other shares", dependencies=[JSON_ONLY])
async def _set_shares(asking: TheAsking, asked: SharesIn) -> RolloutChangedOut:
    return await asking.for_(SetShares(who=asking.who, why=asked.why, shares=_shares(asked.shares)))


@routes.post(
    "/plan/lint", summary="Whether a document could be a rollout; nothing is started", dependencies=[JSON_ONLY]
)
async def _lint(document: dict[str, Any]) -> LintOut:
    try:
        return LintOut(valid=True, mistakes=[], plan=plan_as_document(document_from(document).plan))
    except RouterError as error:
        return LintOut(valid=False, mistakes=str(error).split("; "), plan=None)


def _document(asked: RolloutIn, model: str) -> Document:
    said = asked.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    try:
        document = document_from(said)
    except RouterError as error:
        raise Unacceptable(f"This is no rollout: {error}.", "docs/rollout.schema.json says what one may be.") from error
    if document.model not in {"", model}:
        raise Unacceptable(f"The document is for {document.model}, and this path for {model}.", "Send it to the other.")
    return document


def _shares(said: Mapping[str, str]) -> dict[int, int]:
    try:
        return {int(one): parse_share(share) for one, share in said.items()}
    except RouterError as error:
        raise Unacceptable(f"These are no shares: {error}.") from error
