"""Wishes, crashes and operations in memory: the part of `serving.control.fake_store` that is about pools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from serving.control.leases_store import CRASHES_COUNT_MS, MOST_CRASHES
from serving.control.operations import KEPT_ENDED, MOST_UNFINISHED, Operation
from serving.control.operations_store import excluded, too_many
from serving.control.publishing import LedgerEntry
from serving.control.wishes import ModelVersion, Touched, Wish
from serving.control.wishes_store import ledger_entry
from serving.endpoint import Crash

_BEGINNING_MS = 1_700_000_000_000


class FakeRecords:
    """What the store's parts for wishes, crashes and operations do, without a server.

    Args:
        clock: seconds that only go forward; times are counted by it.
        reach: called first by everything; raises where the store is away.
        record: writes to the ledger.
    """

    def __init__(
        self, clock: Callable[[], float], reach: Callable[[], None], record: Callable[[LedgerEntry], None]
    ) -> None:
        self._seconds = clock
        self._reached = reach
        self._record = record
        self._wishes: dict[ModelVersion, Wish] = {}
        self._wish_count = 0
        self._touched: dict[ModelVersion, int] = {}
        self._boot = ""
        self._crashes: dict[ModelVersion, list[Crash]] = {}
        self._operations: dict[str, Operation] = {}
        self._arguments: dict[str, Mapping[str, Any]] = {}
        self._ended: list[str] = []
        self._runners: dict[str, tuple[str, float]] = {}

    async def now_ms(self) -> int:
        """The time."""
        self._reached()
        return _BEGINNING_MS + round(self._seconds() * 1000)

    # Wishes.

    async def wishes(self) -> Sequence[Wish]:
        """All of them, by model and version."""
        self._reached()
        return [self._wishes[key] for key in sorted(self._wishes)]

    async def wish(self, model: str, version: int) -> Wish | None:
        """The wish of that version."""
        self._reached()
        return self._wishes.get((model, version))

    async def put_wish(self, wish: Wish, *, who: str, why: str = "") -> Wish | None:
        """Writes a wish that is still at that revision."""
        if not await self._is_at(wish):
            return None
        self._wish_count += 1
        written = self._wishes[wish.key] = replace(wish, revision=self._wish_count)
        self._touched[wish.key] = await self.now_ms()
        self._record(ledger_entry("wish", wish, who, why))
        return written

    async def take_wish(self, wish: Wish, *, who: str, why: str = "") -> bool:
        """Takes a wish away that is still at that revision."""
        if not await self._is_at(wish):
            return False
        self._wishes.pop(wish.key, None)
        self._record(ledger_entry("withdrawal", wish, who, why))
        return True

    async def touched(self) -> Touched:
        """When versions were last touched."""
        return Touched(await self.now_ms(), self._touched)

    async def touch(self, versions: Iterable[ModelVersion]) -> None:
        """These versions are needed now."""
        now = await self.now_ms()
        self._touched |= dict.fromkeys(versions, now)

    async def put_to_sleep(self, model: str, version: int) -> None:
        """This version sleeps as soon as nothing routes to it."""
        self._reached()
        self._touched[model, version] = 0

    async def forget_touched(self, versions: Iterable[ModelVersion]) -> None:
        """Nobody will ask after these versions again."""
        self._reached()
        for version in versions:
            self._touched.pop(version, None)

    async def first_of(self, boot: str) -> bool:
        """Whether nobody has asked this for that boot before."""
        self._reached()
        before, self._boot = self._boot, boot
        return before != boot

    async def _is_at(self, wish: Wish) -> bool:
        there = await self.wish(*wish.key)
        return wish.revision == (there.revision if there else 0)

    # Crashes.

    async def crashed(self, model: str, version: int, crash: Crash) -> None:
        """Writes down how a server of that version died."""
        there = self._crashes.setdefault((model, version), [])
        there.insert(0, replace(crash, at_ms=await self.now_ms()))
        del there[MOST_CRASHES:]

    async def crashes(self, model: str, version: int) -> Sequence[Crash]:
        """How servers of that version died in the last hour, newest first."""
        since = await self.now_ms() - CRASHES_COUNT_MS
        return [crash for crash in self._crashes.get((model, version), ()) if crash.at_ms >= since]

    async def crashes_of(self, versions: Sequence[ModelVersion]) -> Mapping[ModelVersion, Sequence[Crash]]:
        """The same for each of these versions."""
        return {version: await self.crashes(*version) for version in versions}

    # Operations.

    async def add_operation(self, operation: Operation) -> Operation:
        """Writes a new one."""
        self._reached()
        if operation.id in self._operations:
            return self._operations[operation.id]
        unfinished = await self.unfinished_operations()
        if len(unfinished) >= MOST_UNFINISHED:
            raise too_many()
        for other in unfinished:
            if other.excludes and other.excludes == operation.excludes:
                raise excluded(operation, other)
        written = replace(operation, arguments={}, began_ms=await self.now_ms(), revision=1)
        self._operations[operation.id] = written
        self._arguments[operation.id] = operation.arguments
        return written

    async def save_operation(self, operation: Operation) -> Operation | None:
        """Writes it if the record is at its revision."""
        self._reached()
        there = self._operations.get(operation.id)
        if there is None or there.revision != operation.revision:
            return None
        ended_ms = await self.now_ms() if operation.ended else None
        dated = replace(operation, began_ms=there.began_ms, ended_ms=ended_ms)
        written = replace(dated, arguments={}, revision=there.revision + 1)
        self._operations[operation.id] = written
        if written.ended:
            self._arguments.pop(operation.id, None)
            self._ended.append(operation.id)
            for over in self._ended[:-KEPT_ENDED]:
                del self._operations[over]
            del self._ended[:-KEPT_ENDED]
        return written

    async def operation(self, operation_id: str) -> Operation | None:
        """The operation of that id."""
        self._reached()
        return self._operations.get(operation_id)

    async def arguments_of(self, operation_id: str) -> Mapping[str, Any]:
        """What the operation was asked; nothing once it has ended."""
        self._reached()
        return self._arguments.get(operation_id, {})

    async def operations(self, model: str | None, limit: int) -> Sequence[Operation]:
        """The newest, newest first."""
        self._reached()
        newest = reversed(self._operations.values())
        return [one for one in newest if model in (None, one.model)][: max(1, limit)]

    async def unfinished_operations(self) -> Sequence[Operation]:
        """All that have not ended, oldest first."""
        self._reached()
        return [one for one in self._operations.values() if not one.ended]

    async def claim_operation(self, operation_id: str, runner: str, ttl_s: float) -> bool:
        """Whether that runner alone may run it for so long."""
        self._reached()
        now = self._seconds()
        holder, until = self._runners.get(operation_id, ("", 0.0))
        if holder not in ("", runner) and now < until:
            return False
        self._runners[operation_id] = runner, now + ttl_s
        return True

    async def yield_operation(self, operation_id: str, runner: str) -> None:
        """Lets another runner have it."""
        self._reached()
        if self._runners.get(operation_id, ("", 0.0))[0] == runner:
            del self._runners[operation_id]
