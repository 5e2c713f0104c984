"""What webhooks are told of drift: the messages as values that check themselves, their JSON Schema, and `verify`.

Whoever sends fills them in, whoever is told reads them, and both by this file: the rollback target of the control API,
and the trainer. Readers pass over what they do not know, so that a newer release may say more.

`python -m drift.webhooks > docs/drift-webhook.schema.json` writes the schema anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from drift.attribution import Cause
from drift.errors import Unfit
from drift.signing import TOLERANCE_S, Forged, Stale, Unverified, check, secrets_in, signed

__all__ = [
    "ACTIONS",
    "TOLERANCE_S",
    "Action",
    "ActionTold",
    "Cause",
    "Event",
    "Feature",
    "Forged",
    "Harm",
    "Kind",
    "LayerTold",
    "Links",
    "Malformed",
    "Part",
    "Segment",
    "Stale",
    "Unverified",
    "VersionTold",
    "WindowTold",
    "schema",
    "secrets_in",
    "signed",
    "verify",
    "window_path",
]

LONGEST_BODY: Final = 262_144
"""Bytes of a message; whoever is told need not read more."""

_EPISODE: Final = r"^[A-Za-z0-9_-]{1,64}$"


class Kind(StrEnum):
    """What a webhook is told, and what `events` of the settings may name."""

    FINDING = "drift.finding"
    """One layer has alarmed; nothing is decided by that."""
    RETRAIN = "drift.retrain"
    """The world has moved, and it does harm: train anew, on what has come since."""
    ROLLBACK = "drift.rollback"
    """Only the candidate is at fault: take it back."""
    NOTIFY = "drift.notify"
    """Something moved, and nobody is seen to be harmed."""
    RECOMMEND = "drift.recommend"
    """What would be done, if it were let."""
    ALERT = "drift.alert"
    """Somebody has to look."""
    PAUSED = "drift.paused"
    """The schema is broken, and the model's rollout was paused for it."""
    TEST = "drift.test"
    """An operator tries whether deliveries arrive."""


class Action(StrEnum):
    """What is done about an episode: `data.action`, also of what is only recommended (`drift.attribution`)."""

    NOTHING = "nothing"
    RETRAIN = "retrain"
    ROLLBACK = "rollback"
    NOTIFY = "notify"
    RECOMMEND = "recommend"
    ALERT = "alert"
    PAUSE = "pause"


class Part(StrEnum):
    """What a version is to its model, when that was decided."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    OTHER = "other"


ACTIONS: Final = (Kind.RETRAIN, Kind.ROLLBACK, Kind.NOTIFY, Kind.RECOMMEND, Kind.ALERT, Kind.PAUSED)
"""Kinds of messages whose data is an `ActionTold`."""


class Malformed(Unverified):
    """It is genuine, and cannot be read: whoever sent it is of another kind."""


class _Told(BaseModel):
    """Frozen; members that nobody knows are passed over, and no values are in pydantic's reports."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)


class LayerTold(_Told):
    """What one layer had added up."""

    log_sum: Annotated[float, Field(description="log of the evidence that was added up")]
    log_alarm: Annotated[float, Field(description="log of what it takes to alarm")]
    value: Annotated[float, Field(description="of the statistic, in the last window")]
    statistic: str
    since_s: Annotated[float | None, Field(description="since when, seconds since 1970; null before it rose")] = None


class VersionTold(_Told):
    """One version of the model, when that was decided."""

    version: Annotated[int, Field(ge=1)]
    role: Part
    layers: Annotated[dict[str, LayerTold], Field(description="by name, such as univariate")] = {}


class Feature(_Told):
    """One feature that moved."""

    feature: str
    variation: Annotated[float, Field(description="total variation from the reference, 0 to 1")]
    share: Annotated[float, Field(description="its part of all that moved, 0 to 1")]


class Segment(_Told):
    """Rows alike in one feature in which alone it happened."""

    feature: str
    name: str
    share: Annotated[float, Field(description="of all rows")]
    inside: Annotated[float, Field(description="how far it moved within, total variation")]
    outside: float


class Harm(_Told):
    """Whether anybody is the worse for it, as far as that is known."""

    shown: bool
    words: str = ""


class WindowTold(_Told):
    """The rows that it rests on."""

    from_s: Annotated[float, Field(description="seconds since 1970")]
    to_s: float
    rows: Annotated[int, Field(ge=0)]
    parquet: Annotated[
        str, Field(description="where they can be fetched as Parquet: a path of the control API; empty for nowhere")
    ] = ""


class Links(_Told):
    """Paths of the control API where there is more."""

    explain: str = ""
    ledger: str = ""


