"""The control API over HTTP: typed bodies in, typed answers or problem details (RFC 9457) out.

Every refusal is a sentence and a hint, never a traceback, whatever was sent. Which status a refusal has stands in one
table (`serving.errors.STATUS`). What is done is `serving.control.service`; who listens, and where, is left to the
process that runs the application.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version as installed_version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.codec import policy_as_dict
from router.epoch import Head
from router.policy import LARGEST_VERSION, WHOLE
from serving.control.errors import Conflict, Contended, StoreUnavailable, StoreUnsuitable, Unacceptable, Unknown
from serving.control.service import LONGEST_WAIT_S, Changed, ControlService, Current, ModelView, Status, Wanted
from serving.errors import STATUS, Refusal, SluiceError
from serving.leases import GatewayLease

_LARGEST_BODY = 64 * 1024
_MOST_ARMS = 1_000
_MOST_MISTAKES = 5
_LONGEST_UNIT = 1_024
_ETAG = re.compile(r'"(\d{1,15})"')

Version = Annotated[int, Field(strict=True, ge=1, le=LARGEST_VERSION)]
Share = Annotated[int, Field(strict=True, ge=0, le=WHOLE)]


class _Body(BaseModel):
    """What all bodies have in common: a key that nobody reads is a mistake, and would go unnoticed."""

    model_config = ConfigDict(extra="forbid")


class ArmIn(_Body):
    """The share of one version."""

    version: Version
    share_ppm: Annotated[Share, Field(description="parts per million")]


class PolicyIn(_Body):
    """A policy as it is to be. Offsets and the salt are not asked for: they keep units where they are."""

    stable: Annotated[Version, Field(description="the version that takes what the arms leave")]
    arms: Annotated[list[ArmIn], Field(max_length=_MOST_ARMS)] = []
    unit_header: Annotated[str | None, Field(max_length=64, description="left out: as it is")] = None
    allow_override: Annotated[bool | None, Field(strict=True, description="left out: as it is")] = None
    repeatable: Annotated[bool | None, Field(strict=True, description="left out: as it is")] = None


class ChangeIn(_Body):
    """A change of one model's policy."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"policy": {"stable": 1, "arms": [{"version": 2, "share_ppm": 100_000}]}}]},
    )

    policy: PolicyIn
    why: Annotated[str, Field(max_length=1_000, description="for the ledger")] = ""


class ArmOut(BaseModel):
    """One version beside stable, and the buckets that it owns."""

    version: int
    share_ppm: int
    offset_ppm: int
    role: Literal["arm", "canary"]


class PolicyOut(BaseModel):
    """Which version answers which unit of one model."""

    stable: int
    arms: list[ArmOut]
    unit_header: str
    salt: str
    allow_override: bool
    repeatable: bool


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


class ExplainedOut(BaseModel):
    """Which version a request would reach, and why; no version where it would be drawn at random."""

    version: Annotated[int | None, Field(examples=[2])]
    reason: Annotated[str, Field(examples=["arm"])]
    bucket: Annotated[int | None, Field(examples=[41_837])]
    words: str


class RequestOut(BaseModel):
    """What a request id says."""

    request_id: str
    model: Annotated[str | None, Field(examples=["digits"], description="null where no known model has its hash")]
    assigned: int
    answered: int
    epoch: int
    reason: Annotated[str, Field(examples=["arm"])]
    at: datetime
    has_unit: bool
    synthetic: bool


class EntryOut(BaseModel):
    """What was decided, by whom, why, and what came of it."""

    id: str
    at: datetime
    kind: Annotated[str, Field(examples=["policy"])]
    who: str
    why: str
    facts: dict[str, Any]


class LedgerOut(BaseModel):
    """Entries, newest first."""

    entries: list[EntryOut]


class VersionOut(BaseModel):
    """One version: how many of its endpoints are ready, and who starts them."""

    version: int
    ready: int
    source: Literal["pool", "static"]


class ModelOut(BaseModel):
    """A model at a glance; revision 0 and no stable version before its first policy."""

    name: Annotated[str, Field(examples=["digits"])]
    revision: int
    stable: int | None
    shares: Annotated[dict[str, int], Field(examples=[{"1": 900_000, "2": 100_000}])]
    versions: list[VersionOut]


