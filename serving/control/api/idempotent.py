"""Requests that may be sent twice: a POST with an `Idempotency-Key` takes place once, and is answered the same again.

The key is the caller's, for a day. The same key with another body is a mistake and refused. What was refused (4xx) did
nothing, so that its key is free again; what began and was never answered (a control room that died in between), or
failed on the way (5xx: the store may have written and not said so), stays taken, for nobody can tell whether it took
place: the caller looks first, and then uses a new key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from serving.control.api.caller import principal_of
from serving.control.api.desk import desk_of
from serving.control.errors import Busy, Unacceptable
from serving.control.refusals import refusal_of
from serving.control.rolling.kept import Answered, Claim
from serving.errors import STATUS

HEADER: Final = "idempotency-key"
REPLAYED: Final = "idempotency-replayed"
_KEY: Final = re.compile(r"[!-~]{1,128}")
_KEPT_HEADERS: Final = ("content-type", "etag", "location")

IdempotencyKey = Annotated[
    str | None,
    Header(max_length=128, description="the same key with the same body takes place once, and is answered the same"),
]
"""For the description of a path; what it does is the route's."""


class IdempotentRoute(APIRoute):
    """A route whose POSTs take place once for each key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers: the route's own, or what it answered before."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method != "POST":
                return await inner(request)
            return await _once(request, key, inner)

        return handle


async def _once(request: Request, key: str, inner: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    if not _KEY.fullmatch(key):
        raise Unacceptable("This Idempotency-Key cannot be used.", "Send 1 to 128 printable characters without spaces.")
    answers = desk_of(request).answers
    name = _name(request, key)
    digest = sha256(await request.body()).hexdigest()
    claim = await answers.claim_answer(name, digest)
    if claim is not None:
        return _again(claim, digest)
    try:
        response = await inner(request)
    except Exception as error:
        if _status_of(error) < HTTPStatus.INTERNAL_SERVER_ERROR:
            await answers.forget_claim(name)
        raise
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return response
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        await answers.forget_claim(name)
    else:
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        await answers.keep_answer(name, digest, Answered(response.status_code, headers, bytes(response.body).decode()))
    return response


def _status_of(error: Exception) -> int:
    """The status that the error is told with; 500 for one that nobody expected."""
    if isinstance(error, RequestValidationError):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(error, HTTPException):
        return error.status_code
    refusal = refusal_of(error)
    return HTTPStatus.INTERNAL_SERVER_ERROR if refusal is None else STATUS[refusal].http


def _name(request: Request, key: str) -> str:
    """The same key of two callers, or for two paths, is two keys."""
    asked = f"{principal_of(request.scope).id}\n{request.url.path}\n{request.url.query}\n{key}"
    return sha256(asked.encode()).hexdigest()


def _again(claim: Claim, digest: str) -> Response:
    if claim.digest != digest:
        raise Unacceptable(
            "This Idempotency-Key was used for another request.", "Use a new one for everything that is new."
        )
    if claim.answer is None:
        raise Busy(
            "The request with this Idempotency-Key has not been answered, and may have taken place.",
            "Look at what is there now; if it has not taken place, send it with a new key.",
        )
    said = claim.answer
    return Response(said.body, said.status, {**said.headers, REPLAYED: "true"})
