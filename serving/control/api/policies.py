"""Traffic over HTTP: what a model runs, how that is changed, and which version a request would reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from router.codec import policy_as_dict
from router.errors import PolicyError
from router.policy import MOST_RULES, OverCapacity, Policy
from router.unit import MOST_SOURCES
from serving.control.api.asked import (
    JSON_ONLY,
    Body,
    IfMatch,
    ModelName,
    Service,
    Share,
    VersionNumber,
    WaitS,
    Who,
    Why,
    etag,
    needed_revision,
)
from serving.control.api.policy_parts import RuleIn, ShadowIn, UnitSourceIn
from serving.control.errors import Unacceptable
from serving.control.views import Acknowledged, Changed, Current, Explained, Wanted

_MOST_ARMS = 1_000
_MOST_SHADOWS = 100
_LONGEST_UNIT = 1_024
_MOST_HEADERS = 100

routes = APIRouter(tags=["traffic"])


class ArmIn(Body):
    """The share of one version."""

    version: VersionNumber
    share_ppm: Annotated[Share, Field(description="parts per million")]


class PolicyIn(Body):
    """A policy as it is to be. Offsets and the salt are not asked for: they keep units where they are."""

    stable: Annotated[VersionNumber, Field(description="the version that takes what the arms leave")]
    arms: Annotated[list[ArmIn], Field(max_length=_MOST_ARMS, default_factory=list)]
    unit_header: Annotated[str | None, Field(max_length=64, description="left out: as it is")] = None
    allow_override: Annotated[bool | None, Field(strict=True, description="left out: as it is")] = None
    repeatable: Annotated[bool | None, Field(strict=True, description="left out: as it is")] = None
    over_capacity: Annotated[
        OverCapacity | None,
        Field(description="what becomes of a share that is more than its version carries; left out: as it is"),
    ] = None
    rules: Annotated[
        list[RuleIn] | None,
        Field(max_length=MOST_RULES, description="the first that applies decides, before any arm; left out: as it is"),
    ] = None
    unit_sources: Annotated[
        list[UnitSourceIn] | None,
        Field(max_length=MOST_SOURCES, description="where a unit is looked for beside `unit_header`, in order"),
    ] = None
    shadows: Annotated[
        list[ShadowIn] | None, Field(max_length=_MOST_SHADOWS, description="who gets copies; left out: as it is")
    ] = None


class ChangeIn(Body):
    """A change of one model's policy."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"policy": {"stable": 1, "arms": [{"version": 2, "share_ppm": 100_000}]}}]},
    )

    policy: PolicyIn
    why: Why = ""


class RequestIn(Body):
    """A request as far as a policy may ask. What it says of its unit counts where `unit` is left out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"headers": {"x-tier": "gold"}, "body": {"user": {"id": 7}}}]},
    )

    unit: Annotated[str | None, Field(max_length=_LONGEST_UNIT)] = None
    headers: Annotated[
        dict[str, str], Field(max_length=_MOST_HEADERS, default_factory=dict, description="by name; or gRPC metadata")
    ]
    body: Annotated[Any, Field(description="its JSON; the size that counts is that of its compact form")] = None
    grpc: Annotated[bool, Field(strict=True, description="whether it comes over gRPC")] = False


class ArmOut(BaseModel):
    """One version beside stable, and the buckets that it owns."""

    version: int
    share_ppm: int
    offset_ppm: int
    role: Literal["arm", "canary"]


class ConditionOut(BaseModel):
    """What a field of a request must say: one of these values, compared like this."""

    place: str
    name: str
    how: str
    values: list[str]


class RuleOut(BaseModel):
    """A version for every request that fulfils all the conditions."""

    version: int
    when: list[ConditionOut]


class ShadowOut(BaseModel):
    """A version that gets copies of some requests, and how many of them at most."""

    version: int
    sample_ppm: int
    salt: str
    when: list[ConditionOut] = []
    max_per_s: int | None = None
    max_in_flight: int | None = None


class PolicyOut(BaseModel):
    """Which version answers which unit of one model."""

    stable: int
    arms: list[ArmOut]
    unit_header: str
    salt: str
    allow_override: bool
    repeatable: bool
    over_capacity: OverCapacity = OverCapacity.REFUSE
    rules: list[RuleOut] = []
    shadows: list[ShadowOut] = []
    unit_sources: Annotated[
        list[dict[str, str | int]], Field(description="where a unit is looked for beside `unit_header`")
    ] = []


class CurrentOut(BaseModel):
    """What a model runs. The revision, in quotes, is the `ETag`, and goes into the next change's `If-Match`."""

    model: Annotated[str, Field(examples=["digits"])]
    revision: Annotated[int, Field(examples=[3])]
    epoch: Annotated[int, Field(examples=[7])]
    policy: PolicyOut


class AcknowledgedOut(BaseModel):
    """How many gateways there were, how many run the change, whose lease ran out, who had not said so yet."""

    of: Annotated[int, Field(examples=[2])]
    by: Annotated[int, Field(examples=[2])]
    expired: list[str]
    waiting: list[str]


