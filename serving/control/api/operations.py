"""Long work over HTTP: what is under way, what came of it, and its end on request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from serving.control.api.asked import WaitS, Who
from serving.control.api.contents import moment
from serving.control.api.problems import refusal_response
from serving.control.api.workshop import TheOperations
from serving.control.errors import UnknownOperation
from serving.control.operations import Operation, Operations, OperationState
from serving.errors import Refusal

routes = APIRouter(tags=["operations"])

_ID = re.compile(r"[0-9a-f]{16}")


def _id(operation_id: str) -> str:
    """The id in the path, where it can be one: it becomes a part of keys in the store.

    Raises:
        UnknownOperation: it cannot.
    """
    if not _ID.fullmatch(operation_id):
        raise UnknownOperation(
            f"There is no operation {operation_id[:64]!r}.", "An id has 16 digits, 0 to 9 and a to f."
        )
    return operation_id


class OperationProblemOut(BaseModel):
    """Why an operation failed."""

    refusal: Annotated[str, Field(examples=["did-not-start"])]
    detail: str
    hint: str


class OperationOut(BaseModel):
    """One piece of long work."""

    id: Annotated[str, Field(examples=["5f0c5b0d6c1e4a9b"])]
    kind: Annotated[str, Field(examples=["register"])]
    model: Annotated[str, Field(examples=["digits"])]
    version: Annotated[int | None, Field(examples=[3])]
    state: OperationState
    words: Annotated[str, Field(description="what it is doing", examples=["trying it on a server of its own"])]
    steps: Annotated[list[str], Field(description="what it has done, oldest first")]
    who: str
    why: str
    began_at: datetime
    ended_at: datetime | None
    result: Annotated[dict[str, Any], Field(examples=[{"model": "digits", "version": 3, "created": True}])]
    problem: OperationProblemOut | None
    cancelled_by: str


class OperationsOut(BaseModel):
    """Operations, newest first."""

    operations: list[OperationOut]


LONG: Mapping[int | str, dict[str, Any]] = {
    200: {"model": OperationOut, "description": "Done."},
    202: {"model": OperationOut, "description": "It goes on; `Location` says where to look."},
}
"""For a path whose work is an operation: what it may answer beside refusals."""

LONG_AND_MADE: Mapping[int | str, dict[str, Any]] = {
    **LONG,
    200: {"model": OperationOut, "description": "Done: it was there already."},
    201: {"model": OperationOut, "description": "Done: `Location` says where what was made is."},
}


@routes.get("/operations", summary="Long work, newest first")
async def _list(
    operations: TheOperations,
    model: Annotated[str | None, Query(max_length=256, description="of this model only")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> OperationsOut:
    return OperationsOut(operations=[operation_out(one) for one in await operations.list(model=model, limit=limit)])


@routes.get("/operations/{operation_id}", summary="One piece of long work")
async def _show(
    operations: TheOperations,
    operation_id: str,
    wait_s: Annotated[WaitS, Query(description="for its end, seconds")] = 0.0,
) -> OperationOut:
    return operation_out(await operations.settled(_id(operation_id), wait_s))


@routes.delete(
    "/operations/{operation_id}",
    summary="Ask for the end of long work",
    description="What it has done is taken back where that can be. Harmless where it has ended.",
    status_code=HTTPStatus.ACCEPTED,
)
async def _cancel(operations: TheOperations, operation_id: str, who: Who) -> OperationOut:
    return operation_out(await operations.cancel(_id(operation_id), who=who))


async def answered(operations: Operations, operation: Operation, wait_s: float) -> Response:
    """The answer to whoever asked for long work: what came of it by then.

    Args:
        operations: who knows.
        operation: that was begun.
        wait_s: how long to wait for its end, seconds.
    """
    now = await operations.settled(operation.id, wait_s) if wait_s else operation
    where = f"/api/v1/operations/{now.id}"
    match now.state:
        case OperationState.FAILED:
            answer = _failed(now)
        case OperationState.CANCELLED:
            by = now.cancelled_by or "somebody"
            answer = refusal_response(Refusal.CHANGED_MEANWHILE, f"The {now} was cancelled by {by}.")
        case OperationState.DONE:
            made = bool(now.result.get("created"))
            where = f"/api/v1/registry/models/{now.model}/versions/{now.result['version']}" if made else where
            answer = _told(now, HTTPStatus.CREATED if made else HTTPStatus.OK)
        case _:
            answer = _told(now, HTTPStatus.ACCEPTED)
    answer.headers["Location"] = where
    return answer


def operation_out(operation: Operation) -> OperationOut:
    """The operation as it is shown."""
    problem = operation.problem
    return OperationOut(
        id=operation.id,
        kind=operation.kind,
        model=operation.model,
        version=operation.version,
        state=operation.state,
        words=operation.words,
        steps=list(operation.steps),
        who=operation.who,
        why=operation.why,
        began_at=moment(operation.began_ms),
        ended_at=None if operation.ended_ms is None else moment(operation.ended_ms),
        result=dict(operation.result),
        problem=None
        if problem is None
        else OperationProblemOut(refusal=problem.refusal, detail=problem.sentence, hint=problem.hint),
        cancelled_by=operation.cancelled_by,
    )


def _told(operation: Operation, status: HTTPStatus) -> Response:
    return Response(operation_out(operation).model_dump_json(), status, media_type="application/json")


def _failed(operation: Operation) -> Response:
    problem = operation.problem
    known = {refusal.value: refusal for refusal in Refusal}
    sentence = problem.sentence if problem else f"The {operation} failed."
    refusal = known.get(problem.refusal if problem else "", Refusal.BROKEN)
    return refusal_response(refusal, sentence, problem.hint if problem else "")
