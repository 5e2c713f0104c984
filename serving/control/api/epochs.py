"""Epochs and gateways over HTTP: what is current, what came before, and who runs it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from serving.control.api.desk import TheDesk
from serving.control.api.status import GatewayOut, gateway_out

routes = APIRouter(tags=["traffic"])


class EpochOut(BaseModel):
    """One epoch, and the digest of its snapshot; two of them where a failover had split the line."""

    epoch: Annotated[int, Field(examples=[7])]
    digests: list[str]


class EpochsOut(BaseModel):
    """The current epoch, and those before it, newest first."""

    epoch: Annotated[int, Field(examples=[8])]
    digest: str
    parent: str
    lineage: list[EpochOut]


class GatewaysOut(BaseModel):
    """The gateways whose lease is alive."""

    epoch: Annotated[int, Field(description="the current one")]
    gateways: list[GatewayOut]


@routes.get("/epochs", summary="The current epoch, and those before it")
async def _epochs(desk: TheDesk, limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> EpochsOut:
    head = await desk.epochs.head()
    asked = range(max(1, head.epoch - limit + 1), head.epoch + 1)
    lineage = await desk.epochs.lineage(list(asked))
    return EpochsOut(
        epoch=head.epoch,
        digest=head.digest,
        parent=head.parent,
        lineage=[EpochOut(epoch=one, digests=lineage[one].split()) for one in sorted(lineage, reverse=True)],
    )


@routes.get("/gateways", summary="Who answers, and which epoch each runs")
async def _gateways(desk: TheDesk) -> GatewaysOut:
    head = await desk.epochs.head()
    alive = await desk.epochs.gateways()
    return GatewaysOut(epoch=head.epoch, gateways=[gateway_out(lease, head) for lease in alive])
