"""What is written of an episode of drift: an entry of the ledger, which is also what webhooks are told. Pure.

Its facts have the members that docs/drift-webhook.schema.json says, `event` among them, by which the message gets its
type. What the webhooks of the settings hear of it are jobs, written by the same script.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

from drift.attribution import Cause
from drift.circumstances import Circumstances
from drift.incidents import TOLD, Incident, Kind, Of, Raised, Step
from drift.reading import Layer
from drift.webhooks import window_path
from serving.control.incident_form import encode_incident
from serving.control.publication import IncidentWrite, Job, LedgerEntry
from serving.control.rolling.hooks import DRIFT

DECIDES: Final = "the attribution of drift"
"""Who decided it, where no operator did."""

_LONGEST: Final = 1_000
_SHOWS: Final[Mapping[Cause, tuple[Of, ...]]] = {
    Cause.INPUTS: (Of.INPUTS,),
    Cause.SEGMENT: (Of.INPUTS,),
    Cause.CANDIDATE: (Of.OUTPUTS, Of.INPUTS),
    Cause.ARMS: (Of.ARMS,),
    Cause.LABELS: (Of.INPUTS, Of.OUTPUTS),
    Cause.UNKNOWN: (Of.OUTPUTS,),
}
"""What explains a cause, the first that has any features."""
_BEST: Final = (Layer.UNIVARIATE, Layer.PREDICTION, Layer.ARMS, Layer.MULTIVARIATE, Layer.SCHEMA)
"""Whose features are shown, of several layers that are about the same."""


class Hears(Protocol):
    """A webhook of the settings."""

    def hears(self, event: str) -> bool:
        """Whether it wants to know of this kind of message."""


def entry_of(
    step: Step, known: Circumstances, hooks: Mapping[int, Hears], *, who: str = DECIDES, why: str = ""
) -> LedgerEntry:
    """The ledger's entry about one step.

    Args:
        step: what comes next, and of which kind that is.
        known: what it rests on.
        hooks: webhooks of the settings.
        who: decided it.
        why: the reason that was given; empty for what is told.
    """
    kind = step.kind or Kind.OBSERVED
    words = step.words
    if kind in {Kind.RETRAIN, Kind.ROLLBACK} and not list(told_to(kind, hooks)):
        words += f" No webhook hears of it: name drift.{kind} in `events` of drift.webhooks."
    facts = {**data_of(step.incident, known, kind, words), "event": kind.value, "what": f"drift {kind}"}
    return LedgerEntry(DRIFT, who, why or words, facts)


def jobs_of(kind: Kind | None, entry: int, hooks: Mapping[int, Hears]) -> tuple[Job, ...]:
    """What webhooks are to hear of the nth entry."""
    return tuple(Job(entry, DRIFT, number) for number in told_to(kind, hooks))


def told_to(kind: Kind | None, hooks: Mapping[int, Hears]) -> Iterator[int]:
    """The numbers of those who hear of it."""
    if kind in TOLD:
        yield from (number for number, hook in hooks.items() if hook.hears(f"drift.{kind}"))


def write_of(incident: Incident, replaces: str = "") -> IncidentWrite:
    """The write that takes the episode to where it is now.

    Args:
        incident: as it is to be.
        replaces: the model's open one that nobody can read; empty for none.
    """
    return IncidentWrite(
        incident.identity, incident.model, incident.revision - 1, incident.revision, encode_incident(incident),
        incident.over, replaces,
    )  # fmt: skip


def data_of(incident: Incident, known: Circumstances, kind: Kind, words: str) -> dict[str, Any]:
    """What is told of the episode, as plain values."""
    decided, live = incident.decided, known.live
    cause = Cause.UNKNOWN if decided is None else decided.cause
    action = "nothing" if decided is None else decided.action.value
    shown = _shown(cause, live)
    return {
        "episode": incident.identity,
        "model": incident.model,
        "cause": cause.value,
        "action": "pause" if kind is Kind.PAUSED else action,
        "words": words[:_LONGEST],
        "versions": list(_versions(known)),
        "findings": list(incident.findings),
        "features": [] if shown is None else [one._asdict() for one in shown.features],
        "segment": _segment(live) if cause is Cause.SEGMENT else None,
        "harm": _harm(known),
        "window": _window(incident, live),
        "rollout": known.roles.rollout,
        "links": {
            "explain": f"/api/v1/drift/episodes/{incident.identity}",
            "ledger": f"/api/v1/ledger?model={quote(incident.model, safe='')}",
        },
    }


def _shown(cause: Cause, live: Iterable[Raised]) -> Raised | None:
    """The alarm whose features explain the cause; None for none."""
    found = [one for one in live if one.features]
    for of in _SHOWS.get(cause, ()):
        about = [one for one in found if one.of is of and one.layer in _BEST]
        if about:
            return min(about, key=lambda one: (_BEST.index(one.layer), one.log_alarm - one.log_sum))
    return None


def _segment(live: Iterable[Raised]) -> dict[str, Any] | None:
    found = next((one.segment for one in live if one.segment is not None and one.of is Of.INPUTS), None)
    if found is None:
        return None
    return {
        "feature": found.feature,
        "name": found.name,
        "share": found.share,
        "inside": found.inside,
        "outside": found.outside,
    }


def _harm(known: Circumstances) -> dict[str, Any]:
    rose = [one.words for one in known.live if one.of is Of.LABELS]
    if known.roles.against:
        rose.append("The verdict of the model's rollout is against its candidate.")
    none = "No labels say that errors rose, and no verdict of a rollout is against its candidate."
    return {"shown": bool(rose), "words": " ".join(rose)[:_LONGEST] or none}


def _window(incident: Incident, live: Iterable[Raised]) -> dict[str, Any]:
    """From the first row that any alarm rests on to the last; rows of each version are counted once."""
    found = tuple(live)
    rows: dict[int, int] = {}
    for one in found:
        rows[one.version] = max(rows.get(one.version, 0), one.rows)
    return {
        "from_s": min(one.first_s for one in found),
        "to_s": max(one.last_s for one in found),
        "rows": sum(rows.values()),
        "parquet": window_path(incident.identity),
    }


def _versions(known: Circumstances) -> Iterator[dict[str, Any]]:
    """Each version that is watched, or of which something was found, with what its layers have added up."""
    found: dict[int, dict[str, Any]] = {}
    for raised in known.live:
        layers = found.setdefault(raised.version, {})
        layers[raised.layer.value] = _layer(
            raised.statistic, raised.value, raised.log_sum, raised.log_alarm, raised.since_s
        )
    for status in known.statuses:
        layers = found.setdefault(status.version, {})
        for one in status.layers:
            if not one.waiting and (one.layer not in layers or one.log_sum >= one.log_alarm):
                layers[one.layer] = _layer(one.statistic, one.value, one.log_sum, one.log_alarm, one.since_s)
    for version, layers in sorted(found.items()):
        yield {"version": version, "role": known.roles.of(version), "layers": layers}


def _layer(statistic: str, value: float, log_sum: float, log_alarm: float, since_s: float | None) -> dict[str, Any]:
    return {
        "log_sum": log_sum, "log_alarm": log_alarm, "value": value, "statistic": statistic, "since_s": since_s,
    }  # fmt: skip