class ModelsOut(BaseModel):
    """All models."""

    models: list[ModelOut]


class GatewayOut(BaseModel):
    """One gateway: what it runs and what it does. `held` says why it does not take the newest epoch, if so."""

    id: str
    host: str
    http_port: int
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
    """The Serve application that runs one version."""

    model: str
    version: int
    state: str
    message: str


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


class ThereOut(BaseModel):
    """What somebody else has made of a policy meanwhile."""

    model: str
    revision: int
    policy: PolicyOut


class Problem(BaseModel):
    """What every refusal looks like (RFC 9457), as application/problem+json."""

    type: Annotated[str, Field(examples=["urn:sluice:problem:changed-meanwhile"])]
    title: Annotated[str, Field(examples=["Changed meanwhile"])]
    status: Annotated[int, Field(examples=[409])]
    detail: str
    hint: str
    current: Annotated[ThereOut | None, Field(description="after a lost race: what is there now")] = None


def _service(request: Request) -> ControlService:
    service: ControlService = request.app.state.service
    return service


Service = Annotated[ControlService, Depends(_service)]
ModelName = Annotated[str, Path(max_length=256, examples=["digits"])]

_problems: dict[int | str, dict[str, Any]] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}
_routes = APIRouter(prefix="/api/v1", responses=_problems)


def create_app(service: ControlService) -> FastAPI:
    """The application, with its documentation at `/docs`."""
    app = FastAPI(
        title="Sluice control API",
        version=installed_version("sluice-gateway"),
        description="Which version answers which request: read it, change it, ask why.",
    )
    app.state.service = service
    app.include_router(_routes)
    app.add_api_route("/healthz", _live, methods=["GET"], summary="Whether this process answers", tags=["health"])
    app.add_middleware(_BodyLimit)
    app.add_exception_handler(SluiceError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(Exception, _broken)
    return app


@_routes.get("/status", summary="Everything at a glance, even while the store is away")
async def _status(service: Service) -> StatusOut:
    return _status_out(await service.status())


@_routes.get("/models", summary="All models")
async def _models(service: Service) -> ModelsOut:
    return ModelsOut(models=[_model_out(view) for view in await service.models()])


@_routes.get("/models/{model}/policy", summary="What a model runs")
async def _policy(service: Service, model: ModelName, response: Response) -> CurrentOut:
    current = await service.current(model)
    response.headers["ETag"] = f'"{current.revision}"'
    return CurrentOut.model_validate(_current_out(current))


def _json_only(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the change as application/json.")


@_routes.put("/models/{model}/policy", summary="Change what a model runs", dependencies=[Depends(_json_only)])
async def _set_policy(
    *,
    service: Service,
    model: ModelName,
    change: ChangeIn,
    request: Request,
    response: Response,
    if_match: Annotated[str | None, Header(description='the revision that was read, such as "3", or *')] = None,
    wait_s: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S, description="for the gateways to run it")] = 2.0,
    force: Annotated[bool, Query(description="even if nobody serves a version that gets traffic")] = False,
) -> ChangedOut:
    changed = await service.set_policy(
        model,
        _wanted(change.policy),
        _expected(if_match),
        who=f"api from {request.client.host if request.client else 'nowhere'}",
        why=change.why,
        wait_s=wait_s,
        force=force,
    )
    response.headers["ETag"] = f'"{changed.current.revision}"'
    return _changed_out(changed)


@_routes.get("/models/{model}/explain", summary="Which version a request would reach, and why")
async def _explain(
    service: Service,
    model: ModelName,
    unit: Annotated[str | None, Query(max_length=_LONGEST_UNIT)] = None,
    header: Annotated[list[str] | None, Query(max_length=100, examples=[["sluice-version:2"]])] = None,
) -> ExplainedOut:
    explained = await service.explain(model, unit, _headers(header or []))
    return ExplainedOut(
        version=explained.version, reason=explained.reason, bucket=explained.bucket, words=explained.words
    )


