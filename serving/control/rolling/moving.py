"""How one step of a rollout becomes what runs: its record, its policy and its ledger entry, written by one script.

Compare-and-swap on the head is tried again for as long as the rollout stands at the revision that the step began with;
who is too late is told so, and nothing is written twice. A flip is two changes: the policy is staged everywhere, and
then becomes active, which is all that the second change says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Protocol

from router.codec import digest_of, encode_policy, reader_of
from router.phases import Phase
from router.policy import Policy
from router.rollout import BY_ITSELF, Fact, Rollout, Step, policy_of
from serving.control.acknowledging import until_acknowledged
from serving.control.errors import Contended, NotNow, RolloutMoved, StoreDamaged, Unacceptable
from serving.control.publication import Answer, Beside, Publication, RecordWrite, Refused, State
from serving.control.publishing import next_epoch, pause_s, publication_of, refuse
from serving.control.rolling.records import Record, entry_of, jobs_of, written
from serving.control.traffic import opens
from serving.control.views import Acknowledged
from serving.leases import Applied

STAGING_S: Final = 2.0
"""How long all gateways may take to have a policy before it is active anywhere."""

_ATTEMPTS: Final = 100
_BACK: Final = frozenset({Phase.ROLLED_BACK, Phase.FAILED})


class Writes(Protocol):
    """What moving a rollout needs of a store."""

    async def state(self) -> State:
        """The head and its snapshot."""

    async def policy(self, digest: str) -> Policy:
        """The policy of that digest."""

    async def applied(self, ids: Collection[str]) -> Mapping[str, Applied]:
        """What these gateways go by, by id; without those whose lease is not alive."""

    async def swap(self, publication: Publication) -> Answer:
        """Writes all of it, or nothing."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A step that was taken.

    Attributes:
        record: what is there now.
        answer: the store's.
        published: whether the policy changed with it.
    """

    record: Record
    answer: Answer
    published: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """One attempt: what is there, where it is to lead, and what the ledger says."""

    state: State
    before: Record
    step: Step
    fence: int | None

    @property
    def fact(self) -> Fact:
        return self.step.facts[0]


async def move(
    store: Writes,
    before: Record,
    step: Step,
    *,
    fence: int | None = None,
    giving: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> Moved:
    """Takes a step.

    Args:
        store: where it is written.
        before: the rollout as the step found it.
        step: one that moved it.
        fence: of the conductor that takes it; None for an operator.
        giving: within it, nothing that newly gets traffic begins to be drained; a flip does not hold it while it waits
            for gateways.

    Raises:
        RolloutMoved: it is not where the step found it.
        ModelStopped: the model is stopped, and a share would grow.
        Deposed: another conductor has taken over.
        GatewayTooOld: a gateway could not read the policy, and somebody would get more by it.
        NotNow: not all gateways staged a policy that is to be everywhere first.
        Unacceptable: `giving` refuses it.
    """
    staged = step.flip and not await _runs(store, before.model, step.policy)
    if staged:
        await _stage(store, before, step, fence)
    try:
        async with giving():
            return await _written(store, before, step, fence)
    except Unacceptable as error:
        if staged:
            await _abandon(store, before, step, fence, error.sentence)
        raise


async def begin(store: Writes, record: Record, said: Fact, *, again: bool, expected: int | None) -> Moved:
    """Starts a rollout on the policy that it was made for.

    Args:
        store: where it is written.
        record: the rollout, which nobody has yet.
        said: for the ledger.
        again: whether versions that went back may be tried again.
        expected: the revision of the model's policy that was seen; None for whatever it is.

    Raises:
        RolloutMoved: the policy is another one by now.
        RolloutActive: one of that model is in progress.
        ModelStopped: the model is stopped.
        NotNow: a version went back, and nobody insists.
    """
    for attempt in range(_ATTEMPTS):
        state = await store.state()
        entry = state.snapshot.models.get(record.model)
        if entry is None or entry.digest != _digest(record.rollout.base) or expected not in (None, entry.revision):
            raise stale_base(record.model)
        write = written(None, record, again=again)
        answer = await store.note(
            Beside(
                records=(write,),
                entries=(entry_of(record, said),),
                jobs=jobs_of(record, said),
                seen=state.head.digest,
                unstopped=(record.model,),
            )
        )
        if answer.done:
            return Moved(record, answer, published=False)
        if answer.refused is Refused.BARRED:
            raise NotNow(
                f"A version of this rollout went back with {answer.by}, and is not tried again by itself.",
                "Insist with `again` (`--again` on the command line), if it is to be.",
            )
        refuse(answer)
        await asyncio.sleep(pause_s(attempt))
    raise _contended(record.model)


def stale_base(model: str) -> RolloutMoved:
    """The error that says that somebody changed the policy which a rollout was to begin with."""
    return RolloutMoved(
        f"The policy of {model} is not the one that this rollout would begin with.",
        "Look at what is there now, and start it again.",
    )


def drifted(record: Record, state: State) -> bool:
    """Whether the model runs something else than the rollout has set: a store that forgot, and was told by gateways."""
    entry = state.snapshot.models.get(record.model)
    return entry is None or entry.digest != wanted_by(record)


def wanted_by(record: Record) -> str:
    """The digest of the policy that the rollout has set."""
    return _digest(policy_of(record.rollout))


async def _written(store: Writes, before: Record, step: Step, fence: int | None) -> Moved:
    for attempt in range(_ATTEMPTS):
        plan = _Plan(await store.state(), before, step, fence)
        moved = await _attempted(store, plan)
        if moved.answer.done:
            return moved
        _refuse_moved(before, moved.answer)
        await asyncio.sleep(pause_s(attempt))
    raise _contended(before.model)


async def _attempted(store: Writes, plan: _Plan) -> Moved:
    """One attempt: with the policy where another one runs or one is staged, else without."""
    state, before, model = plan.state, plan.before, plan.before.model
    entry = state.snapshot.models.get(model)
    if entry is None:
        raise StoreDamaged(f"The model {model} has a rollout and no policy.", "A gateway hands its policy back soon.")
    forward = await _gives_more(store, plan, entry.digest)
    moves = _publishes(plan, entry.digest)
    if not moves and model not in state.snapshot.staged:
        after = before.after(plan.step.rollout)
        return Moved(after, await store.note(_beside(plan, after, forward=forward)), published=False)
    # The record names the epoch that it publishes; which that is, the head says that is to be replaced.
    after = before.after(plan.step.rollout, state.head._replace(epoch=state.head.epoch + 1))
    beside = _beside(plan, after, forward=forward)
    entry_said, *_ = beside.entries
    if moves:
        beside = _without_entries(beside)
        published = publication_of(state, {model: plan.step.policy}, entry_said, beside, insists=not forward)
    else:  # what a flip had staged that is not to be: any other step drops it
        rest = state.snapshot.with_staged(model, None, parent=state.head.digest)
        published = next_epoch(state, rest, {}, entry_said, beside=_without_entries(beside), insists=not forward)
    return Moved(after, await store.swap(published), published=True)


def _publishes(plan: _Plan, running: str) -> bool:
    """Whether the step changes what runs; what has drifted is made true again by going back or setting shares alone."""
    before, after = plan.before.rollout, plan.step.rollout
    wanted = _digest(plan.step.policy)
    moves = wanted != _digest(policy_of(before)) or after.phase in _BACK or _sets(before, after)
    return moves and wanted != running


def _sets(before: Rollout, after: Rollout) -> bool:
    """Whether an operator has set the shares: a new leg of the same stage, by hand."""
    return after.by_hand is not None and after.leg != before.leg and after.stage == before.stage and not after.over


def _beside(plan: _Plan, after: Record, *, forward: bool) -> Beside:
    return Beside(
        records=(written(plan.before, after),),
        entries=(entry_of(after, plan.fact),),
        jobs=jobs_of(after, plan.fact),
        seen=plan.state.head.digest,
        fence=plan.fence,
        unstopped=(plan.before.model,) if forward else (),
    )


def _without_entries(beside: Beside) -> Beside:
    return Beside(records=beside.records, jobs=beside.jobs, fence=beside.fence, unstopped=beside.unstopped, nonce="")


async def _gives_more(store: Writes, plan: _Plan, running: str) -> bool:
    """Whether somebody but stable gets more by it, or copies. What goes back never does: nothing may hold that up."""
    after = plan.step.rollout
    if after.phase in _BACK:
        return False
    if plan.before.rollout.over:
        return True
    now = policy_of(plan.before.rollout)
    if _digest(now) != running:
        now = await store.policy(running)
    return opens(now, plan.step.policy, after.base.stable)


# Flips.


async def _stage(store: Writes, before: Record, step: Step, fence: int | None) -> None:
    """Has every gateway hold the policy before any uses it.

    Raises:
        NotNow: some did not within `STAGING_S`; it is taken back, and says who.
    """
    said = step.facts[0]._replace(what="stage", after=before.rollout.place)
    answer = await _staged(store, before, step.policy, said, fence)
    seen = await until_acknowledged(store, answer, STAGING_S, time.monotonic)
    if not seen.waiting:
        return
    why = f"within {STAGING_S:g} s {_named(seen)} did not say that it has the new policy"
    await _abandon(store, before, step, fence, why)
    raise NotNow(
        f"The flip was abandoned: {why}.",
        "Nothing has changed. Ask again once those gateways answer, or are gone."
        if fence is None
        else "It is tried again, after growing pauses.",
    )


async def _abandon(store: Writes, before: Record, step: Step, fence: int | None, why: str) -> None:
    """Takes away what was staged, and says why."""
    said = step.facts[0]._replace(what="abandon", after=before.rollout.place, who=BY_ITSELF, why=why)
    await _staged(store, before, None, said, fence)


async def _staged(store: Writes, before: Record, policy: Policy | None, said: Fact, fence: int | None) -> Answer:
    """The answer of the store that staged it; None takes away what is staged."""
    check = RecordWrite(before.id, before.model, before.rollout.revision, before.rollout.revision, record=None)
    blobs = {} if policy is None else {_digest(policy): encode_policy(policy)}
    for attempt in range(_ATTEMPTS):
        state = await store.state()
        snapshot = state.snapshot.with_staged(before.model, next(iter(blobs), None), parent=state.head.digest)
        beside = Beside(
            records=(check,),
            jobs=jobs_of(before, said),
            fence=fence,
            unstopped=() if policy is None else (before.model,),
            nonce="",
        )
        reader = 1 if policy is None else reader_of(policy)
        publication = next_epoch(
            state, snapshot, blobs, entry_of(before, said), beside=beside, reader=reader, insists=policy is None
        )
        answer = await store.swap(publication)
        if answer.done:
            return answer
        _refuse_moved(before, answer)
        await asyncio.sleep(pause_s(attempt))
    raise _contended(before.model)


async def _runs(store: Writes, model: str, policy: Policy) -> bool:
    entry = (await store.state()).snapshot.models.get(model)
    return entry is not None and entry.digest == _digest(policy)


def _refuse_moved(before: Record, answer: Answer) -> None:
    if answer.refused is Refused.MOVED:
        raise RolloutMoved(
            f"The rollout {before.id} has moved on from revision {before.rollout.revision}.",
            "Look at where it stands now, and decide again.",
        )
    refuse(answer)


def _contended(model: str) -> Contended:
    return Contended(
        f"The step of {model} was tried {_ATTEMPTS} times, and another model's change came first each time.",
        "Try again in a moment.",
    )


def _named(seen: Acknowledged) -> str:
    return f"the gateway {seen.waiting[0]}" if len(seen.waiting) == 1 else f"the gateways {', '.join(seen.waiting)}"


def _digest(policy: Policy) -> str:
    return digest_of(encode_policy(policy))
