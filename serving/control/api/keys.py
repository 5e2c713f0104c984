"""API keys over HTTP: made, listed, taken back; who asks; and the key of request ids.

A secret is in one answer only, the one to whoever made the key, and nothing may store that answer.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from serving.access.keys import LONGEST_NAME, KeyRecord
from serving.access.principal import LEAST_RATE, MOST, MOST_MODELS, Limits
from serving.access.roles import Role
from serving.control.api.asked import JSON_ONLY, Body, WaitS, Who, Why
from serving.control.api.caller import principal_of
from serving.control.api.policies import AcknowledgedOut
from serving.control.errors import Unacceptable
from serving.control.key_rules import WantedKey, expiry_of
from serving.control.keys import KeyService
from serving.control.views import Acknowledged
from serving.errors import SluiceError

_LONGEST_MODEL = 128

routes = APIRouter(tags=["access"])
whoami = APIRouter(tags=["access"])
"""Without the others, where there are no keys."""


class Looks(Protocol):
    """Who stands at this API's own door."""

    async def look(self) -> None:
        """Takes over what has changed in the store."""


def _doorman(request: Request) -> Looks:
    found: Looks = request.app.state.doorman
    return found


def _keys(request: Request) -> KeyService:
    service: KeyService = request.app.state.keys
    return service


TheKeys = Annotated[KeyService, Depends(_keys)]
TheDoorman = Annotated[Looks, Depends(_doorman)]
KeyId = Annotated[str, Path(pattern="^[0-9a-f]{12}$", description="the part of the key between the underscores")]
RoleName = Annotated[Role, Field(description="predict, operate or administer; each includes those before it")]
Amount = Annotated[int, Field(strict=True, ge=1, le=MOST)]


class LimitsIn(Body):
    """What a key may use up on the prediction port; what is left out is not limited."""

    rate_per_s: Annotated[
        float | None, Field(strict=True, ge=LEAST_RATE, le=MOST, allow_inf_nan=False, description="requests per second")
    ] = None
    burst: Annotated[Amount | None, Field(description="requests at once; left out: one second's worth")] = None
    in_flight: Annotated[Amount | None, Field(description="requests that are unanswered at once")] = None
    max_body: Annotated[Amount | None, Field(description="of one request, bytes")] = None