class ActionTold(_Told):
    """What was found, whose fault it is, and what is done about it: the `data` of all kinds but findings and tests."""

    episode: Annotated[
        str, Field(pattern=_EPISODE, description="with the type of the message what it is done once for: a key")
    ]
    model: Annotated[str, Field(min_length=1, max_length=256)]
    cause: Cause
    action: Action
    words: Annotated[str, Field(max_length=4_000, description="one sentence for people")]
    versions: tuple[VersionTold, ...] = ()
    findings: Annotated[tuple[str, ...], Field(description="ids of the findings that it rests on")] = ()
    features: Annotated[tuple[Feature, ...], Field(description="those that moved, by what they contributed")] = ()
    segment: Segment | None = None
    harm: Harm
    window: WindowTold
    rollout: Annotated[str, Field(max_length=256, description="id of the model's rollout in progress, or empty")] = ""
    links: Links = Links()

    @property
    def candidate(self) -> int | None:
        """The version that is tried; None where none is."""
        return next((one.version for one in self.versions if one.role is Part.CANDIDATE), None)


class FindingTold(_Told):
    """One layer's alarm: the `data` of `drift.finding`."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    finding: Annotated[str, Field(description="its id")]
    episode: str
    model: str
    version: Annotated[int, Field(ge=1)]
    layer: str
    words: str
    paused: Annotated[str, Field(description="id of the rollout that was paused for it, or empty")] = ""


class TrialTold(_Told):
    """The `data` of `drift.test`."""

    words: str = ""


class ActionMessage(_Told):
    """A message about what is done."""

    type: Literal[
        "drift.retrain", "drift.rollback", "drift.notify", "drift.recommend", "drift.alert", "drift.paused"
    ]  # fmt: skip
    timestamp: Annotated[AwareDatetime, Field(description="when it was decided")]
    data: ActionTold


class FindingMessage(_Told):
    """A message about a finding."""

    type: Literal["drift.finding"]
    timestamp: AwareDatetime
    data: FindingTold


class TrialMessage(_Told):
    """A message that asks for nothing."""

    type: Literal["drift.test"]
    timestamp: AwareDatetime
    data: TrialTold


Message = Annotated[ActionMessage | FindingMessage | TrialMessage, Field(discriminator="type")]

_MESSAGES: Final[TypeAdapter[ActionMessage | FindingMessage | TrialMessage]] = TypeAdapter(Message)


@dataclass(frozen=True, slots=True)
class Event:
    """A message that is genuine.

    Attributes:
        id: of the delivery, the same however often it is tried.
        sent_s: when this attempt was signed, seconds since 1970.
        message: what it says.
    """

    id: str
    sent_s: float
    message: ActionMessage | FindingMessage | TrialMessage

    @property
    def kind(self) -> Kind:
        """Which kind of message it is."""
        return Kind(self.message.type)

    @property
    def action(self) -> ActionTold | None:
        """What is done; None for a finding and for a test."""
        return self.message.data if isinstance(self.message, ActionMessage) else None

    @property
    def key(self) -> str:
        """What it is to be done once for: 'drift.retrain/EPISODE', or the delivery's id where there is no episode.

        A delivery keeps its id over all attempts; an operator's replay has another one, and the same key.
        """
        action = self.action
        return self.id if action is None else f"{self.kind}/{action.episode}"


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> Event:
    """The message, if it is genuine.

    Args:
        secrets: of the webhook (`secrets_in`), any of which will do.
        headers: as they came, by name in whatever case.
        body: as it came, byte for byte.
        now_s: seconds since 1970.
        tolerance_s: how far the time that was signed may be from now.

    Raises:
        Forged: no secret has signed it.
        Stale: it is genuine, and was signed at another time.
        Malformed: it is genuine, and no message of drift.
    """
    message, sent_s = check(secrets, headers, body, now_s, tolerance_s)
    try:
        return Event(message, sent_s, _MESSAGES.validate_json(body))
    except ValidationError as error:
        raise Malformed(
            f"It is no message of drift: {_mistakes(error)}.", "docs/drift-webhook.schema.json says what one is."
        ) from error


def window_path(episode: str) -> str:
    """Where the rows of an episode can be fetched, as a path of the control API.

    Raises:
        Unfit: that is no episode's id.
    """
    if not re.fullmatch(_EPISODE, episode):
        raise Unfit(f"{episode!r:.80} is no id of an episode.")
    return f"/api/v1/drift/episodes/{episode}/window.parquet"


def schema() -> dict[str, Any]:
    """What a message may be, as JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What Sluice tells webhooks of drift",
        **_MESSAGES.json_schema(ref_template="#/$defs/{model}"),
    }


def _mistakes(error: ValidationError) -> str:
    told = error.errors(include_url=False, include_context=False, include_input=False)[:3]
    return "; ".join(f"{'.'.join(map(str, one['loc']))[:100] or 'all of it'}: {one['msg']}" for one in told)


if __name__ == "__main__":
    json.dump(schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
