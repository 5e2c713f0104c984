"""Deliveries to webhooks over HTTP: which wait, which were given up, one more try, and a test."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from serving.control.api.asked import JSON_ONLY, Body, Who, Why
from serving.control.api.desk import desk_of
from serving.control.api.idempotent import IdempotencyKey, IdempotentRoute
from serving.control.errors import StoreDamaged, Unacceptable
from serving.control.rolling.hooks import message_id, message_of
from serving.control.rolling.kept import DeadLetter, Tried, Waiting
from serving.control.rolling.standing import StandingHook
from serving.control.webhooks import Webhooks

routes = APIRouter(prefix="/drift/webhooks", tags=["drift"], route_class=IdempotentRoute)

MessageId = Annotated[str, Path(max_length=100, examples=["msg_1700000000000-0_drift_81"])]


class HookOut(BaseModel):
    """A webhook of the settings."""

    name: str
    url: Annotated[str, Field(description="as far as the host", examples=["https://ops.example.com/…"])]
    events: list[str]
    ours: Annotated[bool, Field(description="whether it is this installation's own rollback target")]
    secrets: Annotated[int, Field(description="how many sign: two while one is replaced")]


class AttemptOut(BaseModel):
    """What came of one attempt."""

    id: str
    at: datetime
    hook: str
    type: str
    became: Annotated[str, Field(description="delivered, waits, dead, or ended where nobody is left to tell")]
    failed: Annotated[str, Field(description="why it did not arrive; empty where it did")]
    took_s: float


class WaitingOut(BaseModel):
    """A delivery that waits."""

    id: str
    type: Annotated[str, Field(description="empty where the ledger's entry cannot be read")]
    next: Annotated[datetime, Field(description="when it is tried next")]
    tries: Annotated[int, Field(description="in vain, so far")]


class DeadOut(BaseModel):
    """A delivery that was given up."""

    id: str
    type: str
    at: datetime
    tries: int
    hook: str
    failed: Annotated[str, Field(description="what came of the last attempt")]


class DeliveriesOut(BaseModel):
    """All deliveries to webhooks, of rollouts and of drift."""

    webhooks: list[HookOut]
    waiting: Annotated[list[WaitingOut], Field(description="those that are tried next first")]
    dead: Annotated[list[DeadOut], Field(description="dead letters, the newest first")]
    tried: Annotated[list[AttemptOut], Field(description="the last attempts, the newest first")]
    dropped: Annotated[int, Field(description="deliveries that found no room in the queue")]
    dropped_dead: Annotated[int, Field(description="dead letters that fell off")]


class DeliveryOut(BaseModel):
    """One delivery, with its message."""

    id: str
    type: str
    message: dict[str, Any]
    waiting: WaitingOut | None
    dead: DeadOut | None
    attempts: list[AttemptOut]


class ReplayIn(Body):
    """Why something is told once more."""

    why: Why = ""


class ReplayedOut(BaseModel):
    """What came of it, by delivery: replayed, hurried (it was waiting), unknown, or full."""

    became: dict[str, str]


class ToTestIn(Body):
    """Whom to tell a test."""

    to: Annotated[str, Field(max_length=2_048, description="a webhook's name or address; empty for all")] = ""


class ToldOut(BaseModel):
    """Ids of deliveries."""

    ids: list[str]


def _webhooks(request: Request) -> Webhooks:
    found = desk_of(request).webhooks
    if found is None:
        raise Unacceptable("This control room delivers nothing to webhooks.", "Ask one that serves a registry.")
    return found


TheWebhooks = Annotated[Webhooks, Depends(_webhooks)]


@routes.get("", summary="Deliveries to webhooks: waiting, given up, and the last attempts")
async def _seen(webhooks: TheWebhooks, limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> DeliveriesOut:
    seen = await webhooks.seen(limit)
    return DeliveriesOut(
        webhooks=[_hook_out(one) for one in seen.hooks],
        waiting=[_waiting_out(one) for one in seen.waiting],
        dead=[_dead_out(one) for one in seen.dead],
        tried=[_attempt_out(one) for one in seen.tried],
        dropped=seen.dropped,
        dropped_dead=seen.dropped_dead,
    )


@routes.get("/{message}", summary="One delivery, with its message and its last attempts")
async def _one(webhooks: TheWebhooks, message: MessageId) -> DeliveryOut:
    found = await webhooks.delivery(message)
    return DeliveryOut(
        id=found.id,
        type=found.kind,
        message=json.loads(found.body),
        waiting=None if found.waiting is None else _waiting_out(found.waiting),
        dead=None if found.dead is None else _dead_out(found.dead),
        attempts=[_attempt_out(one) for one in found.attempts],
    )


@routes.post(
    "/replay",
    summary="Have every dead letter told once more",
    dependencies=[JSON_ONLY],
    status_code=HTTPStatus.ACCEPTED,
)
async def _replay_all(
    webhooks: TheWebhooks, asked: ReplayIn, who: Who, *, idempotency_key: IdempotencyKey = None
) -> ReplayedOut:
    del idempotency_key
    became = await webhooks.replay_all(who=who, why=asked.why)
    return ReplayedOut(became={message: one.value for message, one in became.items()})


@routes.post(
    "/test",
    summary="Have webhooks of the settings told a test",
    dependencies=[JSON_ONLY],
    status_code=HTTPStatus.ACCEPTED,
)
async def _test(webhooks: TheWebhooks, asked: ToTestIn, who: Who, *, idempotency_key: IdempotencyKey = None) -> ToldOut:
    del idempotency_key
    return ToldOut(ids=list(await webhooks.test(asked.to, who=who)))


@routes.post(
    "/{message}/replay",
    summary="Have one delivery told once more, under the same id",
    description="A dead letter waits again, from its first attempt on; what waits is tried at once.",
    dependencies=[JSON_ONLY],
    status_code=HTTPStatus.ACCEPTED,
)
async def _replay(
    webhooks: TheWebhooks, message: MessageId, asked: ReplayIn, who: Who, *, idempotency_key: IdempotencyKey = None
) -> ReplayedOut:
    del idempotency_key
    became = await webhooks.replay(message, who=who, why=asked.why)
    return ReplayedOut(became={message: became.value})


def _hook_out(one: StandingHook) -> HookOut:
    return HookOut(
        name=one.name, url=one.shown, events=list(one.events), ours=one.ours, secrets=len(one.secrets)
    )  # fmt: skip


def _waiting_out(one: Waiting) -> WaitingOut:
    return WaitingOut(id=message_id(one.job), type=_kind_of(one), next=_at(one.next_ms), tries=one.tries)


def _kind_of(one: Waiting) -> str:
    try:
        return message_of(one.job.partition("/")[0], one.entry)[0]
    except StoreDamaged:
        return ""


def _dead_out(one: DeadLetter) -> DeadOut:
    last = one.last
    return DeadOut(
        id=message_id(one.job), type=last.kind, at=_at(one.at_ms), tries=one.tries, hook=last.hook, failed=last.failed
    )


def _attempt_out(one: Tried) -> AttemptOut:
    attempt = one.attempt
    return AttemptOut(
        id=message_id(one.job),
        at=_at(one.at_ms),
        hook=attempt.hook,
        type=attempt.kind,
        became=one.became.value,
        failed=attempt.failed,
        took_s=attempt.took_s,
    )


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
