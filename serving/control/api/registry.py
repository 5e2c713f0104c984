"""The registry over HTTP, to be read: models, versions, what differs between two, what was changed and by whom."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from registry.diff import Difference
from registry.errors import NotFound
from registry.kinds import ArtifactKind
from registry.lifecycle import State
from registry.service import MOST_LISTED
from serving.control.api.asked import ModelName, Service, etag
from serving.control.api.contents import Digest, Parameter, VersionOut, moment, version_out
from serving.control.api.desk import Desk
from serving.control.api.feedback import MetricOut, versions_in
from serving.control.api.workshop import TheRegistry, TheWorkshop
from serving.control.configured import config_of, with_defaults
from serving.control.wishes import desired

routes = APIRouter(prefix="/registry", tags=["registry"])

Named = Annotated[str, Field(max_length=64, examples=["3"], description="a version's number, or an alias")]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


class AliasOut(BaseModel):
    """What a name stands for. The revision, in quotes, is the `ETag`, and goes into the next change's `If-Match`."""

    model: Annotated[str, Field(examples=["digits"])]
    alias: Annotated[str, Field(examples=["production"])]
    version: Annotated[int, Field(examples=[3])]
    revision: Annotated[int, Field(examples=[12])]


class ModelListedOut(BaseModel):
    """A model of the registry; `newest` is the highest number that it ever gave away."""

    name: Annotated[str, Field(examples=["digits"])]
    revision: int
    versions: int
    newest: int
    aliases: Annotated[dict[str, int], Field(examples=[{"production": 3}])]


class ModelsListedOut(BaseModel):
    """A page of models by name; `next` is the `after` of the next page, null where this is the last."""

    models: list[ModelListedOut]
    next: str | None


class VersionListedOut(BaseModel):
    """A version at a glance; two that share `contents_digest` are the same thing twice."""

    version: int
    state: State
    revision: int
    kind: ArtifactKind
    artifact_digest: Digest
    contents_digest: Digest
    registered_by: str
    registered_at: datetime
    metrics: dict[str, float]


class VersionsListedOut(BaseModel):
    """A page of versions, the highest number first; `next` is the `below` of the next page, null where it is the last.

    `aliases` are all of the model's.
    """

    model: str
    versions: list[VersionListedOut]
    aliases: dict[str, int]
    next: int | None


class DifferenceOut(BaseModel):
    """One thing that differs; null where a version does not have it. `change` is by how much, between numbers."""

    name: str
    before: Parameter | None
    after: Parameter | None
    change: float | None


class DiffOut(BaseModel):
    """What differs between two versions; `objections` say why `after` could not serve the clients of `before`."""

    model: str
    before: int
    after: int
    differs: bool
    parameters: list[DifferenceOut]
    metrics: list[DifferenceOut]
    data: list[DifferenceOut]
    made_of: list[DifferenceOut]
    tags: list[DifferenceOut]
    signature: list[DifferenceOut]
    objections: list[str]


class AuditEntryOut(BaseModel):
    """Who changed what, from what to what."""

    id: str
    at: datetime
    who: str
    what: Annotated[str, Field(examples=["alias"])]
    model: str
    subject: str
    before: str | None
    after: str | None
    why: str


class AuditOut(BaseModel):
    """A page of the audit log, newest first; `next` is the `before` of the next page."""

    entries: list[AuditEntryOut]
    next: str | None


@routes.get("/models", summary="The models of the registry, by name")
async def _models(
    registry: TheRegistry,
    after: Annotated[str, Query(max_length=256, description="the last name of the page before")] = "",
    limit: Limit = 100,
) -> ModelsListedOut:
    found = await registry.models(after=after, limit=limit)
    return ModelsListedOut(
        models=[
            ModelListedOut(
                name=str(one.name),
                revision=one.revision,
                versions=one.versions,
                newest=one.newest,
                aliases={str(name): int(alias.version) for name, alias in sorted(one.aliases.items())},
            )
            for one in found
        ],
        next=str(found[-1].name) if len(found) == limit else None,
    )


