"""What one request's id says, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
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
