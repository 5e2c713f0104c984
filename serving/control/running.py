"""One operation on its way from its beginning to its end, in one process; `serving.control.operations` runs many.

What is written before anything is taken back is why: a control room that is killed in the middle of that does not begin
the work anew, but goes on taking it back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

from serving.control.errors import StoreUnavailable
from serving.control.operation import Operation, OperationState, Performer, Problem
from serving.control.refusals import hint_of, refusal_of, sentence_of

_log = logging.getLogger(__name__)

BROKEN = "broken"
"""What a problem's refusal is called where the fault is ours (500)."""


class Records(Protocol):
    """Where the operation is kept."""

    async def save_operation(self, operation: Operation) -> Operation | None:
        """Writes it if the record is at its revision, which is raised; None where it is at another."""

    async def operation(self, operation_id: str) -> Operation | None:
        """The operation of that id, without its arguments."""

    async def arguments_of(self, operation_id: str) -> Mapping[str, Any]:
        """What the operation was asked; nothing once it has ended."""


class TakenOverError(Exception):
    """Somebody else wrote to the record in between: another process runs it, or it is being cancelled."""


class Run:
    """One operation on its way: it alone writes the record, and sees when somebody else does."""

    def __init__(self, store: Records, performer: Performer | None, operation: Operation) -> None:
        self._store = store
        self._performer = performer
        self._now = operation
        self._arguments: Mapping[str, Any] = MappingProxyType({})

    async def through(self, cancelled: set[str]) -> None:
        """To its end."""
        self._arguments = await self._store.arguments_of(self._now.id)
        now = self._now = replace(self._now, arguments=self._arguments)
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
        except (asyncio.CancelledError, StoreUnavailable, TakenOverError):
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
            raise TakenOverError
        self._now = replace(there, arguments=self._arguments)

    async def _take_back(self) -> None:
        undo = self._performer.undo if self._performer else None
        result: Mapping[str, Any] = {}
        if undo is not None:
            try:
                result = await undo(self._now, self._tell)
            except (StoreUnavailable, TakenOverError):
                raise
            except Exception as error:  # noqa: BLE001 - it ends in any case, and says what is left of it
                _log.exception("the %s could not be taken back", self._now)
                await self._tell(f"It could not be taken back: {error}")
        if self._now.problem:
            await self._end(OperationState.FAILED)
        elif result:  # it was done, and whoever cancelled it came too late
            await self._end(OperationState.DONE, result=result)
        else:
            await self._end(OperationState.CANCELLED)

    async def _tell(self, words: str, /, **known: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        await self._save(self._now.saying(words, known))

    async def _end(
        self, state: OperationState, *, result: Mapping[str, Any] | None = None, problem: Problem | None = None
    ) -> None:
        told = self._now.saying("")
        await self._save(replace(told, state=state, result=result or {}, problem=problem or told.problem))

    async def _save(self, operation: Operation) -> None:
        saved = await self._store.save_operation(operation)
        if saved is None:
            raise TakenOverError
        self._now = replace(saved, arguments=self._arguments)


def _problem(error: Exception) -> Problem:
    refusal = refusal_of(error)
    if refusal is not None:
        return Problem(refusal.value, sentence_of(error), hint_of(error))
    return Problem(
        BROKEN, f"Something went wrong that nobody expected ({type(error).__name__}).", "The log has the details."
    )