@_routes.get("/requests/{request_id}", summary="What a request id says")
async def _request(service: Service, request_id: str) -> RequestOut:
    decoded = await service.decoded(request_id)
    said = decoded.said
    return RequestOut(
        request_id=request_id,
        model=decoded.model,
        assigned=said.assigned,
        answered=said.answered,
        epoch=said.epoch,
        reason=said.reason.value,
        at=datetime.fromtimestamp(said.at_s, UTC),
        has_unit=said.has_unit,
        synthetic=said.synthetic,
    )


@_routes.get("/ledger", summary="What was decided, newest first")
async def _ledger(service: Service, limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> LedgerOut:
    return LedgerOut(
        entries=[
            EntryOut(
                id=one.id,
                at=datetime.fromtimestamp(one.at_ms / 1000, UTC),
                kind=one.entry.kind,
                who=one.entry.who,
                why=one.entry.why,
                facts=dict(one.entry.facts),
            )
            for one in await service.ledger(limit)
        ]
    )


async def _live() -> dict[str, str]:
    return {"status": "live"}


# What was sent, as the service takes it.


def _wanted(policy: PolicyIn) -> Wanted:
    shares = {arm.version: arm.share_ppm for arm in policy.arms}
    if len(shares) < len(policy.arms):
        raise Unacceptable("There can be no such policy: an arm is there twice.", "Give each version one share.")
    return Wanted(policy.stable, shares, policy.unit_header, policy.allow_override, policy.repeatable)


class _PreconditionError(SluiceError):
    """The `If-Match` header is missing, or cannot be read."""

    def __init__(self, refusal: Refusal, sentence: str) -> None:
        super().__init__(sentence, 'Read the policy first, and send its ETag, such as If-Match: "3".')
        self.refusal = refusal


def _expected(if_match: str | None) -> int | None:
    if if_match is None:
        raise _PreconditionError(Refusal.NO_REVISION, "A change says which revision it is for, and this one does not.")
    said = if_match.strip()
    if said == "*":
        return None
    found = _ETAG.fullmatch(said)
    if found is None:
        raise _PreconditionError(Refusal.MALFORMED, f"If-Match: {said[:64]} is no revision of ours.")
    return int(found[1])


def _headers(lines: Sequence[str]) -> Mapping[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise Unacceptable(f"{line[:64]!r} is no header.", "Write it like header=name:value.")
        headers[name.strip().lower()] = value.strip()
    return headers


# What the service says, as it is sent.


def _current_out(current: Current) -> dict[str, Any]:
    return {
        "model": current.model,
        "revision": current.revision,
        "epoch": current.epoch,
        "policy": policy_as_dict(current.policy),
    }


def _changed_out(changed: Changed) -> ChangedOut:
    seen = changed.acknowledged
    return ChangedOut.model_validate(
        {
            **_current_out(changed.current),
            "acknowledged": {"of": seen.of, "by": seen.by, "expired": seen.expired, "waiting": seen.waiting},
            "durable": changed.durable,
            "took_ms": round(changed.took_s * 1000, 1),
        }
    )


def _model_out(view: ModelView) -> ModelOut:
    policy = view.policy
    return ModelOut.model_validate(
        {
            "name": view.name,
            "revision": view.revision,
            "stable": policy.stable if policy else None,
            "shares": {str(one): share for one, share in policy.shares().items()} if policy else {},
            "versions": [{"version": one.version, "ready": one.ready, "source": one.source} for one in view.versions],
        }
    )


def _gateway_out(lease: GatewayLease, head: Head) -> GatewayOut:
    return GatewayOut(
        id=lease.id,
        host=lease.host,
        http_port=lease.http_port,
        epoch=lease.epoch,
        digest=lease.digest,
        current=lease.runs(head),
        workers=lease.workers,
        connections=lease.connections,
        in_flight=lease.in_flight,
        requests=dict(lease.requests),
        held=lease.held,
    )


def _status_out(status: Status) -> StatusOut:
    return StatusOut(
        version=installed_version("sluice-gateway"),
        epoch=status.head.epoch,
        digest=status.head.digest,
        gateways=[_gateway_out(lease, status.head) for lease in status.gateways],
        endpoints=[
            EndpointOut(model=e.model, version=e.version, host=e.host, http_port=e.http_port, grpc_port=e.grpc_port)
            for e in status.endpoints
        ],
        models=[_model_out(view) for view in status.models],
        pools=[PoolOut(model=p.model, version=p.version, state=p.state, message=p.message) for p in status.pools],
        store=StoreOut(reachable=status.reachable, warnings=list(status.warnings)),
    )


# Refusals.

_REFUSALS: tuple[tuple[type[SluiceError], Refusal], ...] = (
    (Conflict, Refusal.CHANGED_MEANWHILE),
    (Unknown, Refusal.UNKNOWN_MODEL),
    (Unacceptable, Refusal.UNACCEPTABLE),
    (StoreUnavailable, Refusal.STORE_UNREACHABLE),
    (StoreUnsuitable, Refusal.STORE_UNREACHABLE),
    (Contended, Refusal.STORE_UNREACHABLE),
)


def _problem(
    status: int, title: str, detail: str, hint: str = "", kind: str = "about:blank", **more: object
) -> Response:
    body = {"type": kind, "title": title, "status": status, "detail": detail, "hint": hint, **more}
    # Escaped to ASCII: what was sent may be repeated in the sentence, and need not be encodable otherwise.
    return Response(json.dumps(body), status_code=status, media_type="application/problem+json")


def _refusal(refusal: Refusal, detail: str, hint: str = "", **more: object) -> Response:
    status = STATUS[refusal]
    title = refusal.value.replace("-", " ").capitalize()
    response = _problem(status.http, title, detail, hint, f"urn:sluice:problem:{refusal.value}", **more)
    if status.retry_after_s is not None:
        response.headers["Retry-After"] = str(status.retry_after_s)
    return response


async def _refused(_request: Request, error: Exception) -> Response:
    if isinstance(error, _PreconditionError):
        return _refusal(error.refusal, error.sentence, error.hint)
    if isinstance(error, Conflict) and error.policy is not None:
        current = {"model": error.model, "revision": error.revision, "policy": policy_as_dict(error.policy)}
        return _refusal(Refusal.CHANGED_MEANWHILE, error.sentence, error.hint, current=current)
    for kind, refusal in _REFUSALS:
        if isinstance(error, kind):
            return _refusal(refusal, error.sentence, error.hint)
    return await _broken(_request, error)


async def _invalid(_request: Request, error: Exception) -> Response:
    mistakes = error.errors() if isinstance(error, RequestValidationError) else []
    if any(one["type"] == "json_invalid" for one in mistakes):
        return _no_json()
    told = "; ".join(_mistake(one) for one in mistakes[:_MOST_MISTAKES])
    return _refusal(Refusal.UNACCEPTABLE, f"This cannot be used: {told}.", "The shape that is expected is at /docs.")


def _no_json() -> Response:
    return _refusal(Refusal.MALFORMED, "The body is no JSON that can be read.", "Check it with a JSON tool.")


def _mistake(mistake: Mapping[str, Any]) -> str:
    where = ".".join(str(part)[:64] for part in mistake["loc"][1:]) or "the body"
    words = str(mistake["msg"])
    return f"{where}: {words[:1].lower()}{words[1:]}"


async def _not_served(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = error.detail if isinstance(error, HTTPException) else ""
    if status == HTTPStatus.BAD_REQUEST:  # FastAPI's only one: JSON too deep, too long or in no encoding
        return _no_json()
    title = HTTPStatus(status).phrase
    # Starlette's own texts are the bare phrase; a sentence of ours says more.
    response = _problem(status, title, detail if detail != title else _SENTENCES.get(status, title), "See /docs.")
    response.headers.update(getattr(error, "headers", None) or {})
    return response


_SENTENCES = {
    404: "There is nothing at this path.",
    405: "This path does not take that method.",
}


async def _broken(_request: Request, _error: Exception) -> Response:
    detail = "The control API has failed at this request; its log says where."
    return _problem(500, "Internal Server Error", detail, "Gateways are not affected. Please report it.")


class _BodyLimit:
    """Reads no more of a body than any change needs.

    Args:
        app: what reads the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = _LARGEST_BODY

        async def receive_no_more() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(
                    STATUS[Refusal.TOO_LARGE].http,
                    f"The body is larger than {_LARGEST_BODY:,} bytes, the most that is read.",
                )
            return message

        await self._app(scope, receive_no_more, send)
