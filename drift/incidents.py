"""An incident: what was found of one model at a time, what it was put down to, and what anybody was told of it.

The sidecar's episodes are of one version and one kind of evidence each; those that overlap are one incident, for they
have one cause. Of an incident nobody is told less than was told before, and at most one action goes out, however often
its evidence changes: what was told is part of the value, and whoever carries it out writes both at once.

Values that give the next one, without I/O or clock. What follows from what is known is `drift.attribution`, what is
known `drift.circumstances`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from drift.attribution import Act, Action, Attribution, Cause
from drift.baseline_form import reading
from drift.explaining import Segment
from drift.findings import Finding
from drift.reading import Layer

ID_PREFIX: Final = "ep_"
"""For people an incident is an episode: that of the whole model."""
MOST_FINDINGS: Final = 200
"""Ids of findings that an incident remembers, the newest."""

_HEX: Final = frozenset("0123456789abcdef")
_DIGITS: Final = 16


class Kind(StrEnum):
    """What is written of an incident; those in `TOLD` are told to webhooks as `drift.` and this."""

    NOTIFY = "notify"
    RECOMMEND = "recommend"
    ALERT = "alert"
    RETRAIN = "retrain"
    ROLLBACK = "rollback"
    PAUSED = "paused"
    OBSERVED = "observed"
    """Nobody is told: the ledger says what it was put down to."""
    WITHDRAWN = "withdrawn"
    """What waited for an approval does so no more."""
    OVER = "over"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    UNSILENCED = "unsilenced"


TOLD: Final = frozenset({Kind.NOTIFY, Kind.RECOMMEND, Kind.ALERT, Kind.RETRAIN, Kind.ROLLBACK, Kind.PAUSED})


class Of(StrEnum):
    """What an alarm is about, whatever layer has raised it: the gate's rates are of inputs or of answers."""

    SCHEMA = "schema"
    INPUTS = "inputs"
    OUTPUTS = "outputs"
    ARMS = "arms"
    LABELS = "labels"


_OF: Final = {Layer.PREDICTION: Of.OUTPUTS, Layer.ARMS: Of.ARMS, Layer.LABELS: Of.LABELS}


class Word(NamedTuple):
    """What an operator said: who, why, when (seconds since 1970), and until when it holds; 0 is for good."""

    who: str
    why: str
    at_s: float
    until_s: float = 0.0


class Feature(NamedTuple):
    """A feature that moved: by how much (total variation), and its share of all that moved."""

    feature: str
    variation: float
    share: float


@dataclass(frozen=True, slots=True)
class Raised:
    """One layer's newest alarm of one version, without histograms.

    Attributes:
        finding: its id.
        version: which.
        layer: what was looked at.
        of: what it is about.
        first_s: when the first row came that it rests on, seconds since 1970.
        last_s: when the last one did.
        rows: how many.
        since_s: when suspicion began.
        statistic: what was measured.
        value: of it.
        log_sum: the log of the evidence.
        log_alarm: the log of what it takes to alarm.
        words: what was found, in a sentence.
        features: ranked.
        segment: in which alone it happened; None where it is everywhere.
    """

    finding: str
    version: int
    layer: Layer
    of: Of
    first_s: float
    last_s: float
    rows: int
    since_s: float
    statistic: str
    value: float
    log_sum: float
    log_alarm: float
    words: str
    features: tuple[Feature, ...] = ()
    segment: Segment | None = None

    @property
    def place(self) -> str:
        """By which an incident remembers it."""
        return f"{self.version}/{self.layer.value}/{self.of.value}"

    @property
    def variation(self) -> float:
        """Of the feature that moved farthest."""
        return max((one.variation for one in self.features), default=0.0)


