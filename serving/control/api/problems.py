"""Refusals over HTTP: whatever went wrong, a problem (RFC 9457) with a sentence and a hint.

Which kind each error is stands in `serving.control.refusals`, which status a kind has in `serving.errors.STATUS`; here
it is only written down. The three handlers that FastAPI needs for its own errors are here as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from registry.errors import RegistryError
from router.codec import policy_as_dict
from serving.control.api.asked import PreconditionError
from serving.control.api.policies import PolicyOut
from serving.control.errors import Conflict
from serving.control.refusals import hint_of, refusal_of, sentence_of
from serving.control.rolling.discretion import discreet
from serving.errors import STATUS, Refusal, SluiceError

PROBLEM_TYPE = "application/problem+json"

_MOST_MISTAKES = 5
_SENTENCES = {
    404: "There is nothing at this path.",
    405: "This path does not take that method.",
}


class ThereOut(BaseModel):
    """What somebody else has made of a policy meanwhile."""

    model: str
    revision: int
    policy: PolicyOut


class Problem(BaseModel):
    """What every refusal looks like (RFC 9457), as application/problem+json."""

    type: Annotated[str, Field(examples=["urn:sluice:problem:changed-meanwhile"])]
    title: Annotated[str, Field(examples=["Changed meanwhile"])]
    status: Annotated[int, Field(examples=[409])]
    detail: str
    hint: str
    current: Annotated[ThereOut | None, Field(description="after a lost race for a policy: what is there now")] = None


PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}
"""For a router: what each of its paths may answer beside what it is for."""


def handle_errors(app: FastAPI) -> None:
    """Has the application answer every error with a problem."""
    app.add_exception_handler(SluiceError, _refused)
    app.add_exception_handler(RegistryError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _broken)


def _problem(
    status: int, title: str, detail: str, hint: str = "", kind: str = "about:blank", **more: object
) -> Response:
    body = {"type": kind, "title": title, "status": status, "detail": detail, "hint": hint, **more}
    # Escaped to ASCII: what was sent may be repeated in the sentence, and need not be encodable otherwise.
    return Response(json.dumps(body), status_code=status, media_type="application/problem+json")


def refusal_response(refusal: Refusal, detail: str, hint: str = "", **more: object) -> Response:
    """The problem of that kind, with its status; `more` are further members of it."""
    status = STATUS[refusal]
    title = refusal.value.replace("-", " ").capitalize()
    response = _problem(status.http, title, detail, hint, f"urn:sluice:problem:{refusal.value}", **more)
    if status.retry_after_s is not None:
        response.headers["Retry-After"] = str(status.retry_after_s)
    return response


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, PreconditionError):
        return refusal_response(error.refusal, error.sentence, error.hint)
    refusal = refusal_of(error)
    if refusal is None:
        return await _broken(request, error)
    more: dict[str, object] = {}
    if isinstance(error, Conflict) and error.policy is not None:
        more["current"] = {"model": error.model, "revision": error.revision, "policy": policy_as_dict(error.policy)}
    return refusal_response(refusal, sentence_of(error), hint_of(error), **more)


async def _invalid(_request: Request, error: Exception) -> Response:
    mistakes = error.errors() if isinstance(error, RequestValidationError) else []
    if any(one["type"] == "json_invalid" for one in mistakes):
        return _no_json()
    told = discreet("; ".join(_mistake(one) for one in mistakes[:_MOST_MISTAKES]))  # a secret may stand as a name
    return refusal_response(
        Refusal.UNACCEPTABLE, f"This cannot be used: {told}.", "The shape that is expected is at /docs."
    )


def _no_json() -> Response:
    return refusal_response(Refusal.MALFORMED, "The body is no JSON that can be read.", "Check it with a JSON tool.")


def _mistake(mistake: Mapping[str, Any]) -> str:
    where = ".".join(str(part)[:64] for part in mistake["loc"][1:]) or "the body"
    words = str(mistake["msg"])
    return f"{where}: {words[:1].lower()}{words[1:]}"


async def _not_served(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = error.detail if isinstance(error, HTTPException) else ""
    if status == HTTPStatus.BAD_REQUEST:  # FastAPI's only one: JSON too deep, too long or in no encoding
        return _no_json()
    title = HTTPStatus(status).phrase
    # Starlette's own texts are the bare phrase; a sentence of ours says more.
    response = _problem(status, title, detail if detail != title else _SENTENCES.get(status, title), "See /docs.")
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _broken(_request: Request, _error: Exception) -> Response:
    detail = "The control API has failed at this request; its log says where."
    return _problem(500, "Internal Server Error", detail, "Gateways are not affected. Please report it.")
