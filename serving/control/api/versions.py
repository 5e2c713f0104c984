"""The registry over HTTP, to be changed: versions are registered, verified, put away, taken back and deleted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from registry.kinds import ArtifactKind
from registry.lifecycle import Event
from registry.models import LARGEST_VERSION, LONGEST_TEXT
from registry.models import ModelName as RegistryName
from serving.control.api.asked import (
    JSON_ONLY,
    Body,
    IfMatch,
    ModelName,
    VersionNumber,
    WaitS,
    Who,
    Why,
    etag,
    given_revision,
)
from serving.control.api.contents import (
    DataBody,
    Digest,
    Metrics,
    Parameters,
    SignatureBody,
    Tags,
    VersionOut,
    version_out,
)
from serving.control.api.operations import LONG, LONG_AND_MADE, answered
from serving.control.api.workshop import TheOperations, TheRegistry
from serving.pools import PoolOptions

routes = APIRouter(prefix="/registry/models/{model}", tags=["registry"])

Number = Annotated[int, Path(ge=1, le=LARGEST_VERSION, examples=[3])]
Wait = Annotated[WaitS, Query(description="for its end, seconds; 202 where it goes on after that")]


class RegisterIn(Body):
    """A version to be registered. What is left out of signature and example is looked for among the artifact's files.

    Kinds `torchscript` and `triton` run their author's code, already in the trial.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"source": "/srv/models/digits/3", "metrics": {"accuracy": 0.98}, "tags": {"team": "forms"}}]
        },
    )

    source: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4_096,
            description="a path on the server's side, or an address, below one of `registry.sources`",
        ),
    ]
    kind: Annotated[ArtifactKind | None, Field(description="left out: told from the files")] = None
    digest: Annotated[Digest | None, Field(description="that the artifact must have, if it is known")] = None
    number: Annotated[VersionNumber | None, Field(description="left out: the next free one")] = None
    signature: SignatureBody | None = None
    example: Annotated[dict[str, Any] | None, Field(description="the body of a v2 inference request")] = None
    data: DataBody | None = None
    parameters: Parameters
    metrics: Metrics
    tags: Tags
    parent: Annotated[VersionNumber | None, Field(description="the version that it was made from")] = None
    code_revision: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""
    baseline_digest: Digest | None = None
    serves: Annotated[
        VersionNumber | None,
        Field(description="whose clients it must be able to serve; left out: the stable version's"),
    ] = None
    force: Annotated[bool, Field(strict=True, description="even if it cannot serve them")] = False
    options: Annotated[PoolOptions, Field(description="how it is run in the trial")] = PoolOptions()
    why: Why = ""


class VerifyIn(Body):
    """How a version is tried again."""

    options: PoolOptions = PoolOptions()
    why: Why = ""


