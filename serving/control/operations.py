"""Long work with progress and a result that can be asked for: begun, watched, cancelled, and taken up again.

An operation is a record in the store and a coroutine that can be run from its beginning any number of times: it finds
what it has done already. So there is no state of a coroutine to save. Whoever runs the loop runs what is unfinished,
and a control room that was killed begins its operations again when it comes back. What they do is their performers'
(`serving.control.deploying`, `serving.control.registering`); how records are kept is a store's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from serving.control.errors import StoreDamaged, StoreUnavailable, Unacceptable, UnknownOperation
from serving.control.refusals import hint_of, refusal_of, sentence_of
from serving.control.tasks import end

_log = logging.getLogger(__name__)

KEPT_ENDED = 1_000
"""How many operations that have ended are kept."""
MOST_UNFINISHED = 200
"""How many may be under way or wait."""
MOST_STEPS = 100
LONGEST_WORDS = 1_000

POOLS = frozenset({"deploy", "remove", "promote"})
"""Kinds of which each model has one unfinished at a time."""

BROKEN = "broken"
"""What a problem's refusal is called where the fault is ours (500)."""

_AT_ONCE = 8
_TICK_S = 1.0
_LOOK_S = 0.05
_AGAIN_S = 2.0
_CLAIM_S = 5.0


class OperationState(StrEnum):
    """Where an operation is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an operation failed.

    Attributes:
        refusal: the name of a `serving.errors.Refusal` (its value), which has the HTTP status.
        sentence: what is wrong.
        hint: what to do about it; empty where the sentence says so.
    """

    refusal: str
    sentence: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One piece of long work.

    Attributes:
        id: names it.
        kind: `register`, `verify`, `import`, `deploy`, `remove` or `promote`.
        model: whose.
        version: of which version; None where that is not known yet.
        arguments: what else it was asked, as JSON can hold it.
        state: where it is.
        words: what it is doing, in a line.
        steps: what it has done, oldest first.
        who: began it.
        why: the reason given.
        began_ms: when, milliseconds since 1970 by the store's clock.
        ended_ms: when it ended, None while it has not.
        result: what came of it, as JSON can hold it; empty while it is not done.
        problem: why it failed. While it still runs: why it is being taken back.
        cancelled_by: who wants it ended; empty where nobody does.
        revision: raised by every change of the record.
    """

    id: str
    kind: str
    model: str
    version: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    state: OperationState = OperationState.WAITING
    words: str = ""
    steps: tuple[str, ...] = ()
    who: str = ""
    why: str = ""
    began_ms: int = 0
    ended_ms: int | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None
    cancelled_by: str = ""
    revision: int = 0

    def __post_init__(self) -> None:
        for name in ("arguments", "result"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for name in ("words", "who", "why"):
            object.__setattr__(self, name, getattr(self, name)[:LONGEST_WORDS])

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def excludes(self) -> str:
        """What at most one unfinished operation may hold; empty where any number may run."""
        return f"pools of {self.model}" if self.kind in POOLS else ""

    def __str__(self) -> str:
        """'deploy of digits version 2'."""
        return f"{self.kind} of {self.model}" + ("" if self.version is None else f" version {self.version}")

    def saying(self, words: str) -> Operation:
        """The same, doing this now; what it did before is a step."""
        steps = (*self.steps, self.words) if self.words else self.steps
        return replace(self, words=words, steps=steps[-MOST_STEPS:])


Tell = Callable[[str], Awaitable[None]]
"""Says what is being done now, in a line; what was said before becomes a step."""

Perform = Callable[[Operation, Tell], Awaitable[Mapping[str, Any]]]
"""Does it from the beginning, whatever was done before, and gives the result; raises a refusal where it cannot be."""

Check = Callable[[Operation], Awaitable[None]]
"""Raises what refuses the operation before it has begun."""


@dataclass(frozen=True, slots=True)
class Performer:
    """How one kind of operation is done.

    Attributes:
        perform: does it.
        check: refuses it before it has begun, so that the caller hears of it at once.
        undo: takes back what it has done, after it failed or was cancelled; it too may be run any number of times.
    """

    perform: Perform
    check: Check | None = None
    undo: Perform | None = None


class OperationStore(Protocol):
    """Where operations are kept."""

    async def add_operation(self, operation: Operation) -> Operation:
        """Writes a new one, with the store's time.

        Raises:
            Busy: one that excludes it is unfinished.
            Overloaded: too many are unfinished.
        """

    async def save_operation(self, operation: Operation) -> Operation | None:
        """Writes it if the record is at its revision, which is raised; None where it is at another."""

    async def operation(self, operation_id: str) -> Operation | None:
        """The operation of that id."""

    async def operations(self, model: str | None, limit: int) -> Sequence[Operation]:
        """The newest, newest first."""

    async def unfinished_operations(self) -> Sequence[Operation]:
        """All that have not ended, oldest first."""

    async def claim_operation(self, operation_id: str, runner: str, ttl_s: float) -> bool:
        """Whether that runner alone may run it for so long; asked again in time, for longer."""

    async def yield_operation(self, operation_id: str, runner: str) -> None:
        """Lets another runner have it, where it was that runner's."""