@routes.get(
    "/models/{model}/versions",
    summary="The versions of a model, the newest first",
    response_model=VersionsListedOut,
)
async def _versions(
    registry: TheRegistry,
    model: ModelName,
    below: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="the last number of the page before")] = None,
    limit: Limit = 100,
) -> Response:
    found = await registry.versions(model, below=below, limit=limit)
    aliases = await registry.aliases(model)
    page = {
        "model": model,
        "versions": found,
        "aliases": {str(name): int(alias.version) for name, alias in aliases.items()},
        "next": found[-1]["version"] if len(found) == limit else None,
    }
    # Without a model of pydantic for each row: ten thousand of them take longer than everything else together.
    return Response(to_json(page), media_type="application/json")


@routes.get("/models/{model}/versions/{version}", summary="A version, by its number or an alias")
async def _version(
    registry: TheRegistry, model: ModelName, version: Named, request: Request, response: Response
) -> VersionOut:
    shown = await registry.show(model, version)
    response.headers["ETag"] = etag(shown.standing.revision)
    return version_out(shown, await _said_of(request, str(shown.version.model), int(shown.version.number)))


async def _said_of(request: Request, model: str, version: int) -> dict[str, MetricOut]:
    """The metrics that were said of a version's answers."""
    desk: Desk | None = request.app.state.desk
    if desk is None or desk.feedback is None:
        return {}
    found = versions_in(await desk.feedback.sums(model)).get(str(version))
    return {} if found is None else found.metrics


@routes.get(
    "/models/{model}/versions/{version}/config",
    summary="The config.pbtxt that a version is served with",
    description=(
        "With the options that it is deployed with, or those of the settings; without either, with the defaults. What "
        "depends on the backends of the Triton that serves it is shown for one that has the Python backend alone."
    ),
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Triton's text form."}},
)
async def _config(service: Service, workshop: TheWorkshop, model: ModelName, version: Named) -> Response:
    number = int(await workshop.registry.resolve(model, version))
    if service.source_of(model, number) == "static":
        raise NotFound(
            f"{model} version {number} is served by somebody else's Triton, which alone has its configuration.",
            f"Ask that one for /v2/models/{model}/config.",
        )
    running = desired(workshop.declared, await service.wishes()).get((model, number))
    spec = running or with_defaults((await workshop.registry.show(model, number)).version)
    text = await config_of(spec, workshop.artifacts, allow_pickle=workshop.allow_pickle)
    return Response(text, media_type="text/plain")


@routes.get("/models/{model}/diff", summary="What differs between two versions")
async def _diff(
    registry: TheRegistry,
    model: ModelName,
    before: Annotated[Named, Query()],
    after: Annotated[Named, Query()],
) -> DiffOut:
    first, second = await registry.resolve(model, before), await registry.resolve(model, after)
    found = await registry.diff(model, first, second)
    parts = ("parameters", "metrics", "data", "made_of", "tags", "signature")
    return DiffOut.model_validate(
        {
            **{part: [_difference(one) for one in getattr(found, part)] for part in parts},
            "model": model,
            "before": int(first),
            "after": int(second),
            "differs": bool(found),
            "objections": list(found.objections),
        }
    )


@routes.get("/audit", summary="Who changed what in the registry, newest first")
async def _audit(
    registry: TheRegistry,
    before: Annotated[str, Query(max_length=64, description="the last id of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> AuditOut:
    found = await registry.audit(before=before, limit=limit)
    return AuditOut(
        entries=[
            AuditEntryOut(
                id=one.id,
                at=moment(one.at_ms),
                who=one.entry.who,
                what=one.entry.what,
                model=one.entry.model,
                subject=one.entry.subject,
                before=one.entry.before,
                after=one.entry.after,
                why=one.entry.why,
            )
            for one in found
        ],
        next=found[-1].id if len(found) == limit else None,
    )


def _difference(one: Difference) -> dict[str, Any]:
    return {"name": one.name, "before": one.before, "after": one.after, "change": one.change}
