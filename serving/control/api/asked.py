"""What the paths have in common in what they are asked: the service, names, who asks, and which revision is meant."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from router.policy import LARGEST_VERSION, WHOLE
from serving.control.api.caller import address_of, principal_of
from serving.control.api.limits import json_only
from serving.control.service import LONGEST_WAIT_S, ControlService
from serving.errors import Refusal, SluiceError

_ETAG = re.compile(r'"(\d{1,15})"')

VersionNumber = Annotated[int, Field(strict=True, ge=1, le=LARGEST_VERSION)]
Share = Annotated[int, Field(strict=True, ge=0, le=WHOLE)]
Why = Annotated[str, Field(max_length=1_000, description="for the ledger", examples=["fewer errors on the new form"])]

ModelName = Annotated[str, Path(max_length=256, examples=["digits"])]
IfMatch = Annotated[str | None, Header(description='the revision that was read, such as "3", or *')]
WaitS = Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)]


class Body(BaseModel):
    """What all bodies have in common: a key that nobody reads is a mistake, and would go unnoticed."""

    model_config = ConfigDict(extra="forbid")


class PreconditionError(SluiceError):
    """The `If-Match` header is missing, or cannot be read."""

    def __init__(self, refusal: Refusal, sentence: str) -> None:
        super().__init__(sentence, 'Read what is there first, and send its ETag, such as If-Match: "3".')
        self.refusal = refusal


def _service(request: Request) -> ControlService:
    service: ControlService = request.app.state.service
    return service


def _who(request: Request) -> str:
    return f"{principal_of(request.scope).words} from {address_of(request.scope)}"


def _json_only(request: Request) -> None:
    json_only(request.scope)


Service = Annotated[ControlService, Depends(_service)]
Who = Annotated[str, Depends(_who)]
JSON_ONLY = Depends(_json_only)


def needed_revision(if_match: str | None) -> int | None:
    """The revision that a change is for, None for whatever is there (`*`).

    Raises:
        PreconditionError: there is no header, or it is no revision of ours.
    """
    if if_match is None:
        raise PreconditionError(Refusal.NO_REVISION, "A change says which revision it is for, and this one does not.")
    return _revision(if_match)


def given_revision(if_match: str | None) -> int | None:
    """The same where the header may be left out, which is as good as `*`."""
    return None if if_match is None else _revision(if_match)


def etag(revision: int) -> str:
    """The revision as a header has it."""
    return f'"{revision}"'


def _revision(if_match: str) -> int | None:
    said = if_match.strip()
    if said == "*":
        return None
    found = _ETAG.fullmatch(said)
    if found is None:
        raise PreconditionError(Refusal.MALFORMED, f"If-Match: {said[:64]} is no revision of ours.")
    return int(found[1])