@dataclass(frozen=True, slots=True)
class Incident:
    """What one model's drift came to so far.

    Attributes:
        identity: of it and of nothing else: an idempotency key.
        model: whose.
        opened_s: when its first finding was heard, seconds since 1970 by the store's clock.
        changed_s: when something was last found that was not known: what waits for a look at all versions waits anew.
        raised: the newest alarm of each version's layers, by `Raised.place`.
        windows: how many of each version had been heard then.
        findings: ids, the oldest first; the newest `MOST_FINDINGS`.
        decided: what it was put down to; None as long as nobody has looked.
        told: the most that anybody was told.
        acted: what went out; at most one action does.
        pending: what waits for an operator's approval.
        alerted: whether somebody was called because of a broken schema.
        paused: the rollout that was paused for it, the last one; empty for none.
        acknowledged: who has it in hand: nothing more is told by itself then, or done.
        silenced: likewise, for a time.
        closed_s: when nothing drifted any more; None while something does.
        over: whether what is found from now on is another incident.
        revision: counts its changes, from 1.
    """

    identity: str
    model: str
    opened_s: float
    changed_s: float
    raised: Mapping[str, Raised]
    windows: Mapping[int, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    decided: Attribution | None = None
    told: Action = Action.NOTHING
    acted: Action = Action.NOTHING
    pending: Action = Action.NOTHING
    alerted: bool = False
    paused: str = ""
    acknowledged: Word | None = None
    silenced: Word | None = None
    closed_s: float | None = None
    over: bool = False
    revision: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "raised", MappingProxyType(dict(self.raised)))
        object.__setattr__(self, "windows", MappingProxyType(dict(self.windows)))

    @classmethod
    def begun(cls, raised: Raised, model: str, windows: Mapping[int, int], now_s: float) -> Self:
        """With its first finding.

        Args:
            raised: what was found.
            model: whose.
            windows: how many of each version were heard so far.
            now_s: seconds since 1970.
        """
        identity = ID_PREFIX + hashlib.sha256(f"{model}\n{raised.finding}".encode()).hexdigest()[:_DIGITS]
        return cls(identity, model, now_s, now_s, {raised.place: raised}, windows, (raised.finding,))

    def with_finding(self, raised: Raised, windows: Mapping[int, int], now_s: float) -> Incident:
        """With one more: whoever is to be blamed is looked for anew where its layer was calm before."""
        findings = (*self.findings, raised.finding)[-MOST_FINDINGS:]
        more = replace(self, raised={**self.raised, raised.place: raised}, findings=findings, closed_s=None)
        return more.next() if raised.place in self.raised else replace(more.next(), changed_s=now_s, windows=windows)

    def next(self) -> Incident:
        """At its next revision."""
        return replace(self, revision=self.revision + 1)

    def is_held(self, now_s: float) -> bool:
        """Whether an operator has said that nothing is to be told or done."""
        silenced = self.silenced is not None and now_s < self.silenced.until_s
        return self.acknowledged is not None or silenced

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        said = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        decided = None if self.decided is None else dataclasses.asdict(self.decided)
        words = {
            name: None if one is None else one._asdict()
            for name, one in (("acknowledged", self.acknowledged), ("silenced", self.silenced))
        }
        raised = {place: _plain_raised(one) for place, one in self.raised.items()}
        windows = {str(version): count for version, count in self.windows.items()}
        return {**said, **words, "decided": decided, "raised": raised, "windows": windows}


class Step(NamedTuple):
    """What comes next: the incident then, and what is written of it; None where that is nothing but itself."""

    incident: Incident
    kind: Kind | None = None
    words: str = ""


def raised_of(finding_id: str, finding: Finding) -> Raised:
    """What an incident remembers of a finding."""
    features = tuple(
        Feature(one.moved.feature, one.moved.variation, one.share) for one in finding.changes if one.share > 0
    )
    return Raised(
        finding=finding_id,
        version=finding.version,
        layer=finding.layer,
        of=_about(finding),
        first_s=finding.span.first_s,
        last_s=finding.span.last_s,
        rows=finding.span.rows,
        since_s=finding.since_s,
        statistic=finding.statistic,
        value=finding.value,
        log_sum=finding.log_sum,
        log_alarm=finding.log_alarm,
        words=str(finding),
        features=features,
        segment=finding.segment,
    )


def _about(finding: Finding) -> Of:
    if finding.breaks:
        return Of.SCHEMA
    return _OF.get(finding.layer, Of.OUTPUTS if finding.of_outputs else Of.INPUTS)


def judged(incident: Incident, said: Attribution, act: Act, *, held: bool) -> Step | None:
    """What follows from what it is put down to; None where that is nothing new.

    Args:
        incident: so far.
        said: what it is put down to now.
        act: how much is done for this model.
        held: whether an operator has said that nothing is to be told or done.
    """
    waits = incident.pending
    if waits.acts and said.action not in {waits, Action.RECOMMEND}:
        told = min(incident.told, said.action, Action.NOTIFY, key=lambda one: one.rank)
        words = f"It no longer waits for an approval to {waits.value}. {said.words}"
        calmer = replace(incident.next(), pending=Action.NOTHING, decided=said, told=told)
        return Step(calmer, Kind.WITHDRAWN, words)
    after = replace(incident.next(), decided=said)
    if said.action.rank > incident.told.rank and not held and act is not Act.OBSERVE:
        return _told(after, said, act)
    before = incident.decided
    if before is None or said.action.rank > before.action.rank:
        return Step(after, Kind.OBSERVED, said.words)
    return None