class Operations:
    """All long work of one installation.

    Args:
        store: where it is kept.
        performers: by kind.
        at_once: how many run at once; the others wait for their turn.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: OperationStore,
        performers: Mapping[str, Perform | Performer],
        *,
        at_once: int = _AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._performers = {
            kind: one if isinstance(one, Performer) else Performer(one) for kind, one in performers.items()
        }
        self._at_once = at_once
        self._clock = clock
        self._runner = secrets.token_hex(8)
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._again_at: dict[str, float] = {}
        self._cancelled: set[str] = set()
        self._look_now = asyncio.Event()

    async def begin(
        self,
        kind: str,
        model: str,
        version: int | None,
        arguments: Mapping[str, Any],
        *,
        who: str,
        why: str = "",
    ) -> Operation:
        """A new operation; it is run by the loop.

        Args:
            kind: which.
            model: whose.
            version: of which version, None where that is not known yet.
            arguments: what else is asked, as JSON can hold it.
            who: for the record.
            why: for the record.

        Raises:
            Busy: one that excludes it is unfinished; the sentence names it.
            Overloaded: too many are unfinished.
            Unacceptable: there is no such kind; or whatever its check raises.
        """
        performer = self._performers.get(kind)
        if performer is None:
            known = ", ".join(sorted(self._performers))
            raise Unacceptable(f"There is no operation {kind!r}.", f"There is {known}.")
        asked = Operation(secrets.token_hex(8), kind, model, version, arguments, who=who, why=why)
        if performer.check is not None:
            await performer.check(asked)
        begun = await self._store.add_operation(asked)
        self._look_now.set()
        return begun

    async def get(self, operation_id: str) -> Operation:
        """The operation of that id.

        Raises:
            UnknownOperation: there is none (any more).
        """
        found = await self._store.operation(operation_id)
        if found is None:
            raise UnknownOperation(
                f"There is no operation {operation_id[:64]!r}.",
                f"Of those that have ended, the newest {KEPT_ENDED:,} are kept; the list shows them.",
            )
        return found

    async def list(self, *, model: str | None = None, limit: int = 100) -> Sequence[Operation]:
        """The newest operations, newest first; of one model, or of all."""
        return await self._store.operations(model, limit)

    async def settled(self, operation_id: str, wait_s: float) -> Operation:
        """The operation once it has ended, or as it is when the time is over.

        Raises:
            UnknownOperation: there is none.
        """
        until = self._clock() + wait_s
        while True:
            found = await self.get(operation_id)
            if found.ended or self._clock() >= until:
                return found
            await asyncio.sleep(_LOOK_S)

    async def cancel(self, operation_id: str, *, who: str) -> Operation:
        """Asks for its end; what it has done is taken back where its kind can. Harmless where it has ended.

        Raises:
            UnknownOperation: there is none.
        """
        while True:
            found = await self.get(operation_id)
            if found.ended or found.cancelled_by or found.problem:
                return found
            saved = await self._store.save_operation(replace(found, cancelled_by=who or "somebody"))
            if saved is not None:
                break
        self._cancelled.add(operation_id)
        run = self._runs.get(operation_id)
        if run is not None:
            run.cancel()
        self._look_now.set()
        return saved

    async def run(self) -> None:
        """The loop: runs what is unfinished, also what another process began, until it is cancelled."""
        try:
            while True:
                try:
                    await self._start_waiting()
                except StoreUnavailable as error:
                    _log.warning("operations have to wait: %s", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._look_now.wait()
                self._look_now.clear()
        finally:
            await end(list(self._runs.values()))

    # Below: one operation's run.

    async def _start_waiting(self) -> None:
        """Keeps the claims on what runs here, and starts what nobody runs."""
        for operation in await self._store.unfinished_operations():
            mine = operation.id in self._runs
            if not mine and (len(self._runs) >= self._at_once or self._clock() < self._again_at.get(operation.id, 0.0)):
                continue
            # Two control rooms may be there for a moment, while one takes the other's place.
            claimed = await self._store.claim_operation(operation.id, self._runner, _CLAIM_S)
            if claimed and not mine:
                run = asyncio.create_task(self._run(operation), name=str(operation))
                self._runs[operation.id] = run
                run.add_done_callback(lambda _, ended=operation.id: self._is_over(ended))  # type: ignore[misc]

    def _is_over(self, operation_id: str) -> None:
        self._runs.pop(operation_id, None)
        self._look_now.set()

    async def _run(self, operation: Operation) -> None:
        """From its beginning to its end; left as it is where the store goes away or another process has it."""
        try:
            await _Run(self._store, self._performers.get(operation.kind), operation).through(self._cancelled)
            self._again_at.pop(operation.id, None)
            self._cancelled.discard(operation.id)
        except asyncio.CancelledError:
            if operation.id not in self._cancelled:
                raise  # this process ends; the next one goes on
        except Exception as error:  # noqa: BLE001 - it is not at its end, so it is tried again
            if not isinstance(error, StoreUnavailable | _TakenOverError) or isinstance(error, StoreDamaged):
                _log.exception("the %s cannot go on, and is tried again", operation)
            self._again_at[operation.id] = self._clock() + _AGAIN_S
        with suppress(StoreUnavailable):
            await self._store.yield_operation(operation.id, self._runner)


class _TakenOverError(Exception):
    """Somebody else wrote to the record in between: another process runs it, or it is being cancelled."""


class _Run:
    """One operation on its way: it alone writes the record, and sees when somebody else does."""

    def __init__(self, store: OperationStore, performer: Performer | None, operation: Operation) -> None:
        self._store = store
        self._performer = performer
        self._now = operation

    async def through(self, cancelled: set[str]) -> None:
        """To its end."""
        now = self._now
        if self._performer is None:
            await self._end(
                OperationState.FAILED,
                problem=Problem(
                    "unacceptable", f"Nobody here can do a {now.kind}.", "It was begun by another release of Sluice."
                ),
            )
            return
        if not (now.problem or now.cancelled_by):
            result = await self._performed(cancelled)
            if result is not None:
                await self._end(OperationState.DONE, result=result)
                return
        await self._take_back()

    async def _performed(self, cancelled: set[str]) -> Mapping[str, Any] | None:
        """The result; None where it failed or was cancelled, which the record then says."""
        assert self._performer is not None  # noqa: S101 - `through` saw to it
        again = self._now.state is OperationState.RUNNING
        steps = ("Begun again: the control room was restarted.",) if again else ()
        await self._save(replace(self._now, state=OperationState.RUNNING, steps=steps, words=""))
        try:
            return await self._performer.perform(self._now, self._tell)
        except (asyncio.CancelledError, StoreUnavailable, _TakenOverError):
            if self._now.id not in cancelled:
                raise
            await self._read_again()
            return None
        except Exception as error:  # noqa: BLE001 - whatever it was, it is the operation's end, and is told
            if refusal_of(error) is None:
                _log.exception("the %s failed", self._now)
            await self._save(replace(self._now, problem=_problem(error)))
            return None

    async def _read_again(self) -> None:
        """Takes over what whoever cancelled it has written."""
        there = await self._store.operation(self._now.id)
        if there is None or there.ended:
            raise _TakenOverError
        self._now = there

    async def _take_back(self) -> None:
        undo = self._performer.undo if self._performer else None
        if undo is not None:
            try:
                await undo(self._now, self._tell)
            except (StoreUnavailable, _TakenOverError):
                raise
            except Exception as error:  # noqa: BLE001 - it ends in any case, and says what is left of it
                _log.exception("the %s could not be taken back", self._now)
                await self._tell(f"It could not be taken back: {error}")
        await self._end(OperationState.FAILED if self._now.problem else OperationState.CANCELLED)

    async def _tell(self, words: str) -> None:
        await self._save(self._now.saying(words))

    async def _end(
        self, state: OperationState, *, result: Mapping[str, Any] | None = None, problem: Problem | None = None
    ) -> None:
        told = self._now.saying("")
        await self._save(replace(told, state=state, result=result or {}, problem=problem or told.problem))

    async def _save(self, operation: Operation) -> None:
        saved = await self._store.save_operation(operation)
        if saved is None:
            raise _TakenOverError
        self._now = saved


def _problem(error: Exception) -> Problem:
    refusal = refusal_of(error)
    if refusal is not None:
        return Problem(refusal.value, sentence_of(error), hint_of(error))
    return Problem(
        BROKEN, f"Something went wrong that nobody expected ({type(error).__name__}).", "The log has the details."
    )
