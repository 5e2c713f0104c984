"""What the live view asks of the control API, once a second, and how the answers become one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.control.client import ControlClient, GatewayStatus
from serving.control.rollouts_client import RolloutsClient
from serving.errors import ControlError
from serving.rollout_standing import printable, standing_from
from serving.watching.seen import Answer, Event

_EVENTS = 30
_TIME = slice(11, 19)
"""The time of day in a moment of the API."""


def ask(control: ControlClient, rollout_id: str, now_s: float) -> Answer:
    """Everything that the view shows, as it is now.

    Raises:
        ControlError: no answer, or one that this release cannot read.
    """
    rollouts = RolloutsClient(control)
    said, status, ledger = rollouts.rollout(rollout_id), control.status(), rollouts.ledger(rollout_id, _EVENTS)
    try:
        standing = standing_from(said)
        return Answer(
            at_s=now_s,
            standing=standing,
            requests=totals(status["gateways"], standing.model),
            gateways=len(status["gateways"]),
            current=sum(bool(one["current"]) for one in status["gateways"]),
            epoch=status["epoch"],
            trouble=_trouble(status["store"]),
            events=events_from(ledger["entries"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        sentence = f"what answers at {control.url} speaks of rollouts in a way that this command cannot read"
        raise ControlError(sentence, "use the command of the release that runs there") from error


def totals(gateways: Iterable[GatewayStatus], model: str) -> dict[tuple[str, int], int]:
    """How many requests each gateway has counted, by version."""
    found = {}
    for gateway in gateways:
        for series, count in gateway["requests"].items():
            name, _, version = series.rpartition("/")
            if name == model and version.isdecimal():
                found[gateway["id"], int(version)] = count
    return found


def events_from(entries: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    """Entries of the ledger, whichever end they begin at, as events, oldest first."""
    ordered = sorted(entries, key=lambda one: (str(one["at"]), str(one["id"])))
    return tuple(
        Event(str(one["id"]), str(one["at"])[_TIME], printable(one["who"]), printable(_words(one))) for one in ordered
    )


def _words(entry: Mapping[str, Any]) -> str:
    """What was done, and why."""
    facts = entry.get("facts") or {}
    what = facts.get("what") or entry["kind"]
    why = entry.get("why") or ""
    return f"{what}: {why}" if why else str(what)


def _trouble(store: Mapping[str, Any]) -> tuple[str, ...]:
    away = () if store["reachable"] else ("unreachable: gateways go on with what they have",)
    return (*away, *(printable(one) for one in store["warnings"]))
