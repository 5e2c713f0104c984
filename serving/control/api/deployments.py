"""Versions get servers and traffic, and lose them, over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from router.policy import LARGEST_VERSION
from serving.control.api.asked import JSON_ONLY, Body, ModelName, VersionNumber, WaitS, Who, Why
from serving.control.api.operations import LONG, answered
from serving.control.api.workshop import TheOperations
from serving.pools import PoolOptions

routes = APIRouter(prefix="/models/{model}", tags=["deployments"])

Number = Annotated[int, Path(ge=1, le=LARGEST_VERSION, examples=[3])]
Wait = Annotated[WaitS, Query(description="for its end, seconds; 202 where it goes on after that")]


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
    status_code=HTTPStatus.ACCEPTED,
    responses={**LONG},
    dependencies=[JSON_ONLY],
)
async def _deploy(
    *,
    operations: TheOperations,
    model: ModelName,
    version: Number,
    who: Who,
    wanted: DeployIn | None = None,
    wait_s: Wait = 0.0,
) -> Response:
    asked = wanted or DeployIn()
    arguments = {"options": _said(asked.options)}
    return await answered(
        operations, await operations.begin("deploy", model, version, arguments, who=who, why=asked.why), wait_s
    )


@routes.post(
    "/versions/{version}/remove",
    summary="Take a version's servers away",
    description="Refused while a policy gives it traffic, or it is stable.",
    status_code=HTTPStatus.ACCEPTED,
    responses={**LONG},
    dependencies=[JSON_ONLY],
)
async def _remove(
    *,
    operations: TheOperations,
    model: ModelName,
    version: Number,
    who: Who,
    wanted: RemoveIn | None = None,
    wait_s: Wait = 0.0,
) -> Response:
    asked = wanted or RemoveIn()
    return await answered(
        operations, await operations.begin("remove", model, version, {}, who=who, why=asked.why), wait_s
    )


@routes.post(
    "/promote",
    summary="Give a version all of the traffic",
    description=(
        "Servers are started for it if it has none; then all traffic goes to it; then, unless they are kept, the "
        "servers of the versions that lost theirs are drained and taken away."
    ),
    status_code=HTTPStatus.ACCEPTED,
    responses={**LONG},
    dependencies=[JSON_ONLY],
)
async def _promote(
    *, operations: TheOperations, model: ModelName, wanted: PromoteIn, who: Who, wait_s: Wait = 0.0
) -> Response:
    arguments: dict[str, Any] = {"keep": wanted.keep, "force": wanted.force}
    if wanted.options is not None:
        arguments["options"] = _said(wanted.options)
    begun = await operations.begin("promote", model, wanted.version, arguments, who=who, why=wanted.why)
    return await answered(operations, begun, wait_s)


def _said(options: PoolOptions) -> dict[str, Any]:
    return options.model_dump(mode="json", exclude_unset=True)
