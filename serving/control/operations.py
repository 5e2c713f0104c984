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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from serving.control.errors import StoreDamaged, StoreUnavailable, Unacceptable, UnknownOperation
from serving.control.operation import Check, Operation, OperationState, Perform, Performer, Problem, Tell
from serving.control.running import BROKEN, Run, TakenOverError
from serving.control.tasks import end

__all__ = [
    "BROKEN",
    "KEPT_ENDED",
    "MOST_UNFINISHED",
    "Check",
    "Operation",
    "OperationState",
    "OperationStore",
    "Operations",
    "Perform",
    "Performer",
    "Problem",
    "Tell",
]

_log = logging.getLogger(__name__)

KEPT_ENDED = 1_000
"""How many operations that have ended are kept."""
MOST_UNFINISHED = 200
"""How many may be under way or wait."""

_AT_ONCE = 8
_TICK_S = 1.0
_LOOK_S = 0.05
_AGAIN_S = 2.0
_CLAIM_S = 5.0


class OperationStore(Protocol):
    """Where operations are kept: records that are small, and beside them what those that have not ended were asked."""

    async def add_operation(self, operation: Operation) -> Operation:
        """Writes a new one, with the store's time.

        Raises:
            Busy: one that excludes it is unfinished.
            Overloaded: too many are unfinished.
        """

    async def save_operation(self, operation: Operation) -> Operation | None:
        """Writes it if the record is at its revision, which is raised; None where it is at another."""

    async def operation(self, operation_id: str) -> Operation | None:
        """The operation of that id; none of these but the next one gives its arguments."""

    async def arguments_of(self, operation_id: str) -> Mapping[str, Any]:
        """What the operation was asked; nothing once it has ended."""

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
            await Run(self._store, self._performers.get(operation.kind), operation).through(self._cancelled)
            self._again_at.pop(operation.id, None)
            self._cancelled.discard(operation.id)
        except asyncio.CancelledError:
            if operation.id not in self._cancelled:
                raise  # this process ends; the next one goes on
        except Exception as error:  # noqa: BLE001 - it is not at its end, so it is tried again
            if not isinstance(error, StoreUnavailable | TakenOverError) or isinstance(error, StoreDamaged):
                _log.exception("the %s cannot go on, and is tried again", operation)
            self._again_at[operation.id] = self._clock() + _AGAIN_S
        with suppress(StoreUnavailable):
            await self._store.yield_operation(operation.id, self._runner)
