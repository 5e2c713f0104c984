"""What was decided, and what one request's id says, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from serving.control.api.asked import Service

routes = APIRouter(tags=["records"])


class RequestOut(BaseModel):
    """What a request id says."""

    request_id: str
    model: Annotated[str | None, Field(examples=["digits"], description="null where no known model has its hash")]
    assigned: int
    answered: int
    epoch: int
    reason: Annotated[str, Field(examples=["arm"])]
    at: datetime
    has_unit: bool
    synthetic: bool


class EntryOut(BaseModel):
    """What was decided, by whom, why, and what came of it."""

    id: str
    at: datetime
    kind: Annotated[str, Field(examples=["policy"])]
    who: str
    why: str
    facts: dict[str, Any]


class LedgerOut(BaseModel):
    """Entries, newest first."""

    entries: list[EntryOut]


@routes.get("/requests/{request_id}", summary="What a request id says")
async def _request(service: Service, request_id: str) -> RequestOut:
    decoded = await service.decoded(request_id)
    said = decoded.said
    return RequestOut(
        request_id=request_id,
        model=decoded.model,
        assigned=said.assigned,
        answered=said.answered,
        epoch=said.epoch,
        reason=said.reason.value,
        at=datetime.fromtimestamp(said.at_s, UTC),
        has_unit=said.has_unit,
        synthetic=said.synthetic,
    )


@routes.get("/ledger", summary="What was decided, newest first")
async def _ledger(service: Service, limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> LedgerOut:
    return LedgerOut(
        entries=[
            EntryOut(
                id=one.id,
                at=datetime.fromtimestamp(one.at_ms / 1000, UTC),
                kind=one.entry.kind,
                who=one.entry.who,
                why=one.entry.why,
                facts=dict(one.entry.facts),
            )
            for one in await service.ledger(limit)
        ]
    )
