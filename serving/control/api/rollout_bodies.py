"""What is sent and answered about rollouts, typed. The plan's own shape is `docs/rollout.schema.json`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from router.errors import PlanError
from router.phases import Phase
from router.plan import Incident, Kind, Stalled
from router.policy import LARGEST_VERSION, LONGEST_SALT
from router.rollout import Automation
from serving.control.api.asked import Body, VersionNumber, Why
from serving.control.api.policies import AcknowledgedOut, PolicyOut
from serving.control.rolling.document import check_legible

_MOST_STAGES = 100
_MOST_ARMS = 100


def _legible(said: object) -> object:
    """As it is, if it can be written down: what stands in it is checked later, and not by its type."""
    try:
        check_legible(said)
    except PlanError as error:
        raise PydanticCustomError("illegible", "{said}", {"said": str(error)}) from error
    return said


Document = Annotated[dict[str, Any], Field(max_length=64), BeforeValidator(_legible)]
_SHARE = "a share with its unit: '12.5%', '125000ppm' or 0"


def _with_unit(said: object) -> object:
    """As it is, unless it is a number that could mean per cent or parts per million."""
    if isinstance(said, int | float) and not isinstance(said, bool) and said:
        words = f"{said} is no share: write '10%' or '100000ppm', since a bare number could mean either"
        raise PydanticCustomError("bare_share", "{said}", {"said": words})
    return "0" if type(said) is int else said


ShareText = Annotated[str, BeforeValidator(_with_unit), Field(max_length=64, description=_SHARE, examples=["12.5%"])]
VersionText = Annotated[str, Field(pattern="^[1-9][0-9]{0,9}$")]


class RolloutIn(Body):
    """A rollout to be started: a plan, or strategies by name (`docs/rollout.schema.json`)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "candidate": 2,
                    "canary": {"steps": ["1%", "5%", "25%", "50%", "100%"], "hold": "10m", "watch": "1d"},
                    "automation": "alone",
                    "why": "the new form",
                }
            ]
        },
    )

    model: Annotated[str | None, Field(max_length=256, description="where it is said, it is the one in the path")] = (
        None
    )
    candidate: Annotated[int | None, Field(strict=True, ge=1, le=LARGEST_VERSION)] = None
    shadow: Document | None = None
    blue_green: Document | None = None
    canary: Document | None = None
    ab_test: Document | None = None
    plan: Document | None = None
    automation: Automation | None = None
    freezes: Annotated[list[Document] | None, Field(max_length=64)] = None
    salt: Annotated[
        str | None,
        Field(max_length=LONGEST_SALT, description="what units are drawn by; left out, each rollout draws its own"),
    ] = None
    deadline: int | str | None = None
    on_deadline: Stalled | None = None
    on_incident: Incident | None = None
    drift: Annotated[
        Document | None,
        Field(description="`arms`: how far answers of its versions may differ, 0 to 1; left out, it is only told"),
    ] = None
    judged_by: Annotated[Document | None, Field(description="guardrails and levels; left out, the usual ones")] = None
    compare: Annotated[
        Document | None, Field(description="how the answers to copies are compared; left out, by their type")
    ] = None
    gates: Annotated[list[Document] | None, Field(max_length=8)] = None
    webhooks: Annotated[list[Document] | None, Field(max_length=8)] = None
    again: Annotated[bool | None, Field(strict=True)] = None
    why: Why = ""


class AskIn(Body):
    """A reason."""

    why: Why = ""


class RollBackIn(Body):
    """Why it goes back."""

    why: Annotated[str, Field(min_length=1, max_length=1_000, examples=["errors on the checkout page"])]


class ApproveIn(Body):
    """Which stage is let in: its name, or its number counted from 0; left out, whichever waits."""

    stage: Annotated[str | int | None, Field(examples=["50 %"])] = None
    why: Why = ""


class PromoteIn(Body):
    """How far: to the next stage, or to the end."""

    to_end: Annotated[bool, Field(strict=True)] = False
    version: Annotated[VersionNumber | None, Field(description="the winner, where the plan has none yet")] = None
    why: Why = ""


