"""Names that move from version to version, over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict

from registry.errors import NotFound
from registry.models import AliasName
from serving.control.api.asked import (
    JSON_ONLY,
    Body,
    IfMatch,
    ModelName,
    VersionNumber,
    Who,
    Why,
    etag,
    needed_revision,
)
from serving.control.api.registry import AliasOut
from serving.control.api.workshop import TheRegistry

routes = APIRouter(prefix="/registry/models/{model}/aliases", tags=["registry"])

Alias = Annotated[str, Path(max_length=64, examples=["production"])]


class AliasIn(Body):
    """Which version a name is to stand for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 3, "why": "it won"}]})

    version: VersionNumber
    why: Why = ""


class AliasesOut(BaseModel):
    """All names of a model."""

    aliases: list[AliasOut]


@routes.get("", summary="The aliases of a model")
async def _aliases(registry: TheRegistry, model: ModelName) -> AliasesOut:
    found = await registry.aliases(model)
    return AliasesOut(
        aliases=[
            AliasOut(model=model, alias=name, version=one.version, revision=one.revision) for name, one in found.items()
        ]
    )


@routes.get("/{alias}", summary="What an alias stands for")
async def _alias(registry: TheRegistry, model: ModelName, alias: Alias, response: Response) -> AliasOut:
    found = await _there(registry, model, alias)
    response.headers["ETag"] = etag(found.revision)
    return found


@routes.put(
    "/{alias}",
    summary="Put an alias on a version",
    description='`If-Match` names the alias\'s revision that was read, `"0"` for one that is new, `*` for any.',
    dependencies=[JSON_ONLY],
)
async def _point(
    *,
    registry: TheRegistry,
    model: ModelName,
    alias: Alias,
    wanted: AliasIn,
    response: Response,
    who: Who,
    if_match: IfMatch = None,
) -> AliasOut:
    expected = needed_revision(if_match)
    done = await registry.point(model, alias, wanted.version, expected=expected, who=who, why=wanted.why)
    response.headers["ETag"] = etag(done.revision)
    return AliasOut(model=model, alias=alias, version=wanted.version, revision=done.revision)


@routes.delete("/{alias}", summary="Take an alias away", status_code=HTTPStatus.NO_CONTENT)
async def _unpoint(
    *,
    registry: TheRegistry,
    model: ModelName,
    alias: Alias,
    who: Who,
    why: Annotated[str, Query(max_length=1_000)] = "",
    if_match: IfMatch = None,
) -> None:
    await registry.unpoint(model, alias, expected=needed_revision(if_match), who=who, why=why)


async def _there(registry: TheRegistry, model: str, alias: str) -> AliasOut:
    name, known = AliasName(alias), await registry.aliases(model)
    if name not in known:
        names = ", ".join(known)
        raise NotFound(f"{model} has no alias {name}.", f"Its aliases are {names}." if names else "It has none.")
    return AliasOut(model=model, alias=name, version=known[name].version, revision=known[name].revision)
