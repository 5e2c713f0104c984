"""The registry over HTTP, to be changed: versions are registered, verified, put away, taken back and deleted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import ConfigDict, Field

from registry.kinds import ArtifactKind
from registry.lifecycle import Event
from registry.models import LONGEST_TEXT
from registry.models import ModelName as RegistryName
from registry.service import Registry
from serving.control.api.asked import (
    JSON_ONLY,
    Body,
    IfMatch,
    ModelName,
    VersionNumber,
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
from serving.control.api.long_work import BEGINS, BEGINS_AND_MAKES, Number, Work
from serving.control.api.workshop import TheRegistry
from serving.pools import PoolOptions

routes = APIRouter(prefix="/registry/models/{model}", tags=["registry"])


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


@dataclass(frozen=True, slots=True)
class Move:
    """How a version's state is to be changed.

    Attributes:
        who: asks.
        why: for the audit log.
        expected: the revision that the caller knows; None for any.
    """

    who: str
    why: str
    expected: int | None

    async def made(self, registry: Registry, model: str, version: int, event: Event, response: Response) -> VersionOut:
        """The version after that event, and its `ETag` in the response."""
        await registry.move(model, version, event, expected=self.expected, who=self.who, why=self.why)
        shown = await registry.show(model, version)
        response.headers["ETag"] = etag(shown.standing.revision)
        return version_out(shown)


def _move(who: Who, reason: ReasonIn | None = None, if_match: IfMatch = None) -> Move:
    return Move(who, reason.why if reason else "", given_revision(if_match))


AskedMove = Annotated[Move, Depends(_move)]


@routes.post(
    "/versions",
    summary="Register a version",
    description=(
        "The artifact is copied in and measured, tried on a server of its own, and then recorded, verified. What can "
        "be refused before that is refused at once. A registration that fails leaves nothing behind."
    ),
    **BEGINS_AND_MAKES,
)
async def _register(work: Work, model: ModelName, wanted: RegisterIn) -> Response:
    said = wanted.model_dump(mode="json", exclude={"options", "why", "example"})
    of_the_artifact = ("source", "kind", "digest", "number", "serves", "force")
    arguments = {name: said.pop(name) for name in of_the_artifact}
    if wanted.example is not None:
        said["example"] = json.dumps(wanted.example)
    arguments |= {"contents": said, "options": wanted.options.model_dump(mode="json", exclude_unset=True)}
    return await work.begun("register", RegistryName(model), wanted.number, arguments, wanted.why)


@routes.post(
    "/versions/{version}/verify",
    summary="Read a version's artifact again and try it",
    description="A registered version (one that was restored) is verified after it.",
    **BEGINS,
)
async def _verify(work: Work, model: ModelName, version: Number, wanted: VerifyIn | None = None) -> Response:
    asked = wanted or VerifyIn()
    arguments = {"options": asked.options.model_dump(mode="json", exclude_unset=True)}
    return await work.begun("verify", RegistryName(model), version, arguments, asked.why)


@routes.post("/import", summary="Register a version from an MLflow registry", **BEGINS_AND_MAKES)
async def _import(work: Work, model: ModelName, wanted: ImportIn) -> Response:
    arguments = {"source": wanted.source, "number": wanted.number, "force": wanted.force}
    return await work.begun("import", RegistryName(model), wanted.number, arguments, wanted.why)


@routes.post(
    "/versions/{version}/archive",
    summary="Put a version away",
    description="Refused while an alias, a policy, a pool or an operation uses it; the answer says which.",
    dependencies=[JSON_ONLY],
)
async def _archive(
    registry: TheRegistry, model: ModelName, version: Number, move: AskedMove, response: Response
) -> VersionOut:
    return await move.made(registry, model, version, Event.ARCHIVE, response)


@routes.post(
    "/versions/{version}/restore",
    summary="Take a version back that was put away",
    description="It has been out of sight, so it must be verified again before it serves.",
    dependencies=[JSON_ONLY],
)
async def _restore(
    registry: TheRegistry, model: ModelName, version: Number, move: AskedMove, response: Response
) -> VersionOut:
    return await move.made(registry, model, version, Event.RESTORE, response)


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