class RetryIn(Body):
    """Whether what was rolled back is tried again."""

    again: Annotated[bool, Field(strict=True)] = False
    why: Why = ""


class SharesIn(Body):
    """Shares of arms by version; arms that are not named keep theirs."""

    shares: Annotated[
        dict[VersionText, ShareText], Field(min_length=1, max_length=_MOST_ARMS, examples=[{"2": "12.5%"}])
    ]
    why: Why = ""


class ApprovalOut(BaseModel):
    """Who let it into which stage, at which revision."""

    who: str
    revision: int
    stage: int


class GateOut(BaseModel):
    """Somebody else's word that it waits for; of the address only the host is shown."""

    type: str
    url: str
    name: str
    timeout_s: int


class WebhookOut(BaseModel):
    """Who hears of it; of the address only the host is shown."""

    url: str
    events: list[str]


class RolloutOut(BaseModel):
    """A rollout at a glance. The revision, in quotes, is the `ETag`, and goes into the next change's `If-Match`."""

    id: Annotated[str, Field(examples=["ro_5f0c5b0d6c1e"])]
    model: Annotated[str, Field(examples=["digits"])]
    kind: Kind
    phase: Phase
    place: Annotated[str, Field(description="where it stands, in words", examples=["running, stage '5 %'"])]
    stage: Annotated[str | None, Field(description="the stage that gives the traffic", examples=["5 %"])]
    stage_number: Annotated[int, Field(description="counted from 0; -1 before the first", examples=[1])]
    stages: Annotated[int, Field(description="how many there are", examples=[5])]
    automation: Automation
    revision: Annotated[int, Field(examples=[3])]
    candidate: int | None
    stable: Annotated[int, Field(description="the version that was stable before it")]
    shares: Annotated[dict[str, int], Field(description="what it gives, parts per million by version")]
    desired: Annotated[
        dict[str, int], Field(description="what its stage is to give: more, where a version carries less than that")
    ]
    by_hand: Annotated[bool, Field(description="whether an operator set the shares")]
    over: bool
    cause: Annotated[str, Field(description="why it stands where it stands, where that needs a reason")]
    created_by: str
    created_at: datetime


class LatelyOut(BaseModel):
    """How a version answered within the last ten seconds: first attempts, and copies that it got as a shadow."""

    requests_per_s: Annotated[float, Field(examples=[120.5])]
    error_share: Annotated[float, Field(description="of those that ended, from 0 to 1", examples=[0.002])]
    p50_ms: Annotated[float | None, Field(description="null where none was answered", examples=[4.2])]
    p99_ms: Annotated[float | None, Field(examples=[12.8])]


class CountedOut(BaseModel):
    """What happened how often."""

    events: int
    total: int


class BoundsOut(BaseModel):
    """An odds ratio of the candidate to stable, right at every look; null for no limit."""

    lower: float
    likeliest: float
    upper: float | None


class CertifiedOut(BaseModel):
    """How far a guardrail is from what promotion asks of it, as powers of ten; null where a way is not asked for."""

    holds: bool
    not_inferior: float | None
    under_ceiling: float | None
    threshold: float


class GuardrailOut(BaseModel):
    """What one guardrail says."""

    name: Annotated[str, Field(examples=["errors"])]
    watches: str
    what: Annotated[str, Field(description="which event is counted, where `watches` does not say it")]
    counted: Annotated[str, Field(description="requests, units, or pairs of answers", examples=["requests"])]
    candidate: CountedOut
    stable: CountedOut
    odds_ratio: BoundsOut | None
    log10_e: Annotated[float, Field(description="held against the candidate: 2 is a hundred to one", examples=[0.4])]
    part: Annotated[float, Field(description="of what all guardrails hold against it, from 0 to 1")]
    certified: CertifiedOut | None


class FigureOut(BaseModel):
    """A number that the verdict looked at, and what it was held against, both as powers of ten."""

    name: str
    log10_e: float
    threshold: float


