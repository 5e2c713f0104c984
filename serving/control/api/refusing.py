"""Turning somebody away before the application sees the request: the problem that is told, the line that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from serving.access.security_log import SecurityLog
from serving.control.api.caller import address_of, operation_of
from serving.control.api.problems import refusal_response
from serving.errors import STATUS, Refusal

DOOR = "control"
"""This listener's name in the security log."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody is turned away.

    Attributes:
        refusal: which kind of 'no' it is.
        kind: the word for it in the security log.
        sentence: what is told.
        hint: what to do about it.
        key_id: whose key it was, where it was somebody's.
        headers: what else the answer carries.
    """

    refusal: Refusal
    kind: str
    sentence: str
    hint: str
    key_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


async def turn_away(log: SecurityLog, reason: Reason, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the reason as a problem, and writes it down. Nothing of the body is read for that."""
    write_down(log, reason, scope)
    response = refusal_response(reason.refusal, reason.sentence, reason.hint)
    response.headers.update(reason.headers)
    if STATUS[reason.refusal].closes:
        response.headers["Connection"] = "close"
    await response(scope, receive, send)


def write_down(log: SecurityLog, reason: Reason, scope: Scope) -> None:
    """Notes who it was, and why."""
    log.refused(DOOR, address_of(scope), reason.kind, operation_of(scope), reason.key_id)
