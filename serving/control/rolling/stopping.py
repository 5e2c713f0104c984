"""Break glass: every version but stable gets nothing any more, rollouts end where they began, and no share grows.

It needs Redis and nothing else: no control API, no conductor. First it is written that nothing may grow, which no other
change can come before. What is to run is then computed here from what the store shows, and one script writes it if the
store still shows that. Where others keep coming first, fewer models are changed at once; what cannot be read is left as
it is, and named.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

from router.codec import digest_of, encode_policy
from router.commands import Stop as StopCommand
from router.commands import ask
from router.policy import Policy
from router.rollout import Fact, Seen
from serving.control.errors import Contended, NotNow, Unknown
from serving.control.publication import Answer, Beside, LedgerEntry, Refused, State
from serving.control.publishing import pause_s, publication_of
from serving.control.rolling.kept import EVERYTHING, Look, Stop
from serving.control.rolling.moving import Writes
from serving.control.rolling.records import Record, entry_of, jobs_of, written

STOP: Final = "stop"
UNSTOP: Final = "unstop"
_ATTEMPTS: Final = 200
_WHOLE: Final = 3
"""How often in a row all models at once may come too late."""


class Stoppable(Writes, Protocol):
    """What breaking the glass needs of a store."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def stopped(self) -> Mapping[str, Stop]:
        """What is stopped, by model, or `*` for all."""

    async def policies(self, digests: Collection[str]) -> Mapping[str, Policy]:
        """Those of these policies that can be read, by digest."""

    async def now_ms(self) -> int:
        """The time, milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was stopped.

    Attributes:
        models: those that are served by stable alone now.
        rolled_back: ids of the rollouts that were in progress.
        answer: the store's.
        published: whether a policy changed.
        unread: models that go on as they are, frozen, for the store has lost their policy.
    """

    models: tuple[str, ...]
    rolled_back: tuple[str, ...]
    answer: Answer
    published: bool
    unread: tuple[str, ...] = ()


async def stop(store: Stoppable, models: Collection[str] | None, *, who: str, why: str = "") -> Stopped:
    """Stops these models, or all of them and whatever comes later.

    Nothing grows from the first write on, which waits for nobody; what runs is changed after it.

    Args:
        store: where policies are kept.
        models: which; None for everything.
        who: for the ledger.
        why: for the ledger.

    Raises:
        Unknown: there is no such model.
        Contended: other changes came first again and again. Nothing grows all the same.
    """
    if models is not None:
        _refuse_strays(await store.state(), models)
    mark = Stop(who, await store.now_ms() / 1000, why)
    stops = dict.fromkeys((EVERYTHING,) if models is None else sorted(set(models)), mark.encode())
    said = LedgerEntry(STOP, who, why, {"what": "freeze", "models": sorted(set(models or ())), "all": models is None})
    frozen = await store.note(Beside(stops=stops, entries=(said,)))
    return await _Breaking(store, models, mark).broken(frozen)


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
    """One attempt: some models at once.

    Attributes:
        state: what it is computed from.
        names: of the models that it is about.
        policies: those that change, by model.
        ends: rollouts that are in progress, by model.
        damaged: ids of rollouts in progress that nobody can read, by model.
        said: for the ledger.
    """

    state: State
    names: tuple[str, ...]
    policies: Mapping[str, Policy]
    ends: Mapping[str, _End]
    damaged: Mapping[str, str]
    said: LedgerEntry

    async def written(self, store: Stoppable) -> Answer:
        if self.policies:
            beside = self._beside()
            return await store.swap(publication_of(self.state, self.policies, self.said, beside, insists=True))
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
            free=tuple(name for name in self.names if name not in self.ends and name not in self.damaged),
            dropped=self.damaged,
            nonce="",
        )


