"""How much a model is asked and how its versions answer, over HTTP: what a rollout of it may be planned with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from serving.control.api.asked import ModelName, Service
from serving.control.api.rollout_bodies import LatelyOut
from serving.control.api.rollout_shapes import lately_out

routes = APIRouter(tags=["traffic"])


class RatesOut(BaseModel):
    """A model's traffic within the last ten seconds."""

    model: str
    requests_per_s: Annotated[
        float | None,
        Field(description="of all versions; null until two reports of gateways are there", examples=[120.5]),
    ]
    versions: Annotated[dict[str, LatelyOut], Field(description="by version; of those that were asked at all")]


@routes.get("/models/{model}/rates", summary="How much a model is asked, and how its versions answer")
async def _rates(model: ModelName, service: Service) -> RatesOut:
    rate = service.rates.of(model)
    lately = service.rates.lately(model)
    return RatesOut(
        model=model,
        requests_per_s=None if rate is None else round(rate, 3),
        versions={str(one): lately_out(how) for one, how in sorted(lately.items())},
    )