class CopiesOut(BaseModel):
    """What became of the candidate's copies since its stage's shares hold."""

    pairs: Annotated[int, Field(description="of which both ends are known")]
    offered: Annotated[int, Field(description="requests that were in the sample")]
    sent: int
    shed: Annotated[int, Field(description="of which no copy was sent")]
    unread: Annotated[int, Field(description="of which an answer could not be read, or was too long")]
    shown: Annotated[float, Field(description="the part that was neither; under 0.9 it is not representative")]
    noise: Annotated[CountedOut | None, Field(description="how often stable's own two answers differ")]


class VerdictOut(BaseModel):
    """What the evidence about one candidate is enough for."""

    decision: Annotated[str, Field(examples=["not_yet"])]
    words: str
    freeze: Annotated[bool, Field(description="whether the ramp stands still")]
    alert: Annotated[bool, Field(description="whether somebody should look")]
    rule: str
    log10_e: Annotated[float, Field(description="the most that was ever held against it, as a power of ten")]
    threshold: Annotated[float, Field(description="where harm is found")]
    spent: Annotated[float, Field(description="how much of the way there is gone, from 0 to 1")]
    newest_s: Annotated[float, Field(description="when the newest block closed, seconds since 1970; 0 before")]
    guardrails: list[GuardrailOut]
    figures: list[FigureOut]
    copies: Annotated[CopiesOut | None, Field(description="null where none were made")] = None


class RolloutDetailOut(RolloutOut):
    """One rollout in full: what keeps it where it is, and what it does next."""

    waits: Annotated[list[str], Field(description="what keeps it from going on by itself, in sentences")]
    next_stage: Annotated[str | None, Field(description="what comes next: a stage, or 'the end'")]
    next_step_s: Annotated[float | None, Field(description="seconds until its shortest time is over; null: unknown")]
    stage_s: Annotated[float, Field(description="how long this stage has run, seconds, without pauses")]
    requests: Annotated[dict[str, int], Field(description="by version, since this stage's shares")]
    lately: Annotated[dict[str, LatelyOut], Field(description="by version; of those that were asked at all")]
    verdicts: Annotated[dict[str, VerdictOut], Field(description="by version; of those that were heard of")] = {}
    chosen: int | None
    advised: str
    approvals: list[ApprovalOut]
    epochs: Annotated[list[int], Field(description="that it published, oldest first; at most the last 100")]
    plan: dict[str, Any]
    gates: list[GateOut]
    webhooks: list[WebhookOut]


class RolloutsOut(BaseModel):
    """Rollouts, newest first."""

    rollouts: list[RolloutOut]


class RolloutChangedOut(BaseModel):
    """What a change made of a rollout, and which gateways run it by now."""

    rollout: RolloutDetailOut
    acknowledged: Annotated[AcknowledgedOut | None, Field(description="null where no policy changed")]
    epoch: Annotated[int | None, Field(description="that it published; null where no policy changed")]
    took_ms: float
    notes: list[str]


class StageOut(BaseModel):
    """One stage that a plan leads through, with its policy."""

    name: str
    does: str
    shares: Annotated[dict[str, int], Field(description="parts per million by version")]
    min_s: int
    min_requests: int
    needs: str
    approval: bool
    flip: bool
    policy: PolicyOut


class StagesOut(BaseModel):
    """Every stage in order, and what is left at the end; nothing was started."""

    stages: Annotated[list[StageOut], Field(max_length=_MOST_STAGES + 1)]
    plan: dict[str, Any]
    notes: list[str]


class LintOut(BaseModel):
    """Whether a document can be used; every mistake with its place."""

    valid: bool
    mistakes: list[str]
    plan: dict[str, Any] | None


class StoppedOut(BaseModel):
    """What break glass did: stable alone serves these, and no share grows until that is taken back."""

    stopped: list[str]
    rolled_back: Annotated[list[str], Field(description="rollouts that were in progress")]
    unread: Annotated[list[str], Field(description="frozen as they are: the store has lost what these run")] = []
    epoch: int | None
    acknowledged: AcknowledgedOut | None
    took_ms: float


class UnstoppedOut(BaseModel):
    """What may move again; traffic stays as it is."""

    unstopped: list[str]
