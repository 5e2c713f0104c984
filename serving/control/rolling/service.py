"""What operators ask of rollouts, without HTTP: start, look, command, and wait for the gateways.

A command is computed by the pure machine from the record that was read and written against that record's revision.
Where the caller named the revision that was seen, a lost race is told and nothing is tried again; where none was named,
the command is computed anew from what is there. Going back waits for nobody and nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from router.commands import Approve, Command, Promote, Resume, Retry, SetShares, ask
from router.errors import PlanError, PolicyError, RolloutError, RouterError
from router.plan import given, grows
from router.policy import Policy
from router.rollout import Approval, Fact, Rollout, Seen, Step, fact, policy_of
from router.rollout import start as started
from router.salts import DEALT_ANEW, deals_anew, draws_anew, settled
from serving.control.acknowledging import until_acknowledged
from serving.control.errors import Contended, NotNow, RolloutMoved, StoreDamaged, Unacceptable, Unknown, UnknownRollout
from serving.control.rolling.differences import differences
from serving.control.rolling.document import Document
from serving.control.rolling.filing import Cases, candidate_of
from serving.control.rolling.kept import Look, Stop
from serving.control.rolling.moving import Moved, begin, drifted, move, stale_base
from serving.control.rolling.ports import Allows, Keeps, NoWalks, Walks
from serving.control.rolling.records import Record, is_id, new_id
from serving.control.rolling.results import Results, results_of
from serving.control.rolling.rewarded import EvidenceError, scope_of
from serving.control.rolling.sending import Sends
from serving.control.rolling.spreads import NO_SPREAD, Figures, Spread
from serving.control.rolling.stopping import Stopped, stop, unstop
from serving.control.rolling.views import RolloutChange, RolloutView, StageView, stages_of, view_of
from serving.control.views import Acknowledged, Current
from serving.diffs import Diff

_OWN_SALT: Final = (
    "a salt of its own is drawn when it starts, so that other units come first than last time: these policies have the "
    "model's (name one with `salt`, `--salt`, to have the same units again)"
)
_RETRIES: Final = 50
_FORWARD: Final = (Approve, Promote, SetShares, Resume, Retry)


class Rollouts:
    """Rollouts as operators see and command them.

    Args:
        store: where they are kept.
        traffic: what may get traffic.
        sends: who sends to gates and hooks; asked only whether it would.
        walks: what the loop knows.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: Keeps,
        traffic: Allows,
        sends: Sends,
        *,
        walks: Walks | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._traffic = traffic
        self._sends = sends
        self._walks = walks or NoWalks()
        self._cases = Cases(store, self._walks)
        self._clock = clock
        self.propagated: Spread = NO_SPREAD
        """How long commands that moved traffic took to reach every gateway, where somebody waited for that."""

    # Starting.

    async def start(self, model: str, document: Document, *, who: str, expected: int | None = None) -> RolloutChange:
        """Starts a rollout. Its traffic begins with the first stage, once its versions are up.

        Args:
            model: whose traffic it is to move.
            document: what is asked for.
            who: for the ledger.
            expected: the revision of the model's policy that was seen; None for whatever it is.

        Raises:
            Unknown: there is no such model or version.
            Unacceptable: the plan cannot be carried out on what the model runs.
            RolloutActive: one is in progress.
            NotNow: a version went back before, and nobody insists.
        """
        began = self._clock()
        current, look = await self._current(model), await self._store.look()
        if expected not in (None, current.revision):
            raise stale_base(model)
        for url in (*(gate.url for gate in document.gates), *(hook.url for hook in document.hooks)):
            self._sends.check(url)
        rollout = _started(document, current.policy, look.now_s)
        record = Record(
            rollout, model, who, look.now_s, document.gates, document.hooks, arms_tolerance=document.arms_tolerance
        )
        await self._traffic.refuse_unknown_versions(await self._store.state(), model, document.plan.versions)
        said = _start_fact(rollout, look.now_s, who, document.why, anew=deals_anew(document.plan, current.policy))
        moved = await begin(self._store, record, said, again=document.again, expected=expected)
        return RolloutChange(await self._viewed(moved.record, look), None, None, self._clock() - began)

    async def stages(self, model: str, document: Document) -> tuple[tuple[StageView, ...], tuple[str, ...]]:
        """Every stage that starting this would lead through, and what would keep it from being started."""
        current, look = await self._current(model), await self._store.look()
        try:
            found = stages_of(settled(document.plan, current.policy), current.policy)
        except RouterError as error:
            raise Unacceptable(f"This plan cannot be carried out: {error}.") from error
        await self._traffic.refuse_unknown_versions(await self._store.state(), model, document.plan.versions)
        notes = [_OWN_SALT] if draws_anew(document.plan, current.policy) else []
        notes += [DEALT_ANEW] if deals_anew(document.plan, current.policy) else []
        return found, (*notes, *await self._against(model, document, look, current.policy))

    # Looking.

    async def rollout(self, rollout_id: str) -> RolloutView:
        """One rollout.

        Raises:
            UnknownRollout: there is none of that id.
        """
        return await self._viewed(await self._record(rollout_id), await self._store.look())

    async def blocks(self, rollout_id: str, version: int | None) -> AsyncIterator[str]:
        """What was recorded of one of its candidates, a line of JSON each, oldest first (`router.verdicts.replaying`).

        Args:
            rollout_id: of which rollout.
            version: of which candidate; None where there is only one, or for the one that the plan promotes.

        Raises:
            UnknownRollout: there is none of that id.
            Unacceptable: it has several candidates, or not that one.
        """
        record = await self._record(rollout_id)
        return self._cases.blocks(record.id, candidate_of(record, version))

    async def differences(self, rollout_id: str) -> tuple[Record, tuple[Diff, ...]]:
        """A rollout, and what was found of each of its candidates that got copies.

        Raises:
            UnknownRollout: there is none of that id.
        """
        record = await self._record(rollout_id)
        return record, await differences(self._store, record)

    async def results(self, rollout_id: str) -> Results:
        """What feedback says of a rollout, and what it would take to decide.

        Raises:
            UnknownRollout: there is none of that id.
            StoreDamaged: what is kept of it cannot be read.
        """
        record = await self._record(rollout_id)
        now_s = (await self._store.look()).now_s
        judged, sums = await self._cases.judged(record), await self._store.feedback_in(scope_of(record))
        try:
            return results_of(record, judged, sums, now_s)
        except EvidenceError as error:
            raise StoreDamaged(f"The feedback of rollout {rollout_id} cannot be read: {error}.") from error

    def figures(self) -> Figures:
        """What people are shown of all rollouts in progress."""
        return self._walks.figures()

    async def newest(self, model: str | None, limit: int) -> Sequence[Record]:
        """The newest, newest first; of one model, or of all."""
        if model is not None:
            await self._traffic.refuse_unknown_model(await self._store.state(), model)
        return await self._store.rollouts(model, limit)

    async def active(self) -> Sequence[Record]:
        """Those in progress, newest first."""
        return sorted((await self._store.look()).records, key=lambda one: (-one.created_s, one.id))

    # Commanding.

    async def ask(
        self,
        rollout_id: str,
        command: Callable[[Record], Command],
        *,
        expected: int | None,
        wait_s: float = 2.0,
        force: bool = False,
    ) -> RolloutChange:
        """Does what an operator asks, and waits until the gateways run it.

        Args:
            rollout_id: of which rollout.
            command: what is asked, given the rollout as it is.
            expected: the revision that the caller saw; None for whatever it is.
            wait_s: how long to wait for the gateways; the change stands in any case.
            force: whether a version may get more than it carries.

        Raises:
            UnknownRollout: there is none of that id.
            RolloutMoved: it is at another revision.
            NotNow: it cannot be done where the rollout stands.
            Unacceptable: it can never be done.
        """
        began = self._clock()
        moved = await self._asked(rollout_id, command, expected, force=force)
        look = await self._store.look()
        seen: Acknowledged | None = None
        if moved.published:
            seen = await until_acknowledged(self._store, moved.answer, wait_s, self._clock)
            if not seen.waiting:
                self.propagated = self.propagated.plus(self._clock() - began)
        epoch = moved.answer.head.epoch if moved.published else None
        return RolloutChange(await self._viewed(moved.record, look), seen, epoch, self._clock() - began)

    async def stop(
        self, models: Collection[str] | None, *, who: str, why: str, wait_s: float
    ) -> tuple[Stopped, Acknowledged | None]:
        """Breaks the glass: see `serving.control.rolling.stopping`."""
        done = await stop(self._store, models, who=who, why=why)
        seen = await until_acknowledged(self._store, done.answer, wait_s, self._clock) if done.published else None
        return done, seen

    async def unstop(self, model: str | None, *, who: str, why: str) -> tuple[str, ...]:
        """Takes a stop back."""
        return await unstop(self._store, model, who=who, why=why)

    async def stopped(self) -> Mapping[str, Stop]:
        """What is stopped."""
        return await self._store.stopped()

    async def _asked(
        self, rollout_id: str, command: Callable[[Record], Command], expected: int | None, *, force: bool
    ) -> Moved:
        for _ in range(_RETRIES):
            record = await self._record(rollout_id)
            if expected not in (None, record.rollout.revision):
                raise RolloutMoved(
                    f"The rollout {record.id} is at revision {record.rollout.revision} ({record.rollout.place}), and "
                    f"this was asked of revision {expected}.",
                    "Look at where it stands now, decide again, and send that revision.",
                )
            try:
                return await self._moved(record, command(record), force=force)
            except RolloutMoved:
                if expected is not None:
                    raise
        raise Contended(f"The rollout {rollout_id} keeps moving.", "Try again in a moment.")

    async def _moved(self, record: Record, command: Command, *, force: bool) -> Moved:
        look = await self._store.look()
        # Shares are set on what runs, whatever the rollout had set; every other step refuses where the two differ.
        runs = await self._running(record) if isinstance(command, SetShares) else None
        seen = (await self._seen(record, look))._replace(runs=runs)
        step = _step(record.rollout, command, seen)
        if not isinstance(command, _FORWARD):
            return await move(self._store, record, step)
        await self._refuse_drift(record, command)
        before = runs or policy_of(record.rollout)
        carries = {} if force else await self._traffic.carried(record.model, before, step.policy)
        if carries:
            step = _step(record.rollout, command, seen._replace(carries=carries))
        if grows(before, step.policy, record.rollout.base.stable):
            held = (*seen.closed, *await self._traffic.obstacles(record.model, before, step.policy, force=force))
            if held:
                raise NotNow(f"{_sentence('; '.join(held))}", "Wait until that is over, or go on by less.")
        giving = partial(self._traffic.giving, record.model, before, step.policy)
        return await move(self._store, record, step, giving=giving)

    async def _running(self, record: Record) -> Policy | None:
        found = await self._traffic.current_in(await self._store.state(), record.model)
        return None if found is None else found.policy

    async def _refuse_drift(self, record: Record, command: Command) -> None:
        """Nobody goes on from what does not run; and what was changed since is not undone by a retry."""
        if isinstance(command, SetShares) or not drifted(record, await self._store.state()):
            return
        raise NotNow(
            f"The model {record.model} runs something else than the rollout {record.id} has left.",
            "Start a new rollout." if record.rollout.over else "Roll it back, or set its shares anew.",
        )

    async def _record(self, rollout_id: str) -> Record:
        record = await self._store.rollout(rollout_id) if is_id(rollout_id) else None
        if record is None:
            raise UnknownRollout(
                f"There is no rollout {rollout_id[:64]!r}.", "`sluice rollout list --all` shows those that there are."
            )
        return record

    async def _current(self, model: str) -> Current:
        state = await self._store.state()
        found = await self._traffic.current_in(state, model)
        if found is None:
            await self._traffic.refuse_unknown_model(state, model)
            raise Unknown(f"The model {model} has no policy yet.", "Give it its first one, with `sluice traffic set`.")
        return found

    async def _against(self, model: str, document: Document, look: Look, base: Policy) -> list[str]:
        """What would keep the rollout from being started now, in sentences."""
        found = [f"the rollout {one.id} is in progress" for one in look.records if one.model == model]
        barred = await self._store.barred(model)
        versions = document.plan.versions if document.plan.candidate is None else (document.plan.candidate,)
        if not document.again:
            found += [f"version {one} went back with {barred[one]}" for one in versions if one in barred]
        stop_there = look.stop_of(model)
        found += [] if stop_there is None else [f"the model is stopped, by {stop_there.who}"]
        ready = {one.version for one in await self._store.endpoints() if one.model == model}
        waits = [one for one in document.plan.versions if one not in ready and one not in given(base)]
        return found + [f"version {one} is not up: the rollout would wait for it" for one in waits]

    async def _viewed(self, record: Record, look: Look) -> RolloutView:
        seen = await self._seen(record, look)
        closed = tuple(dict.fromkeys((*seen.closed, *self._walks.closed(record.id))))
        verdicts = await self._cases.verdicts(record, seen.now_s)
        return view_of(record, seen._replace(closed=closed), self._traffic.lately(record.model), verdicts)

    async def _seen(self, record: Record, look: Look) -> Seen:
        ready = frozenset(one.version for one in await self._store.endpoints() if one.model == record.model)
        there = look.stop_of(record.model)
        closed = () if there is None else (f"the model is stopped, by {there.who}",)
        return Seen(look.now_s, ready, await self._cases.evidence(record, look.now_s), closed)


