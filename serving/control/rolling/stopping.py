"""Break glass: every version but stable gets nothing any more, rollouts end where they began, and no share grows.

It needs Redis and nothing else: no control API, no conductor. What is to run is computed here from what the store
shows, and one script writes it if the store still shows that; whoever comes first is tried again after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from router.codec import digest_of, encode_policy
from router.commands import Stop as StopCommand
from router.commands import ask
from router.policy import Policy
from router.rollout import Fact, Seen
from serving.control.errors import Contended, NotNow, Unknown
from serving.control.publication import Answer, Beside, LedgerEntry, State
from serving.control.publishing import pause_s, publication_of
from serving.control.rolling.kept import EVERYTHING, Look, Stop
from serving.control.rolling.moving import Writes
from serving.control.rolling.records import Record, entry_of, jobs_of, written

STOP: Final = "stop"
UNSTOP: Final = "unstop"
_ATTEMPTS: Final = 200


class Stoppable(Writes, Protocol):
    """What breaking the glass needs of a store."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def stopped(self) -> Mapping[str, Stop]:
        """What is stopped, by model, or `*` for all."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was stopped.

    Attributes:
        models: those that are served by stable alone now.
        rolled_back: ids of the rollouts that were in progress.
        answer: the store's.
        published: whether a policy changed.
    """

    models: tuple[str, ...]
    rolled_back: tuple[str, ...]
    answer: Answer
    published: bool


async def stop(store: Stoppable, models: Collection[str] | None, *, who: str, why: str = "") -> Stopped:
    """Stops these models, or all of them and whatever comes later.

    Args:
        store: where policies are kept.
        models: which; None for everything.
        who: for the ledger.
        why: for the ledger.

    Raises:
        Unknown: there is no such model.
        Contended: other changes came first again and again.
    """
    for attempt in range(_ATTEMPTS):
        stopping = await _stopping(store, models, who, why)
        answer = await stopping.written(store)
        if answer.done:
            return Stopped(stopping.names, tuple(stopping.ends), answer, bool(stopping.policies))
        await asyncio.sleep(pause_s(attempt))
    raise Contended("Other changes kept coming first.", "Try again at once.")


async def unstop(store: Stoppable, model: str | None, *, who: str, why: str = "") -> tuple[str, ...]:
    """Takes a stop back, or all of them; traffic stays as it is. Which were taken back.

    Raises:
        NotNow: everything is stopped, which one model's word does not take back.
    """
    stopped = await store.stopped()
    if model is not None and EVERYTHING in stopped:
        raise NotNow(
            "Everything is stopped, so that taking back one model's stop would change nothing.",
            "Take it back for all: `sluice stop --undo --all`.",
        )
    marks = tuple(sorted(stopped)) if model is None else tuple(one for one in (model,) if one in stopped)
    if marks:
        said = LedgerEntry(UNSTOP, who, why, {"models": list(marks)})
        await store.note(Beside(unstops=marks, entries=(said,)))
    return marks


def to_stable(policy: Policy) -> Policy:
    """The policy by which stable alone gets requests; arms keep their places, for whoever goes on later."""
    arms = tuple(replace(arm, share_ppm=0) for arm in policy.arms)
    return replace(policy, arms=arms, rules=(), shadows=(), allow_override=False)


class _End(NamedTuple):
    """A rollout that is ended by it."""

    before: Record
    after: Record
    fact: Fact


@dataclass(frozen=True, slots=True)
class _Stopping:
    """One attempt.

    Attributes:
        state: what it is computed from.
        names: of the models.
        policies: those that change, by model.
        ends: rollouts that are in progress, by id.
        marks: what is kept of the stop, by model or `*`.
        said: for the ledger.
    """

    state: State
    names: tuple[str, ...]
    policies: Mapping[str, Policy]
    ends: Mapping[str, _End]
    marks: Mapping[str, str]
    said: LedgerEntry

    async def written(self, store: Stoppable) -> Answer:
        if self.policies:
            return await store.swap(publication_of(self.state, self.policies, self.said, self._beside()))
        beside = self._beside()
        said = (self.said, *beside.entries)
        return await store.note(replace(beside, entries=said, seen=self.state.head.digest, nonce=Beside().nonce))

    def _beside(self) -> Beside:
        ends = self.ends.values()
        return Beside(
            records=tuple(written(one.before, one.after) for one in ends),
            entries=tuple(entry_of(one.after, one.fact) for one in ends),
            # The entry about the stop itself comes first.
            jobs=tuple(job for nth, one in enumerate(ends, 1) for job in jobs_of(one.after, one.fact, nth)),
            stops=self.marks,
            nonce="",
        )


async def _stopping(store: Stoppable, models: Collection[str] | None, who: str, why: str) -> _Stopping:
    look, state = await store.look(), await store.state()
    names = tuple(sorted(state.snapshot.models if models is None else set(models)))
    if strays := [name for name in names if name not in state.snapshot.models]:
        raise Unknown(f"There is no model {strays[0]!r} with a policy.", "`sluice status` lists those that there are.")
    under_way = {record.model: record for record in look.records if record.model in names}
    policies: dict[str, Policy] = {}
    for name in names:
        running = state.snapshot.models[name].digest
        # Where a rollout is in progress stable is what it would go back to, whatever is stable at present.
        base = under_way[name].rollout.base if name in under_way else await store.policy(running)
        wanted = to_stable(base)
        if digest_of(encode_policy(wanted)) != running:
            policies[name] = wanted
    mark = Stop(who, look.now_s, why).encode()
    return _Stopping(
        state,
        names,
        policies,
        {record.id: _ended(record, look.now_s, who, why) for record in under_way.values()},
        dict.fromkeys((EVERYTHING,) if models is None else names, mark),
        LedgerEntry(STOP, who, why, {"models": list(names), "all": models is None}),
    )


def _ended(record: Record, now_s: float, who: str, why: str) -> _End:
    step = ask(record.rollout, StopCommand(who=who, why=why), Seen(now_s))
    return _End(record, record.after(step.rollout), step.facts[0])
