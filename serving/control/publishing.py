"""How a change becomes the next epoch: read, check the model's revision, swap the head, and again if others came first.

Two operators on one model cannot overwrite each other, because the model's revision must still be the one that the
change began with. Operators of different models never meet: the head is one, so one of two swaps fails, but it is
repeated for as long as the revision of its own model stands.

One loop; the values are `serving.control.publication`, the swap itself, all or nothing, is a store's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from router.codec import (
    digest_of,
    encode_policy,
    encode_snapshot,
    policy_as_dict,
    reader_of,
    snapshot_reader_of,
)
from router.epoch import Head, Snapshot
from router.policy import Policy
from serving.control.errors import Conflict, Contended, Deposed, GatewayTooOld, ModelStopped, NotNow, RolloutActive
from serving.control.publication import (
    LONGEST_REMARK,
    NOTHING,
    NOTHING_BESIDE,
    Answer,
    Beside,
    LedgerEntry,
    Publication,
    Recorded,
    RecordWrite,
    Refused,
    State,
)

__all__ = [
    "LONGEST_REMARK",
    "NOTHING",
    "Answer",
    "Beside",
    "Change",
    "LedgerEntry",
    "Publication",
    "Published",
    "RecordWrite",
    "Recorded",
    "Refused",
    "State",
    "Swaps",
    "next_epoch",
    "pause_s",
    "publication_of",
    "publish",
    "refuse",
    "retired",
]

_ATTEMPTS = 100
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


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
        grows: whether somebody but stable gets more by it, so that a stop forbids it.
        insists: whether it only takes traffic back, so that no gateway which cannot read it holds it up.
    """

    model: str
    policy: Policy
    expected: int | None
    who: str
    why: str = ""
    grows: bool = False
    insists: bool = False


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
        RolloutActive: a rollout of that model is in progress.
        ModelStopped: the model is stopped, and somebody but stable would get more.
        GatewayTooOld: a gateway could not read it.
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
        refuse(answer)
        await asyncio.sleep(pause_s(attempt))
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
    facts = {"rollout": {"kind": "manual"}}
    return publication_of(
        state,
        {change.model: change.policy},
        LedgerEntry("policy", change.who, change.why, facts),
        Beside(free=(change.model,), unstopped=(change.model,) if change.grows else (), nonce=""),
        insists=change.insists,
    )


def publication_of(
    state: State,
    policies: Mapping[str, Policy],
    entry: LedgerEntry,
    beside: Beside = NOTHING_BESIDE,
    *,
    insists: bool = False,
) -> Publication:
    """The next epoch, in which these models have these policies.

    Args:
        state: what is replaced.
        policies: by model; at least one.
        entry: for the ledger; where there is one model only, its facts are added to.
        beside: what else is written.
        insists: whether it is written whoever cannot read it.
    """
    snapshot = state.snapshot
    blobs = {model: encode_policy(policy) for model, policy in policies.items()}
    for model, blob in blobs.items():
        snapshot = snapshot.with_policy(model, digest_of(blob), parent=state.head.digest)
    snapshot = replace(snapshot, epoch=state.snapshot.epoch + 1)
    facts: dict[str, Any] = {}
    if len(policies) == 1:
        [(model, policy)] = policies.items()
        facts = {"model": model, "revision": snapshot.revision_of(model), "policy": policy_as_dict(policy)}
    reader = max(map(reader_of, policies.values()), default=1)
    named = {digest_of(blob): blob for blob in blobs.values()}
    said = _with_facts(entry, facts)
    return next_epoch(state, snapshot, named, said, beside=beside, reader=reader, insists=insists)


def next_epoch(
    state: State,
    snapshot: Snapshot,
    blobs: Mapping[str, bytes],
    entry: LedgerEntry,
    *,
    beside: Beside = NOTHING_BESIDE,
    reader: int = 1,
    insists: bool = False,
) -> Publication:
    """This snapshot in the place of what the store holds; the entry learns epoch and digest."""
    encoded = encode_snapshot(snapshot)
    head = Head(snapshot.epoch, digest_of(encoded), state.head.digest)
    return Publication(
        expected=state.head.digest,
        head=head,
        snapshot=encoded,
        policies=blobs,
        entry=_with_facts(entry, {"epoch": head.epoch, "digest": head.digest}),
        retired=retired(state.snapshot, snapshot),
        beside=beside,
        reader=max(reader, snapshot_reader_of(snapshot)),
        insists=insists,
    )


def retired(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """Digests of the policies that were active or staged before and are neither after."""
    return tuple(sorted(before.digests - after.digests))


def refuse(answer: Answer) -> None:
    """Says why nothing was written, where trying again would not help.

    Raises:
        RolloutActive: a rollout of that model is in progress.
        ModelStopped: the model is stopped.
        Deposed: another conductor has taken over.
        GatewayTooOld: a gateway could not read it.
        NotNow: as many rollouts are in progress as there can be.
    """
    match answer.refused:
        case Refused.ACTIVE:
            raise RolloutActive(answer.by)
        case Refused.STOPPED:
            raise ModelStopped(answer.by)
        case Refused.DEPOSED:
            raise Deposed
        case Refused.READER:
            raise GatewayTooOld(answer.by)
        case Refused.FULL:
            raise NotNow(
                f"{int(answer.by):,} rollouts are in progress, the most that there can be.",
                "End one first: promote it, or roll it back. `sluice rollout list` shows them.",
            )
        case _:
            return


def _with_facts(entry: LedgerEntry, facts: Mapping[str, Any]) -> LedgerEntry:
    return replace(entry, facts={**facts, **entry.facts})


def pause_s(attempt: int) -> float:
    """How long to wait before the next attempt: longer each time, and spread out, so that rivals part."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempt, 10))
    return random.uniform(0, longest)  # noqa: S311 - spreads competitors out, keeps no secret
