"""The shapes in which a version's parts are sent and shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from registry.codec import contents_as_dict
from registry.kinds import ArtifactKind
from registry.lifecycle import State
from registry.models import LONGEST_TEXT, MOST_PAIRS
from registry.service import Shown
from registry.signature import MOST_TENSORS
from serving.control.api.asked import Body
from serving.control.api.feedback import MetricOut

_SHA256 = r"^[0-9a-f]{64}$"
_LARGEST_COUNT = 2**63 - 1

Digest = Annotated[str, Field(pattern=_SHA256, description="SHA-256 in hexadecimal")]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Count = Annotated[int, Field(strict=True, ge=0, le=_LARGEST_COUNT)]
Metrics = Annotated[
    dict[Name, float], Field(max_length=MOST_PAIRS, default_factory=dict, examples=[{"accuracy": 0.97}])
]
Parameter = StrictBool | StrictInt | StrictFloat | StrictStr
Parameters = Annotated[
    dict[Name, Parameter], Field(max_length=MOST_PAIRS, default_factory=dict, examples=[{"epochs": 15, "rate": 0.002}])
]
Tags = Annotated[dict[Name, Text], Field(max_length=MOST_PAIRS, default_factory=dict, examples=[{"team": "forms"}])]


class TensorBody(Body):
    """One input or output: its shape without the batch dimension, -1 where a size varies."""

    name: Annotated[str, Field(examples=["pixels"])]
    datatype: Annotated[str, Field(examples=["FP32"])]
    shape: Annotated[list[Annotated[int, Field(strict=True)]], Field(examples=[[64]], max_length=32)]
    optional: Annotated[bool, Field(strict=True, description="whether clients may leave it out; of inputs only")] = (
        False
    )


class SignatureBody(Body):
    """What a version takes and gives."""

    inputs: Annotated[list[TensorBody], Field(max_length=MOST_TENSORS)]
    outputs: Annotated[list[TensorBody], Field(max_length=MOST_TENSORS)]


class DataBody(Body):
    """What a version was trained on."""

    fingerprint: Annotated[Name, Field(description="whatever its maker takes for one")]
    rows: Count


class ArtifactOut(BaseModel):
    """A version's files."""

    kind: ArtifactKind
    digest: Digest
    size_bytes: int


class VersionOut(BaseModel):
    """A registered version. Its state's revision, in quotes, is the `ETag`."""

    model: Annotated[str, Field(examples=["digits"])]
    version: Annotated[int, Field(examples=[3])]
    state: State
    revision: Annotated[int, Field(examples=[12], description="of the model, when the version got into its state")]
    aliases: Annotated[list[str], Field(examples=[["production"]])]
    registered_by: Annotated[str, Field(examples=["anonymous from 127.0.0.1"])]
    registered_at: datetime
    artifact: ArtifactOut
    signature: SignatureBody
    data: DataBody | None = None
    parameters: dict[str, Parameter]
    metrics: dict[str, float]
    parent: int | None = None
    code_revision: str
    example: Annotated[str | None, Field(description="the JSON body of a v2 inference request")] = None
    baseline_digest: str | None = None
    tags: dict[str, str]
    feedback: Annotated[
        dict[str, MetricOut], Field(description="metrics that were said of its answers, as they are now")
    ] = {}


def version_out(shown: Shown, feedback: Mapping[str, MetricOut] = MappingProxyType({})) -> VersionOut:
    """The version as it is shown, with what was said of its answers."""
    said: dict[str, Any] = contents_as_dict(shown.version.contents)
    return VersionOut(
        model=str(shown.version.model),
        version=int(shown.version.number),
        state=shown.standing.state,
        revision=shown.standing.revision,
        aliases=[str(alias) for alias in shown.aliases],
        registered_by=shown.version.registered_by,
        registered_at=moment(shown.version.registered_at_ms),
        feedback=dict(feedback),
        **said,
    )


def moment(at_ms: int) -> datetime:
    """Milliseconds since 1970 as a time."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
