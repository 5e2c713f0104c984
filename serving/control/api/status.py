"""Everything at a glance, over HTTP."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version as installed_version
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from router.epoch import Head
from serving.control.api.asked import Service
from serving.control.api.contents import moment
from serving.control.views import ModelView, PoolView, Status
from serving.leases import GatewayLease

routes = APIRouter(tags=["status"])


class ServedOut(BaseModel):
    """One version: how many of its endpoints are ready, who starts them, and whether its servers were taken away."""

    version: int
    ready: int
    source: Literal["pool", "static"]
    asleep: Annotated[bool, Field(description="nothing routes to it, so it has no servers until something does")]


class ModelOut(BaseModel):
    """A model at a glance; revision 0 and no stable version before its first policy."""

    name: Annotated[str, Field(examples=["digits"])]
    revision: int
    stable: int | None
    shares: Annotated[dict[str, int], Field(examples=[{"1": 900_000, "2": 100_000}])]
    versions: list[ServedOut]


class ModelsOut(BaseModel):
    """All models."""

    models: list[ModelOut]


class GatewayOut(BaseModel):
    """One gateway: what it runs and what it does. `held` says why it does not take the newest epoch, if so."""

    id: str
    host: str
    http_port: int
    grpc_port: int
    epoch: int
    digest: str
    current: bool
    workers: int
    connections: int
    in_flight: int
    requests: Annotated[dict[str, int], Field(examples=[{"digits/1": 123}])]
    held: str | None


class EndpointOut(BaseModel):
    """Where one version is served."""

    model: str
    version: int
    host: str
    http_port: int
    grpc_port: int


class PoolOut(BaseModel):
    """The servers of one version: their state in Serve's words, and how they died lately."""

    model: str
    version: int
    state: Annotated[str, Field(examples=["RUNNING"])]
    message: str
    digest: Annotated[str, Field(description="of what its servers are started with")]
    ready: int
    wanted: int
    crashes: Annotated[int, Field(description="servers that died within the last hour")]
    last_words: str
    last_crash_at: datetime | None
    next_start_at: datetime | None
    stray: Annotated[bool, Field(description="it runs only because a policy routes to it")]


class StoreOut(BaseModel):
    """Whether the store answers, and what about it could cost data."""

    reachable: bool
    warnings: list[str]


class StatusOut(BaseModel):
    """Everything at a glance."""

    version: str
    epoch: int
    digest: str
    gateways: list[GatewayOut]
    endpoints: list[EndpointOut]
    models: list[ModelOut]
    pools: list[PoolOut]
    store: StoreOut


@routes.get("/status", summary="Everything at a glance, even while the store is away")
async def _status(service: Service) -> StatusOut:
    return _status_out(await service.status())


@routes.get("/models", summary="All models")
async def _models(service: Service) -> ModelsOut:
    return ModelsOut(models=[_model_out(view) for view in await service.models()])


def _model_out(view: ModelView) -> ModelOut:
    policy = view.policy
    return ModelOut.model_validate(
        {
            "name": view.name,
            "revision": view.revision,
            "stable": policy.stable if policy else None,
            "shares": {str(one): share for one, share in policy.shares().items()} if policy else {},
            "versions": [
                {"version": one.version, "ready": one.ready, "source": one.source, "asleep": one.asleep}
                for one in view.versions
            ],
        }
    )


def gateway_out(lease: GatewayLease, head: Head) -> GatewayOut:
    """What a gateway says of itself, as it is shown."""
    return GatewayOut(
        id=lease.id,
        host=lease.host,
        http_port=lease.http_port,
        grpc_port=lease.grpc_port,
        epoch=lease.epoch,
        digest=lease.digest,
        current=lease.runs(head),
        workers=lease.workers,
        connections=lease.connections,
        in_flight=lease.in_flight,
        requests=dict(lease.requests),
        held=lease.held,
    )


def _pool_out(pool: PoolView) -> PoolOut:
    return PoolOut(
        model=pool.model,
        version=pool.version,
        state=pool.state,
        message=pool.message,
        digest=pool.digest,
        ready=pool.ready,
        wanted=pool.wanted,
        crashes=pool.crashes,
        last_words=pool.last_words,
        last_crash_at=None if pool.last_crash_ms is None else moment(pool.last_crash_ms),
        next_start_at=None if pool.next_start_ms is None else moment(pool.next_start_ms),
        stray=pool.stray,
    )


def _status_out(status: Status) -> StatusOut:
    return StatusOut(
        version=installed_version("sluice-gateway"),
        epoch=status.head.epoch,
        digest=status.head.digest,
        gateways=[gateway_out(lease, status.head) for lease in status.gateways],
        endpoints=[
            EndpointOut(model=e.model, version=e.version, host=e.host, http_port=e.http_port, grpc_port=e.grpc_port)
            for e in status.endpoints
        ],
        models=[_model_out(view) for view in status.models],
        pools=[_pool_out(pool) for pool in status.pools],
        store=StoreOut(reachable=status.reachable, warnings=list(status.warnings)),
    )
