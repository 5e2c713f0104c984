"""What a store shows of rollouts beside their records: values that both stores share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from serving.control.errors import StoreDamaged
from serving.control.rolling.records import Record

EVERYTHING = "*"
"""In the place of a model: all of them."""


class Stop(NamedTuple):
    """A stop in force: who broke the glass, when (seconds since 1970), and why."""

    who: str
    at_s: float
    why: str

    def encode(self) -> str:
        """The stop as JSON."""
        return json.dumps(self._asdict())


def stop_from(said: str | bytes) -> Stop:
    """What `Stop.encode` wrote; whatever else is there is a stop as well."""
    try:
        plain = json.loads(said)
        return Stop(str(plain["who"]), float(plain["at_s"]), str(plain["why"]))
    except (ValueError, KeyError, TypeError):
        return Stop("somebody", 0.0, "")


@dataclass(frozen=True, slots=True)
class Look:
    """What the loop goes by at one tick.

    Attributes:
        now_s: the store's time, seconds since 1970.
        records: rollouts in progress.
        damaged: models whose rollout in progress nobody can read, to its id.
        stopped: by model, or `*` for all.
    """

    now_s: float
    records: tuple[Record, ...]
    damaged: Mapping[str, str]
    stopped: Mapping[str, Stop]

    def stop_of(self, model: str) -> Stop | None:
        """The stop that holds the model, if one does."""
        return self.stopped.get(model) or self.stopped.get(EVERYTHING)


MOST_DUE: Final = 1_000
"""How many of the deliveries that are due are read at once."""

NOBODY: Final = Look(0.0, (), MappingProxyType({}), MappingProxyType({}))
"""No rollout is in progress."""


def damaged_record(rollout_id: str, model: str) -> StoreDamaged:
    """The error that says that nobody can read a rollout's record, and what ends it all the same."""
    return StoreDamaged(
        f"The record of rollout {rollout_id} cannot be read.",
        f"`sluice stop {model}` ends it if it is in progress: stable alone is served then.",
    )


class Due(NamedTuple):
    """A delivery that is due: 'entry/rollout/hook', the ledger's entry, and how often it was tried in vain."""

    id: str
    entry: str
    tries: int


class Attempt(NamedTuple):
    """What came of one attempt at a delivery.

    Attributes:
        hook: the address as far as anybody may see it.
        kind: type of the message.
        failed: why it did not arrive; empty where it did.
        took_s: seconds.
    """

    hook: str
    kind: str
    failed: str
    took_s: float = 0.0


class Waiting(NamedTuple):
    """A delivery that waits: its id, when it is tried next (milliseconds since 1970), and how often it was in vain."""

    job: str
    next_ms: int
    tries: int
    entry: str


class DeadLetter(NamedTuple):
    """A delivery that was given up: its id, when (milliseconds since 1970), after how many attempts, and the last."""

    job: str
    at_ms: int
    tries: int
    last: Attempt
    entry: str


class Tried(NamedTuple):
    """An attempt that is remembered: which delivery, when (milliseconds since 1970), and whether it waits on."""

    job: str
    at_ms: int
    attempt: Attempt
    became: Became


class Became(StrEnum):
    """What an attempt made of its delivery."""

    DELIVERED = "delivered"
    WAITS = "waits"
    DEAD = "dead"
    ENDED = "ended"
    """Nobody was left to tell."""


class Over(NamedTuple):
    """How many deliveries came to which end, since there is this store.

    Attributes:
        delivered: that arrived; one that is told once more counts once more.
        dead: that were given up, and became dead letters.
        ended: of which nobody was left to tell.
        dropped: that found no room in the queue, and were never tried.
    """

    delivered: int = 0
    dead: int = 0
    ended: int = 0
    dropped: int = 0


class Again(StrEnum):
    """What came of asking for a delivery once more."""

    REPLAYED = "replayed"
    HURRIED = "hurried"
    """It was waiting, and is tried at once."""
    UNKNOWN = "unknown"
    FULL = "full"
    """As many deliveries wait as may."""


class Answered(NamedTuple):
    """What was answered to a request: as it went out."""

    status: int
    headers: Mapping[str, str]
    body: str


class Claim(NamedTuple):
    """A request that was seen before: the digest of its body, and what was answered; None while nothing was."""

    digest: str
    answer: Answered | None


def claim_from(said: str | bytes) -> Claim:
    """The claim as the store has it."""
    plain = json.loads(said)
    answer = plain["answer"]
    return Claim(plain["digest"], None if answer is None else Answered(**answer))
