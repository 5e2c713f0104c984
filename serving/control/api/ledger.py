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
from serving.control.rolling.ledger import MOST_LISTED
from serving.control.rolling.story import story_of

routes = APIRouter(tags=["records"])
of_rollouts = APIRouter(tags=["rollouts"])

ENTRY_ID = re.compile(r"[0-9]{1,15}(-[0-9]{1,15})?")
_ID = f"^{ENTRY_ID.pattern}$"
EntryId = Annotated[str | None, Query(pattern=_ID, description="only what is newer than this id")]
OlderId = Annotated[str | None, Query(pattern=_ID, description="only what is older than this id")]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


class EntryOut(BaseModel):
    """What was decided, by whom, why, and what came of it."""

    id: str
    at: datetime
    kind: Annotated[str, Field(examples=["rollout"])]
    who: str
    why: str
    facts: dict[str, Any]


class LedgerOut(BaseModel):
    """Entries, newest first. There may be more, older than `next`, even where a page has few or none."""

    entries: list[EntryOut]
    next: Annotated[str | None, Field(description="hand it in as `before`; null where this is all")]


class WhyOut(BaseModel):
    """What happened to a rollout, oldest first: told, and as entries. There may be more, newer than `next`."""

    story: list[str]
    entries: list[EntryOut]
    next: Annotated[str | None, Field(description="hand it in as `after`; null where this is all")]


@routes.get("/ledger", summary="What was decided, newest first")
async def _ledger(  # noqa: PLR0917 - what may be asked, by name
    service: Service,
    model: Annotated[str | None, Query(max_length=256, description="of this model only")] = None,
    rollout: Annotated[str | None, Query(max_length=64, description="of this rollout only")] = None,
    after: EntryId = None,
    before: OlderId = None,
    limit: Limit = 50,
) -> LedgerOut:
    found = await service.history.newest(limit, model=model, rollout=rollout, after=after or "", before=before or "")
    return LedgerOut(entries=[entry_out(one) for one in found.entries], next=found.next or None)


@routes.get(
    "/ledger/export",
    summary="All of it, oldest first, a line of JSON for each entry",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "Entries, the archive's first."}},
)
async def _export(service: Service) -> StreamingResponse:
    return StreamingResponse(service.history.export(), media_type="application/x-ndjson")


@of_rollouts.get("/rollouts/{rollout}/why", summary="What happened to a rollout, oldest first")
async def _why(
    service: Service, rollouts: TheRollouts, rollout: str, after: EntryId = None, limit: Limit = MOST_LISTED
) -> WhyOut:
    view = await rollouts.rollout(rollout)
    page = await service.history.of_rollout(view.record.id, limit, after or "")
    entries = [entry_out(one) for one in page.entries]
    return WhyOut(story=story_of(page.entries), entries=entries, next=page.next or None)


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