class _Breaking:
    """One stop, from attempt to attempt: all models by one change, and by fewer at once where others keep coming first.

    Args:
        store: where policies are kept.
        models: which; None for everything.
        mark: who stops them, when and why.
    """

    def __init__(self, store: Stoppable, models: Collection[str] | None, mark: Stop) -> None:
        self._store = store
        self._models = models
        self._mark = mark
        self._look: Look | None = None
        self._at_once = sys.maxsize
        self._bases: dict[str, Policy] = {}
        self._to_stable: dict[str, tuple[Policy, str]] = {}
        self._ends: dict[str, _End] = {}
        self._done: set[str] = set()
        self._rolled_back: list[str] = []
        self._published: Answer | None = None

    async def broken(self, frozen: Answer) -> Stopped:
        """What was stopped, once all of it is; `frozen` is the answer where nothing had to change."""
        lost = 0
        while lost < _ATTEMPTS:
            look, state = await self._looked(), await self._store.state()
            names = tuple(sorted(state.snapshot.models if self._models is None else set(self._models)))
            stopping, unread = await self._next(look, state, names)
            if not stopping.names:
                stopped = tuple(name for name in names if name not in unread)
                answer = self._published or frozen
                return Stopped(stopped, tuple(self._rolled_back), answer, self._published is not None, unread)
            answer = await stopping.written(self._store)
            lost = self._won(stopping, answer) if answer.done else lost + 1
            if lost:
                self._lost(stopping, answer, lost)
                await asyncio.sleep(pause_s(lost))
        raise Contended("Nothing grows any more, but other changes kept coming first.", "Try again at once.")

    def _won(self, stopping: _Stopping, answer: Answer) -> int:
        self._done |= set(stopping.names)
        self._rolled_back += [one.before.id for one in stopping.ends.values()]
        self._rolled_back += stopping.damaged.values()
        if stopping.policies:
            self._published = answer
        return 0

    def _lost(self, stopping: _Stopping, answer: Answer, times: int) -> None:
        if answer.refused is not Refused.HEAD:  # a rollout has moved, or begun
            self._look = None
        if times >= _WHOLE:
            self._at_once = max(1, len(stopping.names) // 4)

    async def _looked(self) -> Look:
        """The rollouts in progress; those that the first look after the freeze shows are all that there can be."""
        if self._look is None:
            self._look, self._ends = await self._store.look(), {}
        return self._look

    async def _next(self, look: Look, state: State, names: Sequence[str]) -> tuple[_Stopping, tuple[str, ...]]:
        """The next change, and the models whose policy nobody can read."""
        # One that came to its end while the store was read is none any more.
        under_way = {record.model: record for record in look.records if not record.rollout.over}
        left = [name for name in names if name not in self._done and name in state.snapshot.models]
        running = {name: state.snapshot.models[name].digest for name in left}
        lacking = {running[name] for name in left if name not in under_way} - self._bases.keys()
        self._bases |= await self._store.policies(lacking) if lacking else {}
        policies: dict[str, Policy] = {}
        unread: list[str] = []
        for name in left:
            # Where a rollout is in progress stable is what it would go back to, whatever is stable at present.
            base = under_way[name].rollout.base if name in under_way else self._bases.get(running[name])
            if base is None:
                unread.append(name)
                continue
            wanted, digest = self._stable_of(under_way[name].id if name in under_way else running[name], base)
            if digest != running[name] or name in state.snapshot.staged:
                policies[name] = wanted
        involved = [one for one in left if one in policies or one in under_way or one in look.damaged]
        chosen = tuple(involved[: self._at_once])
        stopping = _Stopping(
            state,
            chosen,
            {name: policies[name] for name in chosen if name in policies},
            {name: self._end_of(under_way[name]) for name in chosen if name in under_way},
            {name: look.damaged[name] for name in chosen if name in look.damaged},
            self._said(chosen, [name for name in chosen if name in look.damaged], unread),
        )
        return stopping, tuple(unread)

    def _said(self, names: Sequence[str], damaged: Sequence[str], unread: Sequence[str]) -> LedgerEntry:
        facts: dict[str, Any] = {"what": "to stable", "models": list(names), "all": False}
        if damaged:
            facts["unreadable_rollouts_of"] = list(damaged)
        if unread:
            facts["unreadable_policies_of"] = list(unread)
        return LedgerEntry(STOP, self._mark.who, self._mark.why, facts)

    def _stable_of(self, of: str, base: Policy) -> tuple[Policy, str]:
        if of not in self._to_stable:
            wanted = to_stable(base)
            self._to_stable[of] = wanted, digest_of(encode_policy(wanted))
        return self._to_stable[of]

    def _end_of(self, record: Record) -> _End:
        if record.id not in self._ends:
            self._ends[record.id] = _ended(record, self._mark)
        return self._ends[record.id]


def _refuse_strays(state: State, models: Collection[str]) -> None:
    if strays := sorted(name for name in models if name not in state.snapshot.models):
        raise Unknown(f"There is no model {strays[0]!r} with a policy.", "`sluice status` lists those that there are.")


def _ended(record: Record, mark: Stop) -> _End:
    step = ask(record.rollout, StopCommand(who=mark.who, why=mark.why), Seen(mark.at_s))
    return _End(record, record.after(step.rollout), step.facts[0])