def alerted(incident: Incident, said: Attribution) -> Step:
    """A schema is broken, and somebody is called at once, whatever was told before."""
    told = max(incident.told, Action.ALERT, key=lambda one: one.rank)
    return Step(replace(incident, decided=said, told=told, alerted=True), Kind.ALERT, said.words)


def approved(incident: Incident) -> Step | None:
    """What waits goes out; None where nothing does."""
    waits = incident.pending
    if not waits.acts or incident.closed_s is not None:
        return None
    after = replace(incident.next(), pending=Action.NOTHING, acted=waits)
    return Step(after, Kind(waits.value), "" if incident.decided is None else incident.decided.words)


def aged(incident: Incident, now_s: float, cool_down_s: float, *, drifting: bool, last_s: float) -> Step | None:
    """Whether it ends, goes on after all, or is over; None for none of these.

    Args:
        incident: so far.
        now_s: seconds since 1970.
        cool_down_s: what comes back within so many seconds is the same incident.
        drifting: whether any of its versions still is.
        last_s: when the newest of their rows came.
    """
    if drifting:
        return None if incident.closed_s is None else Step(replace(incident.next(), closed_s=None))
    if incident.closed_s is None:
        closed_s = min(max(last_s, incident.changed_s), now_s)
        after = replace(incident.next(), closed_s=closed_s, pending=Action.NOTHING)
        return Step(after, Kind.OVER, "Nothing drifts any more.")
    return Step(replace(incident.next(), over=True)) if now_s - incident.closed_s >= cool_down_s else None


def is_id(text: str) -> bool:
    """Whether that can be an incident's identity: it becomes a part of keys in the store."""
    digits = text.removeprefix(ID_PREFIX)
    return text.startswith(ID_PREFIX) and len(digits) == _DIGITS and set(digits) <= _HEX


def read(plain: Mapping[str, Any]) -> Incident:
    """What `Incident.plain` gave.

    Raises:
        Damaged: it is none.
    """
    with reading("episode of a model"):
        said = {one.name: plain[one.name] for one in dataclasses.fields(Incident) if one.name in plain}
        said["raised"] = {place: _raised(one) for place, one in plain["raised"].items()}
        said["windows"] = {int(version): int(count) for version, count in plain["windows"].items()}
        said["findings"] = tuple(map(str, plain["findings"]))
        said["decided"] = _attribution(plain["decided"])
        said |= {name: Action(plain[name]) for name in ("told", "acted", "pending")}
        said |= {name: Word(**plain[name]) if plain[name] else None for name in ("acknowledged", "silenced")}
        return Incident(**said)


def _told(after: Incident, said: Attribution, act: Act) -> Step:
    """With what is told: an action is recommended where it is not to go out by itself."""
    action = said.action
    alerted_too = after.alerted or (action is Action.ALERT and said.cause is Cause.SCHEMA)
    after = replace(after, told=action, alerted=alerted_too)
    if not action.acts:
        return Step(after, Kind(action.value), said.words)
    if act is Act.ACT:
        return Step(replace(after, acted=action), Kind(action.value), said.words)
    waits = action if act is Act.APPROVE else Action.NOTHING
    return Step(replace(after, pending=waits), Kind.RECOMMEND, said.words)


def _attribution(plain: Mapping[str, Any] | None) -> Attribution | None:
    return None if plain is None else Attribution(Cause(plain["cause"]), Action(plain["action"]), str(plain["words"]))


def _plain_raised(one: Raised) -> dict[str, Any]:
    said = dataclasses.asdict(one)
    return {
        **said,
        "layer": one.layer.value,
        "of": one.of.value,
        "features": [feature._asdict() for feature in one.features],
    }


def _raised(plain: Mapping[str, Any]) -> Raised:
    features = tuple(Feature(**one) for one in plain["features"])
    segment = Segment(**plain["segment"]) if plain["segment"] else None
    layer, of = Layer(plain["layer"]), Of(plain["of"])
    return Raised(**{**plain, "layer": layer, "of": of, "features": features, "segment": segment})
