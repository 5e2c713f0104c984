"""How a change becomes the next epoch: read, check the model's revision, swap the head, and again if others came first.

Two operators on one model cannot overwrite each other, because the model's revision must still be the one that the
change began with. Operators of different models never meet: the head is one, so one of two swaps fails, but it is
repeated for as long as the revision of its own model stands.

Values and one loop; the swap itself, all or nothing, is a store's (`serving.control.store`).
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from router.codec import digest_of, encode_policy, encode_snapshot, policy_as_dict
from router.epoch import EMPTY, NO_HEAD, Head, Snapshot
from router.policy import Policy
from serving.control.errors import Conflict, Contended

_ATTEMPTS = 100
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05
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
        fence: who published, for a later check that only one tries.
        nonce: names this attempt, so that repeating it is not a second change.
    """

    expected: str
    head: Head
    snapshot: bytes
    policies: Mapping[str, bytes]
    entry: LedgerEntry
    retired: tuple[str, ...] = ()
    lineage: Mapping[int, str] = field(default_factory=dict)
    fence: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(12))


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a swap.

    Attributes:
        done: whether the head is the new one now.
        head: the head that is there now.
        members: ids of the gateways whose lease was alive when the head was written.
        durable: whether the write was confirmed to be on disk.
    """

    done: bool
    head: Head
    members: frozenset[str] = frozenset()
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A change that took place.

    Attributes:
        model: whose policy changed.
        revision: the model's new revision.
        policy: what it runs now.
        answer: the store's.
    """

    model: str
    revision: int
    policy: Policy
    answer: Answer


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants of one model.

    Attributes:
        model: whose policy is to change.
        policy: what it is to run.
        expected: the revision that the change began with, 0 for "no policy yet", None for "whatever it is".
        who: whoever wants it.
        why: the reason given.
    """

    model: str
    policy: Policy
    expected: int | None
    who: str
    why: str = ""


class Swaps(Protocol):
    """What publishing needs of a store."""

    async def state(self) -> State:
        """The head and its snapshot."""

    async def policy(self, digest: str) -> Policy:
        """The policy of that digest."""

    async def swap(self, publication: Publication) -> Answer:
        """Writes all of it, or nothing."""


async def publish(store: Swaps, change: Change) -> Published:
    """The change, once it has become the next epoch.

    Raises:
        Conflict: the model's revision is not the expected one (any more).
        Contended: other models' changes came in between a hundred times.
        StoreUnavailable: the store did not answer; whether the change took place is not known.
    """
    for attempt in range(_ATTEMPTS):
        state = await store.state()
        await _check_revision(store, state.snapshot, change)
        publication = _next(state, change)
        answer = await store.swap(publication)
        if answer.done:
            return Published(change.model, state.snapshot.revision_of(change.model) + 1, change.policy, answer)
        await asyncio.sleep(_pause_s(attempt))
    raise Contended(
        f"The change to {change.model} was tried {_ATTEMPTS} times, and another model's change came first each time.",
        "Try again in a moment.",
    )


async def _check_revision(store: Swaps, snapshot: Snapshot, change: Change) -> None:
    revision = snapshot.revision_of(change.model)
    if change.expected is None or change.expected == revision:
        return
    entry = snapshot.models.get(change.model)
    there = await store.policy(entry.digest) if entry else None
    raise Conflict(change.model, change.expected, revision, there)


def _next(state: State, change: Change) -> Publication:
    blob = encode_policy(change.policy)
    snapshot = state.snapshot.with_policy(change.model, digest_of(blob), parent=state.head.digest)
    encoded = encode_snapshot(snapshot)
    head = Head(snapshot.epoch, digest_of(encoded), state.head.digest)
    facts = {
        "model": change.model,
        "revision": snapshot.revision_of(change.model),
        "epoch": head.epoch,
        "digest": head.digest,
        "policy": policy_as_dict(change.policy),
    }
    return Publication(
        expected=state.head.digest,
        head=head,
        snapshot=encoded,
        policies={digest_of(blob): blob},
        entry=LedgerEntry("policy", change.who, change.why, facts),
        retired=retired(state.snapshot, snapshot),
    )


def retired(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """Digests of the policies that some model ran before and none runs after."""
    still = {entry.digest for entry in after.models.values()}
    return tuple(sorted({entry.digest for entry in before.models.values()} - still))


def _pause_s(attempt: int) -> float:
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempt, 10))
    return random.uniform(0, longest)  # noqa: S311 - spreads competitors out, keeps no secret
