"""What one change of traffic writes, and what must hold for it: values, without a store.

One script writes all of it or nothing (`publish.lua`); how a change becomes one of these, and is tried again, is
`serving.control.publishing`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from router.epoch import EMPTY, NO_HEAD, Head, Snapshot

LONGEST_REMARK = 1_000
"""Characters of `who` and `why` in a ledger entry."""


@dataclass(frozen=True, slots=True)
class State:
    """What a store holds at one moment: the head, and the snapshot that it names."""

    head: Head
    snapshot: Snapshot


NOTHING = State(NO_HEAD, EMPTY)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What was decided.

    Attributes:
        kind: `policy` or `recovery`.
        who: whoever decided it.
        why: the reason given, empty where none was.
        facts: what it rested on and what came of it, as plain values.
    """

    kind: str
    who: str
    why: str
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "who", self.who[:LONGEST_REMARK])
        object.__setattr__(self, "why", self.why[:LONGEST_REMARK])
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A ledger entry as the store keeps it: under an id, at milliseconds since 1970 by the store's clock."""

    id: str
    at_ms: int
    entry: LedgerEntry


class Refused(StrEnum):
    """Why a store wrote nothing."""

    HEAD = "head"
    """Another change came first."""
    DEPOSED = "deposed"
    """Another conductor has taken over."""
    STOPPED = "stopped"
    """Somebody has broken the glass: no share of that model grows."""
    ACTIVE = "active"
    """A rollout of that model is in progress."""
    MOVED = "moved"
    """The rollout is at another revision."""
    BARRED = "barred"
    """The version was rolled back."""
    READER = "reader"
    """A gateway is too old to understand it."""
    HEARD = "heard"
    """Somebody else has heard that finding."""
    FULL = "full"
    """As many rollouts are in progress as are kept."""
    EPISODE = "episode"
    """Somebody else has moved that episode of drift."""


@dataclass(frozen=True, slots=True)
class RecordWrite:
    """The next form of a rollout's record, if it is still at the expected revision.

    Attributes:
        id: the rollout's.
        model: whose it is.
        expected: the revision that is replaced; 0 where there is none yet.
        revision: the new one.
        record: the record's text; None to write nothing, where only the revision is to be checked.
        over: whether the rollout is over; while it is not, it is the only one of its model.
        bars: the versions that are not tried again without insisting, for they went back with this rollout.
        clears: the versions of which that is no longer so.
        unbarred: the versions that must not have been barred.
    """

    id: str
    model: str
    expected: int
    revision: int
    record: str | None
    over: bool = False
    bars: tuple[int, ...] = ()
    clears: tuple[int, ...] = ()
    unbarred: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be told to one hook of a rollout: the nth of the entries that are written with it."""

    entry: int
    rollout: str
    hook: int


class HeardFinding(NamedTuple):
    """A finding of drift that is heard: the id of the one that was heard before it (empty for none), and its own."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class IncidentWrite:
    """The next form of an episode of a model's drift, if it is still at the expected revision.

    Attributes:
        id: the episode's.
        model: whose it is.
        expected: the revision that is replaced; 0 where there is none yet, and then no other one of the model may be
            open.
        revision: the new one.
        record: its text (`drift.incidents.Incident.plain`, as JSON).
        over: whether what is found from now on is another one.
        replaces: the model's open one that nobody can read, which this one takes the place of; empty for none.
    """

    id: str
    model: str
    expected: int
    revision: int
    record: str
    over: bool = False
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """What one script writes beside the head, or alone, all of it or nothing, and what must hold for it.

    Attributes:
        records: of rollouts.
        entries: of the ledger, beside the one that a publication has.
        jobs: what hooks are to hear.
        seen: the digest of the head that must still be there; None where that does not matter.
        fence: of the conductor that writes; refused where another one has a later one. None for operators.
        unstopped: models that must not be stopped.
        free: models of which no rollout may be in progress.
        stops: models (or `*` for all) to what is kept of their stop.
        unstops: models (or `*`) whose stop is taken back.
        dropped: by model, the rollout in progress that is no longer one, because nobody can read it.
        stopped_before: stops that the store has forgotten; one that is there stays as it is.
        barred_before: by model and version, the rollout that it went back with, which the store has forgotten.
        heard: the finding of drift that this is what follows from; refused where another one was heard before it. Only
            where no policy changes.
        incidents: of drift. Only where no policy changes.
        silences: by model, what is kept of an operator's word that nothing is to be told or done about its drift; the
            empty text takes it back.
        nonce: names this attempt, so that repeating it is not a second change.
    """

    records: tuple[RecordWrite, ...] = ()
    entries: tuple[LedgerEntry, ...] = ()
    jobs: tuple[Job, ...] = ()
    seen: str | None = None
    fence: int | None = None
    unstopped: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    stops: Mapping[str, str] = field(default_factory=dict)
    unstops: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    stopped_before: Mapping[str, str] = field(default_factory=dict)
    barred_before: Mapping[tuple[str, int], str] = field(default_factory=dict)
    heard: HeardFinding | None = None
    incidents: tuple[IncidentWrite, ...] = ()
    silences: Mapping[str, str] = field(default_factory=dict)
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(12))


NOTHING_BESIDE = Beside(nonce="")


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything that one swap writes, if the head's digest is still the expected one.

    Attributes:
        expected: the digest of the head that this replaces; the empty text where there is none.
        head: the new head.
        snapshot: the bytes that it names.
        policies: the bytes of policies that the store may not have yet, by digest.
        retired: digests of policies that no model runs any more.
        lineage: what to remember beside the new head, epoch to digest (or digests, separated by a space).
        entry: what the ledger says of it.
        beside: what else is written, and what must hold for it; its own nonce is not used.
        reader: the oldest form of reader that understands what it changes; refused while a gateway's lease shows less.
        insists: whether it is written whoever cannot read it: what takes traffic back is held up by no gateway.
        nonce: names this attempt, so that repeating it is not a second change.
    """

    expected: str
    head: Head
    snapshot: bytes
    policies: Mapping[str, bytes]
    entry: LedgerEntry
    retired: tuple[str, ...] = ()
    lineage: Mapping[int, str] = field(default_factory=dict)
    beside: Beside = NOTHING_BESIDE
    reader: int = 1
    insists: bool = False
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(12))


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a swap.

    Attributes:
        done: whether the head is the new one now.
        head: the head that is there now.
        members: ids of the gateways whose lease was alive when the head was written.
        durable: whether the write was confirmed to be on disk.
        refused: why nothing was written.
        by: what stood in the way: the id of a rollout or of a gateway, or a model.
    """

    done: bool
    head: Head
    members: frozenset[str] = frozenset()
    durable: bool = False
    refused: Refused | None = None
    by: str = ""
