"""The rollback target over HTTP: a signed message, and no key (`serving.control.rollback_target`)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from drift.webhooks import Forged, Malformed, Stale, Unverified
from serving.control.api.asked import JSON_ONLY
from serving.control.api.desk import desk_of
from serving.control.api.problems import refusal_response
from serving.control.api.refusing import Reason, write_down
from serving.control.errors import Unacceptable
from serving.errors import STATUS, Refusal

routes = APIRouter(prefix="/drift", tags=["drift"])

_KINDS: dict[type[Unverified], str] = {Forged: "webhook_forged", Stale: "webhook_stale"}


class CameOut(BaseModel):
    """What came of a message. It is 200 also where nothing was to be done, so that nobody sends it again."""

    done: Annotated[bool, Field(description="whether the rollout was taken back for it, just now")]
    already: Annotated[bool, Field(description="whether what it asks for was done before")]
    words: str


@routes.post(
    "/hooks/rollback",
    summary="Take a rollout back, asked by a signed webhook",
    description=(
        "For `drift.rollback` by Standard Webhooks (docs/drift-webhook.schema.json). It needs no key, but a signature "
        "by a secret of the settings: one that is wrong or too old is refused with 401. The rollout must still be the "
        "one in question; each episode's rollback is done once."
    ),
    dependencies=[JSON_ONLY],
    response_model=CameOut,
)
async def _rollback(request: Request) -> Response:
    target = desk_of(request).target
    if target is None:  # what is asked without a key is there only where the settings have a secret
        raise HTTPException(HTTPStatus.NOT_FOUND)
    try:
        came = await target.take(request.headers, await request.body())
    except Malformed as error:
        raise Unacceptable(error.sentence, error.hint) from error
    except Unverified as error:
        return _refused(request, error)
    return JSONResponse(CameOut(done=came.done, already=came.already, words=came.words).model_dump())


def _refused(request: Request, error: Unverified) -> Response:
    """Written down where attempts are that were refused: somebody guesses, or a clock is wrong."""
    kind = _KINDS.get(type(error), "webhook")
    reason = Reason(Refusal.UNAUTHENTICATED, kind, error.sentence, error.hint)
    write_down(request.app.door.log, reason, request.scope)
    response = refusal_response(reason.refusal, reason.sentence, reason.hint)
    if STATUS[reason.refusal].closes:
        response.headers["Connection"] = "close"
    return response