def approval(who: str, why: str, stage: str | int | None) -> Callable[[Record], Command]:
    """The command that lets a rollout into that stage: its number, its name, or whichever waits."""

    def command(record: Record) -> Command:
        rollout = record.rollout
        target = rollout.target if stage is None else _numbered(rollout, stage)
        if target is None:
            raise NotNow(f"There is nothing to approve: the rollout is {rollout.place}.")
        return Approve(who=who, why=why, approval=Approval(who, record.id, rollout.revision, target))

    return command


def _numbered(rollout: Rollout, stage: str | int) -> int:
    names = [*(one.name for one in rollout.plan.stages), "the end"]
    wanted = "the end" if stage == "end" else stage
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return wanted
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    raise Unacceptable(f"There is no stage {stage!r}.", f"There is {', '.join(map(repr, names))}.")


def _step(rollout: Rollout, command: Command, seen: Seen) -> Step:
    try:
        return ask(rollout, command, seen)
    except RolloutError as error:
        raise NotNow(_sentence(str(error))) from error
    except (PlanError, PolicyError) as error:
        raise Unacceptable(_sentence(str(error))) from error


def _started(document: Document, base: Policy, now_s: float) -> Rollout:
    try:
        return started(new_id(), document.plan, base, now_s, document.automation)
    except RouterError as error:
        raise Unacceptable(f"This plan cannot be carried out: {error}.") from error


def _start_fact(rollout: Rollout, now_s: float, who: str, why: str, *, anew: bool) -> Fact:
    why = why or f"asked by {who}"
    why = f"{why}; {DEALT_ANEW}" if anew else why
    said = fact(rollout, rollout, Seen(now_s), who=who, what="start", why=why)
    return said._replace(before="")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
