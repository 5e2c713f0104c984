"""The ledger over HTTP: what was decided, by whom and why; of everything, of a model, of a rollout."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from serving.control.api.asked import Service
from serving.control.api.desk import TheRollouts
from serving.control.publishing import Recorded
from serving.control.rolling.story import story_of

routes = APIRouter(tags=["records"])
of_rollouts = APIRouter(tags=["rollouts"])

ENTRY_ID = re.compile(r"\d{1,15}(-\d{1,15})?")
EntryId = Annotated[str | None, Query(pattern=f"^{ENTRY_ID.pattern}$", description="only what is newer than this id")]


class EntryOut(BaseModel):
    """What was decided, by whom, why, and what came of it."""

    id: str
    at: datetime
    kind: Annotated[str, Field(examples=["rollout"])]
    who: str
    why: str
    facts: dict[str, Any]


class LedgerOut(BaseModel):
    """Entries, newest first."""

    entries: list[EntryOut]


class WhyOut(BaseModel):
    """What happened to a rollout, oldest first: told, and as entries."""

    story: list[str]
    entries: list[EntryOut]


@routes.get("/ledger", summary="What was decided, newest first")
async def _ledger(
    service: Service,
    model: Annotated[str | None, Query(max_length=256, description="of this model only")] = None,
    rollout: Annotated[str | None, Query(max_length=64, description="of this rollout only")] = None,
    after: EntryId = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
) -> LedgerOut:
    found = await service.history.newest(limit, model=model, rollout=rollout, after=after or "")
    return LedgerOut(entries=[entry_out(one) for one in found])


@routes.get(
    "/ledger/export",
    summary="All of it, oldest first, a line of JSON for each entry",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "Entries, the archive's first."}},
)
async def _export(service: Service) -> StreamingResponse:
    return StreamingResponse(service.history.export(), media_type="application/x-ndjson")


@of_rollouts.get("/rollouts/{rollout}/why", summary="What happened to a rollout, oldest first")
async def _why(service: Service, rollouts: TheRollouts, rollout: str) -> WhyOut:
    view = await rollouts.rollout(rollout)
    entries = await service.history.of_rollout(view.record.id)
    return WhyOut(story=story_of(entries), entries=[entry_out(one) for one in entries])


def entry_out(recorded: Recorded) -> EntryOut:
    """The entry as it is shown."""
    return EntryOut(
        id=recorded.id,
        at=datetime.fromtimestamp(recorded.at_ms / 1000, UTC),
        kind=recorded.entry.kind,
        who=recorded.entry.who,
        why=recorded.entry.why,
        facts=dict(recorded.entry.facts),
    )