class KeyIn(Body):
    """A key as it is to be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "web-shop", "role": "predict", "models": ["digits"]}]},
    )

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, examples=["web-shop"])]
    role: RoleName
    models: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=_LONGEST_MODEL)]] | None,
        Field(min_length=1, max_length=MOST_MODELS, description="those that a predict key may ask; null: all"),
    ] = None
    expires: Annotated[
        str | None, Field(max_length=64, description="90d, 12h, or a date and time; null: never", examples=["90d"])
    ] = None
    limits: LimitsIn = Field(default_factory=LimitsIn)


class RevocationIn(Body):
    """Why a key is taken back: in the body, for a query lands in logs, and people say where they found the key."""

    why: Why = ""


class RotationIn(Body):
    """Why the key of request ids is replaced."""

    why: Why = ""


class LimitsOut(BaseModel):
    """What may be used up; null is not limited."""

    rate_per_s: float | None
    burst: int | None
    in_flight: int | None
    max_body: int | None


class WhoOut(BaseModel):
    """Whoever asks."""

    id: Annotated[str, Field(examples=["3f9c0a1b2d4e"])]
    name: Annotated[str, Field(examples=["web-shop"])]
    kind: Annotated[Literal["key", "token", "anonymous"], Field(description="what they were let in by")]
    role: Role
    models: Annotated[list[str] | None, Field(description="null: all")]
    limits: LimitsOut
    expires: Annotated[datetime | None, Field(description="null: never")]


class KeyOut(BaseModel):
    """A key, without its secret."""

    id: Annotated[str, Field(examples=["3f9c0a1b2d4e"])]
    name: Annotated[str, Field(examples=["web-shop"])]
    role: Role
    models: Annotated[list[str] | None, Field(description="null: all")]
    limits: LimitsOut
    state: Literal["in force", "expired", "revoked"]
    created_by: str
    created_at: datetime
    expires: Annotated[datetime | None, Field(description="null: never")]
    revoked_at: datetime | None


class KeysOut(BaseModel):
    """Keys by name."""

    keys: list[KeyOut]


class _KnownOut(KeyOut):
    acknowledged: Annotated[AcknowledgedOut, Field(description="which gateways go by it")]
    took_ms: float


class MadeOut(_KnownOut):
    """A key that was made. Its secret is shown this once."""

    key: Annotated[str, Field(examples=["sluice_3f9c0a1b2d4e_…"])]
    durable: Annotated[bool, Field(description="whether the store confirmed that it is on disk")]


class RevokedOut(_KnownOut):
    """A key that was taken back."""

    durable: Annotated[
        bool | None, Field(description="whether the store confirmed that it is on disk; null: it was revoked before")
    ]


class RotatedOut(BaseModel):
    """The keys of request ids: which one signs, and how many are kept to verify."""

    current: int
    kept: int


@routes.post(
    "/keys",
    summary="Make an API key",
    description="The answer has the key itself in it, this once; only a digest of it is kept.",
    status_code=HTTPStatus.CREATED,
    dependencies=[JSON_ONLY],
)
async def _create(
    *,
    keys: TheKeys,
    doorman: TheDoorman,
    wanted: KeyIn,
    response: Response,
    who: Who,
    wait_s: Annotated[WaitS, Query(description="for the gateways to know it, seconds")] = 2.0,
) -> MadeOut:
    made = await keys.create(_wanted(wanted, keys.now()), who=who, wait_s=wait_s)
    await _tell(doorman)
    response.headers["Cache-Control"] = "no-store"
    known = _known(made.acknowledged, made.took_s)
    plain = {**_plain(made.record, keys.now()), **known, "key": made.shown.text, "durable": made.durable}
    return MadeOut.model_validate(plain)


@routes.get("/keys", summary="The API keys")
async def _list(
    *,
    keys: TheKeys,
    ended: Annotated[
        bool, Query(alias="all", description="also those that were revoked or expired within 30 days")
    ] = False,
) -> KeysOut:
    found = await keys.records(ended=ended)
    return KeysOut(keys=[KeyOut.model_validate(_plain(one, keys.now())) for one in found])


@routes.delete(
    "/keys/{key_id}",
    summary="Take an API key back",
    description="Answers when every gateway knows, or says which do not. Taking it back again asks them again.",
)
async def _revoke(
    *,
    keys: TheKeys,
    doorman: TheDoorman,
    key_id: KeyId,
    who: Who,
    asked: RevocationIn | None = None,
    force: Annotated[bool, Query(description="even if it is the last one that administers")] = False,
    wait_s: Annotated[WaitS, Query(description="for the gateways to know, seconds")] = 2.0,
) -> RevokedOut:
    why = asked.why if asked else ""
    done = await keys.revoke(key_id, who=who, why=why, force=force, wait_s=wait_s)
    await _tell(doorman)
    known = _known(done.acknowledged, done.took_s)
    return RevokedOut.model_validate({**_plain(done.record, keys.now()), **known, "durable": done.durable})


@whoami.get("/whoami", summary="Who asks, and what they may")
async def _whoami(request: Request) -> WhoOut:
    found = principal_of(request.scope)
    return WhoOut.model_validate(
        {
            "id": found.id,
            "name": found.name,
            "kind": found.kind,
            "role": found.role,
            "models": None if found.models is None else sorted(found.models),
            "limits": _limits(found.limits),
            "expires": _moment(found.expires_s),
        }
    )


@routes.post(
    "/request-id-keys",
    summary="Replace the key that signs request ids",
    description="Ids that earlier keys have signed are still read.",
    dependencies=[JSON_ONLY],
)
async def _rotate(*, keys: TheKeys, asked: RotationIn, who: Who) -> RotatedOut:
    rotated = await keys.rotate_id_keys(who=who, why=asked.why)
    return RotatedOut(current=rotated.current, kept=len(rotated.secrets))


async def _tell(doorman: Looks) -> None:
    """Has this door go by the change before it is answered; without the store it will at its next look."""
    with suppress(SluiceError):
        await doorman.look()


def _wanted(asked: KeyIn, now_s: float) -> WantedKey:
    try:
        limits = Limits(**asked.limits.model_dump())
    except ValueError as error:
        raise Unacceptable(f"The limits cannot be: {error}.", "Mend them and send it again.") from error
    models = None if asked.models is None else frozenset(asked.models)
    expires_s = None if asked.expires is None else expiry_of(asked.expires, now_s)
    return WantedKey(asked.name, asked.role, models, expires_s, limits)


def _plain(record: KeyRecord, now_s: float) -> dict[str, Any]:
    """What may be shown of it: all but the digest."""
    return {
        "id": record.id,
        "name": record.name,
        "role": record.role,
        "models": None if record.models is None else sorted(record.models),
        "limits": _limits(record.limits),
        "state": "revoked" if record.revoked_s is not None else "in force" if record.alive(now_s) else "expired",
        "created_by": record.created_by,
        "created_at": _moment(record.created_s),
        "expires": _moment(record.expires_s),
        "revoked_at": _moment(record.revoked_s),
    }


def _known(seen: Acknowledged, took_s: float) -> dict[str, Any]:
    told = {"of": seen.of, "by": seen.by, "expired": seen.expired, "waiting": seen.waiting}
    return {"acknowledged": told, "took_ms": round(took_s * 1000, 1)}


def _limits(limits: Limits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in Limits.__dataclass_fields__}


def _moment(at_s: float | None) -> datetime | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)