class ChangedOut(CurrentOut):
    """A change that was written, and who runs it by now."""

    acknowledged: AcknowledgedOut
    durable: Annotated[bool, Field(description="whether the store confirmed that it is on disk")]
    took_ms: Annotated[float, Field(examples=[12.3])]
    notes: Annotated[list[str], Field(description="where it is not what was asked for, and why")]


class ExplainedOut(BaseModel):
    """Which version a request would reach, and why; no version where it would be drawn at random."""

    version: Annotated[int | None, Field(examples=[2])]
    reason: Annotated[str, Field(examples=["arm"])]
    bucket: Annotated[int | None, Field(examples=[41_837])]
    words: str


@routes.get("/models/{model}/policy", summary="What a model runs")
async def _policy(service: Service, model: ModelName, response: Response) -> CurrentOut:
    current = await service.current(model)
    response.headers["ETag"] = etag(current.revision)
    return CurrentOut.model_validate(_current_out(current))


@routes.put("/models/{model}/policy", summary="Change what a model runs", dependencies=[JSON_ONLY])
async def _set_policy(
    *,
    service: Service,
    model: ModelName,
    change: ChangeIn,
    response: Response,
    who: Who,
    if_match: IfMatch = None,
    wait_s: Annotated[WaitS, Query(description="for the gateways to run it, seconds")] = 2.0,
    force: Annotated[
        bool, Query(description="even if nobody serves a version that gets traffic, or too few do")
    ] = False,
) -> ChangedOut:
    changed = await service.set_policy(
        model,
        _wanted(change.policy),
        needed_revision(if_match),
        who=who,
        why=change.why,
        wait_s=wait_s,
        force=force,
    )
    response.headers["ETag"] = etag(changed.current.revision)
    return _changed_out(changed)


@routes.get("/models/{model}/explain", summary="Which version a request would reach, and why")
async def _explain(
    service: Service,
    model: ModelName,
    unit: Annotated[str | None, Query(max_length=_LONGEST_UNIT)] = None,
    header: Annotated[list[str] | None, Query(max_length=_MOST_HEADERS, examples=[["sluice-version:2"]])] = None,
) -> ExplainedOut:
    return _explained_out(await service.explain(model, unit, _headers(header or [])))


@routes.post(
    "/models/{model}/explain",
    summary="Which version a request would reach, and why, where its body may say who asks",
    dependencies=[JSON_ONLY],
)
async def _explain_request(service: Service, model: ModelName, asked: RequestIn) -> ExplainedOut:
    headers = {name.strip().lower(): value.strip() for name, value in asked.headers.items()}
    body = json.dumps(asked.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return _explained_out(await service.explain(model, asked.unit, headers, body=body, grpc=asked.grpc))


def _wanted(policy: PolicyIn) -> Wanted:
    shares = {arm.version: arm.share_ppm for arm in policy.arms}
    if len(shares) < len(policy.arms):
        raise Unacceptable("There can be no such policy: an arm is there twice.", "Give each version one share.")
    try:
        return Wanted(
            policy.stable,
            shares,
            policy.unit_header,
            policy.allow_override,
            policy.repeatable,
            policy.over_capacity,
            None if policy.rules is None else tuple(one.made() for one in policy.rules),
            None if policy.unit_sources is None else tuple(one.made() for one in policy.unit_sources),
            None if policy.shadows is None else tuple(one.made() for one in policy.shadows),
        )
    except PolicyError as error:
        raise Unacceptable(f"There can be no such policy: {error}.") from error


def _headers(lines: Sequence[str]) -> Mapping[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise Unacceptable(f"{line[:64]!r} is no header.", "Write it like header=name:value.")
        headers[name.strip().lower()] = value.strip()
    return headers


def _explained_out(explained: Explained) -> ExplainedOut:
    return ExplainedOut(
        version=explained.version, reason=explained.reason, bucket=explained.bucket, words=explained.words
    )


def _current_out(current: Current) -> dict[str, Any]:
    return {
        "model": current.model,
        "revision": current.revision,
        "epoch": current.epoch,
        "policy": policy_as_dict(current.policy),
    }


def _changed_out(changed: Changed) -> ChangedOut:
    return ChangedOut.model_validate(
        {
            **_current_out(changed.current),
            "acknowledged": acknowledged_out(changed.acknowledged).model_dump(),
            "durable": changed.durable,
            "took_ms": round(changed.took_s * 1000, 1),
            "notes": list(changed.notes),
        }
    )


def acknowledged_out(seen: Acknowledged) -> AcknowledgedOut:
    """Who runs it by now, as it is shown."""
    return AcknowledgedOut(of=seen.of, by=seen.by, expired=list(seen.expired), waiting=list(seen.waiting))


def policy_out(policy: Policy) -> PolicyOut:
    """The policy as it is shown."""
    return PolicyOut.model_validate(policy_as_dict(policy))
