"""Whom a rollout asks and tells over HTTP: gates that it waits for, and hooks that hear what happened.

Values that check themselves. Who asks gates is `serving.control.rolling.gates`, who tells hooks
`serving.control.rolling.hooks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from drift.signing import LONGEST_SECRET, SECRET_PREFIX, SHORTEST_SECRET, is_secret
from router.errors import PlanError

MOST_GATES: Final = 8
MOST_HOOKS: Final = 8
LONGEST_TIMEOUT_S: Final = 60
LONGEST_URL: Final = 2_048
_MOST_METADATA: Final = 32


class GateKind(StrEnum):
    """When a gate is asked. The values are Flagger's."""

    CONFIRM_ROLLOUT = "confirm-rollout"
    """Before the first stage."""
    CONFIRM_PROMOTION = "confirm-promotion"
    """Before the candidate becomes stable."""
    ROLLBACK = "rollback"
    """All along: the rollout goes back as soon as it says yes."""


class Event(StrEnum):
    """What the ledger may say of a rollout, and what hooks may ask to hear."""

    STARTED = "started"
    ENTERED = "entered"
    STAGED = "staged"
    ABANDONED = "abandoned"
    WAITING = "waiting"
    PAUSED = "paused"
    RESUMED = "resumed"
    SET = "set"
    ADVISED = "advised"
    PROMOTED = "promoted"
    FINISHED = "finished"
    ROLLED_BACK = "rolled_back"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    STOPPED = "stopped"
    RETRIED = "retried"
    CORRECTED = "corrected"
    ALERTED = "alerted"
    BRAKED = "braked"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True)
class Gate:
    """Somebody else's word that a rollout waits for: anything but a 2xx is a no.

    Attributes:
        kind: when it is asked.
        url: where.
        name: for people.
        metadata: sent along.
        timeout_s: how long it may take to answer, seconds.
    """

    kind: GateKind
    url: str
    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout_s: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", GateKind(self.kind))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        check_url(self.url)
        if not self.name.isprintable():
            raise PlanError(f"{self.name!a} is no name of a gate: it has printable characters alone")
        if not 1 <= self.timeout_s <= LONGEST_TIMEOUT_S:
            raise PlanError(f"the timeout of a gate is {self.timeout_s} s: it is from 1 to {LONGEST_TIMEOUT_S}")
        if len(self.metadata) > _MOST_METADATA:
            raise PlanError(f"a gate has at most {_MOST_METADATA} metadata")

    @property
    def words(self) -> str:
        """'the gate 'approval' at ci.example' for people: the path may hold a token, so it stays out."""
        return f"the gate '{self.name or self.kind}' at {urlsplit(self.url).hostname}"


@dataclass(frozen=True, slots=True)
class Hook:
    """Who hears what happened, by Standard Webhooks.

    Attributes:
        url: where.
        secret: what deliveries are signed with, as `whsec_` and base64; never shown.
        events: which of them; none means all.
    """

    url: str
    secret: str = field(repr=False)
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", tuple(map(Event, self.events)))
        check_url(self.url)
        _check_secret(self.secret)

    @property
    def secrets(self) -> tuple[str, ...]:
        """As webhooks of the settings have them, which may have several."""
        return (self.secret,)

    def hears(self, event: str) -> bool:
        """Whether it wants to know of this."""
        return not self.events or event in self.events


def gate_as_dict(gate: Gate) -> dict[str, Any]:
    """The gate as plain values."""
    return {
        "type": gate.kind.value,
        "url": gate.url,
        "name": gate.name,
        "metadata": dict(gate.metadata),
        "timeout_s": gate.timeout_s,
    }


def gate_from(said: Mapping[str, Any]) -> Gate:
    """The gate in plain values."""
    return Gate(GateKind(said["type"]), said["url"], said["name"], said["metadata"], said["timeout_s"])


def hook_as_dict(hook: Hook) -> dict[str, Any]:
    """The hook as plain values, its secret among them: for the store, and for nobody else."""
    return {"url": hook.url, "secret": hook.secret, "events": [event.value for event in hook.events]}


def hook_from(said: Mapping[str, Any]) -> Hook:
    """The hook in plain values."""
    return Hook(said["url"], said["secret"], tuple(map(Event, said["events"])))


def shown_url(url: str) -> str:
    """The address as far as anybody may see it: what comes after the host may be a secret of its own."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"


def check_url(url: object) -> None:
    """Refuses what is no address of an HTTP server; the sentence does not repeat it, for it may hold a token."""
    try:
        legible = isinstance(url, str) and len(url) <= LONGEST_URL and url.isprintable()
        parts = urlsplit(str(url)) if legible else None
        sound = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise PlanError("an address of a gate or a webhook is no URL: write it like https://host/path")


def _check_secret(secret: object) -> None:
    if not is_secret(secret):
        raise PlanError(
            f"the secret of a webhook is {SECRET_PREFIX} and base64 of {SHORTEST_SECRET} to {LONGEST_SECRET} bytes, "
            "as Standard Webhooks have it"
        )
