"""Versions get servers and traffic, and lose them, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from serving.control.api.asked import Body, ModelName, VersionNumber, Why
from serving.control.api.long_work import BEGINS, Number, Work
from serving.pools import PoolOptions

routes = APIRouter(prefix="/models/{model}", tags=["deployments"])


class DeployIn(Body):
    """How a version is to be run."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"options": {"replicas": 2, "max_batch_size": 32}}]}
    )

    options: PoolOptions = PoolOptions()
    why: Why = ""


class PromoteIn(Body):
    """Which version is to take all of the traffic."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 3, "keep": True}]})

    version: VersionNumber
    options: Annotated[PoolOptions | None, Field(description="left out: as it runs, or as the defaults say")] = None
    keep: Annotated[bool, Field(strict=True, description="the servers of versions that lose their traffic")] = False
    force: Annotated[bool, Field(strict=True, description="past what its servers are known to carry")] = False
    why: Why = ""


class RemoveIn(Body):
    """Why servers are taken away."""

    why: Why = ""


@routes.post(
    "/versions/{version}/deploy",
    summary="Start servers for a version",
    description=(
        "The version must be verified, or be one of the settings. It gets no traffic by this. If it does not come up, "
        "it is taken away again, and the answer says why in Triton's words."
    ),
    **BEGINS,
)
async def _deploy(work: Work, model: ModelName, version: Number, wanted: DeployIn | None = None) -> Response:
    asked = wanted or DeployIn()
    return await work.begun("deploy", model, version, {"options": _said(asked.options)}, asked.why)


@routes.post(
    "/versions/{version}/remove",
    summary="Take a version's servers away",
    description="Refused while a policy gives it traffic, or it is stable.",
    **BEGINS,
)
async def _remove(work: Work, model: ModelName, version: Number, wanted: RemoveIn | None = None) -> Response:
    return await work.begun("remove", model, version, {}, (wanted or RemoveIn()).why)


@routes.post(
    "/promote",
    summary="Give a version all of the traffic",
    description=(
        "Servers are started for it if it has none; then all traffic goes to it; then, unless they are kept, the "
        "servers of the versions that lost theirs are drained and taken away."
    ),
    **BEGINS,
)
async def _promote(work: Work, model: ModelName, wanted: PromoteIn) -> Response:
    arguments: dict[str, Any] = {"keep": wanted.keep, "force": wanted.force}
    if wanted.options is not None:
        arguments["options"] = _said(wanted.options)
    return await work.begun("promote", model, wanted.version, arguments, wanted.why)


def _said(options: PoolOptions) -> dict[str, Any]:
    return options.model_dump(mode="json", exclude_unset=True)
