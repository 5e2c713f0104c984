"""Operations in Redis, with times by the server's clock. Part of `serving.control.store`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.control.base_store import BaseStore, reply
from serving.control.errors import Busy, Overloaded
from serving.control.operations import KEPT_ENDED, MOST_UNFINISHED, Operation, OperationState, Problem

_WRITE = (Path(__file__).parent / "operations.lua").read_text(encoding="utf-8")
_MOST_LISTED = 10_000

_CLAIM = """
local runner = redis.call('GET', KEYS[1])
if runner and runner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_YIELD = """
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
"""


class OperationStore(BaseStore):
    """Long work, and what became of it."""

    async def add_operation(self, operation: Operation) -> Operation:
        """Writes a new one.

        Raises:
            Busy: one that excludes it is unfinished.
            Overloaded: too many are unfinished.
        """
        what, *more = await self._write(replace(operation, revision=0))
        if what == "held":
            raise excluded(operation, await self.operation(more[0]))
        if what != "written":
            raise too_many()
        return _operation(operation.id, more[0], more[1], more[2], 1)

    async def save_operation(self, operation: Operation) -> Operation | None:
        """Writes it if the record is at its revision, which is raised; None where it is at another."""
        what, *more = await self._write(operation)
        return (
            _operation(operation.id, more[0], more[1], more[2], operation.revision + 1) if what == "written" else None
        )

    async def operation(self, operation_id: str) -> Operation | None:
        """The operation of that id, None where there is none."""
        return next(iter(await self._read([operation_id])), None)

    async def arguments_of(self, operation_id: str) -> Mapping[str, Any]:
        """What the operation was asked; nothing once it has ended."""
        async with self._boundary():
            key = self.keys.operation_arguments(operation_id)
            said = await reply(self._redis.get(key))
            if said is None:  # an earlier release kept them in the record, where the next save would lose them
                asked = self._redis.hmget(self.keys.operation(operation_id), ["record", "ended_ms"])
                record, ended_ms = await reply(asked)
                earlier = json.loads(record).get("arguments") if record is not None and not ended_ms else None
                if earlier:
                    said = json.dumps(earlier)
                    await reply(self._redis.set(key, said))
            return {} if said is None else dict(json.loads(said))

    async def operations(self, model: str | None, limit: int) -> Sequence[Operation]:
        """The newest, newest first."""
        index = self.keys.operations if model is None else self.keys.operations_of(model)
        async with self._boundary():
            ids = await reply(self._redis.zrevrange(index, 0, max(1, min(limit, _MOST_LISTED)) - 1))
        return await self._read([one.decode() for one in ids])

    async def unfinished_operations(self) -> Sequence[Operation]:
        """All that have not ended, oldest first."""
        async with self._boundary():
            ids = await reply(self._redis.smembers(self.keys.unfinished_operations))
        found = await self._read([one.decode() for one in ids])
        return sorted((one for one in found if not one.ended), key=lambda one: (one.began_ms, one.id))

    async def claim_operation(self, operation_id: str, runner: str, ttl_s: float) -> bool:
        """Whether that runner alone may run it for so long."""
        said = [runner, str(max(1, round(ttl_s * 1000)))]
        async with self._boundary():
            return bool(await reply(self._redis.eval(_CLAIM, 1, self.keys.operation_runner(operation_id), *said)))

    async def yield_operation(self, operation_id: str, runner: str) -> None:
        """Lets another runner have it."""
        async with self._boundary():
            await reply(self._redis.eval(_YIELD, 1, self.keys.operation_runner(operation_id), runner))

    async def _read(self, ids: Sequence[str]) -> list[Operation]:
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            for one in ids:
                pipe.hmget(self.keys.operation(one), ["record", "began_ms", "ended_ms", "revision"])
            found = await pipe.execute() if ids else []
            return [
                _operation(one, record.decode(), began.decode(), ended.decode(), int(revision))
                for one, (record, began, ended, revision) in zip(ids, found, strict=True)
                if record is not None
            ]

    async def _write(self, operation: Operation) -> list[str]:
        keys = self.keys
        names = [
            *(keys.operation(operation.id), keys.operations, keys.operations_of(operation.model)),
            *(keys.unfinished_operations, keys.ended_operations, keys.operation_holders),
            keys.operation_arguments(operation.id),
        ]
        said = {
            "id": operation.id,
            "model": operation.model,
            "expected": str(operation.revision),
            "revision": str(operation.revision + 1),
            "record": json.dumps(_plain(operation), sort_keys=True),
            # Written once: it may be megabytes, and the record is written again with every word that is told.
            "arguments": "" if operation.revision else json.dumps(dict(operation.arguments)),
            "ended": operation.ended,
            "excludes": operation.excludes,
            "most_unfinished": MOST_UNFINISHED,
            "kept_ended": KEPT_ENDED,
            "record_prefix": keys.operation(""),
            "of_model_prefix": keys.operations_of(""),
        }
        answer, _ = await self._durably(_WRITE, names, [json.dumps(said)])
        return [part.decode() for part in answer]


def excluded(operation: Operation, holder: Operation | None) -> Busy:
    """The error that says what excludes an operation."""
    who = "Another operation" if holder is None else f"The {holder} (operation {holder.id}, begun by {holder.who})"
    return Busy(
        f"{who} is not over yet, and excludes a {operation.kind} of {operation.model}.",
        "Wait for its end, or cancel it.",
    )


def too_many() -> Overloaded:
    """The error that says that too much is under way."""
    return Overloaded(f"{MOST_UNFINISHED} operations are not over yet, and that is the limit.", "Try again later.")


def _plain(operation: Operation) -> dict[str, Any]:
    """The operation as JSON can hold it, without id, times, revision and arguments, which are kept beside it."""
    problem = operation.problem
    return {
        "kind": operation.kind,
        "model": operation.model,
        "version": operation.version,
        "about": dict(operation.about),
        "state": operation.state.value,
        "words": operation.words,
        "steps": list(operation.steps),
        "who": operation.who,
        "why": operation.why,
        "known": dict(operation.known),
        "result": dict(operation.result),
        "problem": None if problem is None else [problem.refusal, problem.sentence, problem.hint],
        "cancelled_by": operation.cancelled_by,
    }


def _operation(operation_id: str, record: str, began_ms: str, ended_ms: str, revision: int) -> Operation:
    plain = json.loads(record)
    plain["state"] = OperationState(plain["state"])
    plain["steps"] = tuple(plain["steps"])
    plain["problem"] = None if plain["problem"] is None else Problem(*plain["problem"])
    ended = int(ended_ms) if ended_ms else None
    found = Operation(**plain, id=operation_id, began_ms=int(began_ms), ended_ms=ended, revision=revision)
    return replace(found, arguments={})  # an earlier release kept them here