class ImportIn(Body):
    """A version of somebody else's registry."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"source": "mlflow:/digits/3"}]})

    source: Annotated[
        str, Field(min_length=1, max_length=4_096, description="mlflow:/NAME/VERSION or mlflow:/NAME@ALIAS")
    ]
    number: Annotated[VersionNumber | None, Field(description="left out: the number that it has there")] = None
    force: Annotated[bool, Field(strict=True, description="even if it cannot serve the stable version's clients")] = (
        False
    )
    why: Why = ""


class ReasonIn(Body):
    """Why something is done."""

    why: Why = ""


@routes.post(
    "/versions",
    summary="Register a version",
    description=(
        "The artifact is copied in and measured, tried on a server of its own, and then recorded, verified. What can "
        "be refused before that is refused at once. A registration that fails leaves nothing behind."
    ),
    status_code=HTTPStatus.ACCEPTED,
    responses={**LONG_AND_MADE},
    dependencies=[JSON_ONLY],
)
async def _register(
    *, operations: TheOperations, model: ModelName, wanted: RegisterIn, who: Who, wait_s: Wait = 0.0
) -> Response:
    said = wanted.model_dump(mode="json", exclude={"options", "why", "example"})
    of_the_artifact = ("source", "kind", "digest", "number", "serves", "force")
    arguments = {name: said.pop(name) for name in of_the_artifact}
    if wanted.example is not None:
        said["example"] = json.dumps(wanted.example)
    arguments |= {"contents": said, "options": wanted.options.model_dump(mode="json", exclude_unset=True)}
    begun = await operations.begin("register", RegistryName(model), wanted.number, arguments, who=who, why=wanted.why)
    return await answered(operations, begun, wait_s)


@routes.post(
    "/versions/{version}/verify",
    summary="Read a version's artifact again and try it",
    description="A registered version (one that was restored) is verified after it.",
    status_code=HTTPStatus.ACCEPTED,
    responses={**LONG},
    dependencies=[JSON_ONLY],
)
async def _verify(
    *,
    operations: TheOperations,
    model: ModelName,
    version: Number,
    who: Who,
    wanted: VerifyIn | None = None,
    wait_s: Wait = 0.0,
) -> Response:
    asked = wanted or VerifyIn()
    arguments = {"options": asked.options.model_dump(mode="json", exclude_unset=True)}
    begun = await operations.begin("verify", RegistryName(model), version, arguments, who=who, why=asked.why)
    return await answered(operations, begun, wait_s)


@routes.post(
    "/import",
    summary="Register a version from an MLflow registry",
    status_code=HTTPStatus.ACCEPTED,
    responses={**LONG_AND_MADE},
    dependencies=[JSON_ONLY],
)
async def _import(
    *, operations: TheOperations, model: ModelName, wanted: ImportIn, who: Who, wait_s: Wait = 0.0
) -> Response:
    arguments = {"source": wanted.source, "number": wanted.number, "force": wanted.force}
    begun = await operations.begin("import", RegistryName(model), wanted.number, arguments, who=who, why=wanted.why)
    return await answered(operations, begun, wait_s)


@routes.post(
    "/versions/{version}/archive",
    summary="Put a version away",
    description="Refused while an alias, a policy, a pool or an operation uses it; the answer says which.",
    dependencies=[JSON_ONLY],
)
async def _archive(
    *,
    registry: TheRegistry,
    model: ModelName,
    version: Number,
    response: Response,
    who: Who,
    reason: ReasonIn | None = None,
    if_match: IfMatch = None,
) -> VersionOut:
    move = _Move(Event.ARCHIVE, given_revision(if_match), who, reason)
    return await _moved(registry, model, version, move, response)


@routes.post(
    "/versions/{version}/restore",
    summary="Take a version back that was put away",
    description="It has been out of sight, so it must be verified again before it serves.",
    dependencies=[JSON_ONLY],
)
async def _restore(
    *,
    registry: TheRegistry,
    model: ModelName,
    version: Number,
    response: Response,
    who: Who,
    reason: ReasonIn | None = None,
    if_match: IfMatch = None,
) -> VersionOut:
    move = _Move(Event.RESTORE, given_revision(if_match), who, reason)
    return await _moved(registry, model, version, move, response)


@routes.delete(
    "/versions/{version}",
    summary="Delete a version that was put away",
    description="Its number is never used again. Its artifact stays: another version may be made of the same files.",
    status_code=HTTPStatus.NO_CONTENT,
)
async def _delete(
    *,
    registry: TheRegistry,
    model: ModelName,
    version: Number,
    who: Who,
    why: Annotated[str, Query(max_length=1_000)] = "",
    if_match: IfMatch = None,
) -> None:
    await registry.move(model, version, Event.DELETE, expected=given_revision(if_match), who=who, why=why)


@dataclass(frozen=True, slots=True)
class _Move:
    """What is asked of a version: the event, the revision that the caller knows, who, and why."""

    event: Event
    expected: int | None
    who: str
    reason: ReasonIn | None


async def _moved(registry: TheRegistry, model: str, version: int, move: _Move, response: Response) -> VersionOut:
    why = move.reason.why if move.reason else ""
    await registry.move(model, version, move.event, expected=move.expected, who=move.who, why=why)
    shown = await registry.show(model, version)
    response.headers["ETag"] = etag(shown.standing.revision)
    return version_out(shown)
