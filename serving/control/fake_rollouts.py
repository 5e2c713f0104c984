"""Rollouts in memory: the part of `serving.control.fake_store` that is about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from serving.control.fake_deliveries import FakeDeliveries
from serving.control.publication import Beside, LedgerEntry, Recorded, RecordWrite, Refused
from serving.control.publication_form import MOST_ROLLOUTS, rollout_of
from serving.control.rolling.archive import MOST_ENTRIES
from serving.control.rolling.kept import (
    EVERYTHING,
    Answered,
    Claim,
    Look,
    Stop,
    damaged_record,
    stop_from,
)
from serving.control.rolling.records import Record, decode_record
from serving.control.rolling.remembering import Memory
from serving.control.rolling.shelf import place_of


class FakeRollouts(FakeDeliveries):
    """What the store's parts for rollouts, the lead, stops and hooks do, without a server.

    Args:
        clock: seconds that only go forward; leases expire by it.
        reach: called first by everything; raises where the store is away.
        record: writes to the ledger.
        time_ms: the time, milliseconds since 1970.
        entry_ids: those that are in the ledger, oldest first.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        reach: Callable[[], None],
        record: Callable[[LedgerEntry], Recorded],
        time_ms: Callable[[], Awaitable[int]],
        entry_ids: Callable[[], Sequence[str]],
    ) -> None:
        super().__init__(reach, record, time_ms)
        self._ticks = clock
        self._entry_ids = entry_ids
        self._rollouts: dict[str, tuple[int, str, str]] = {}
        self._active: dict[str, str] = {}
        self._barred: dict[tuple[str, int], str] = {}
        self._stopped: dict[str, str] = {}
        self._leader: tuple[str, float] = ("", 0.0)
        self._counts: dict[str, str] = {}
        self._watched: float | None = None
        self._entries_about: dict[str, list[str]] = {}
        self._claims: dict[str, Claim] = {}
        self._drop: Callable[[str], None] = lambda _: None
        """What else is forgotten with a rollout."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""
        self._at_hand()
        records: list[Record] = []
        damaged: dict[str, str] = {}
        for model, rollout in self._active.items():
            try:
                records.append(decode_record(self._rollouts[rollout][1]))
            except (ValueError, KeyError):
                damaged[model] = rollout
        return Look(await self._time_ms() / 1000, tuple(records), damaged, await self.stopped())

    async def rollout(self, rollout_id: str) -> Record | None:
        """The rollout of that id."""
        self._at_hand()
        there = self._rollouts.get(rollout_id)
        if there is None:
            return None
        try:
            return decode_record(there[1])
        except ValueError as error:
            raise damaged_record(rollout_id, there[2]) from error

    async def rollouts(self, model: str | None, limit: int) -> Sequence[Record]:
        """The newest, newest first."""
        self._at_hand()
        newest = [said for _, said, of in reversed(self._rollouts.values()) if model in (None, of)]
        records: list[Record] = []
        for said in newest[: max(1, limit)]:
            with suppress(ValueError):
                records.append(decode_record(said))
        return records

    async def barred(self, model: str) -> Mapping[int, str]:
        """The versions of that model that went back."""
        self._at_hand()
        return {version: by for (of, version), by in self._barred.items() if of == model}

    async def memory(self, last: str) -> tuple[Memory, bool]:
        """What is barred and stopped, and whether the ledger has that entry, or has let go of it."""
        self._at_hand()
        ids = self._entry_ids()
        trimmed = len(ids) >= MOST_ENTRIES and place_of(ids[0]) > place_of(last or "0-0")
        there = Memory(ids[-1] if ids else "", dict(self._barred), dict(await self.stopped()))
        return there, not last or last in ids or trimmed

    async def stopped(self) -> Mapping[str, Stop]:
        """What is stopped."""
        self._at_hand()
        return {model: stop_from(said) for model, said in self._stopped.items()}

    async def lead(self, holder: str, ttl_s: float) -> int | None:
        """The fence of that holder, which leads for so long."""
        self._at_hand()
        now = self._ticks()
        before, until = self._leader
        alive = bool(before) and now < until
        if alive and before != holder:
            return None
        if not alive:
            self._fence = max(self._fence + 1, await self._time_ms())
        self._leader = holder, now + ttl_s
        return self._fence

    async def resign(self, holder: str) -> None:
        """Lets another one lead."""
        self._at_hand()
        if self._leader[0] == holder:
            self._leader = "", 0.0

    async def counts(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's counts."""
        self._at_hand()
        return self._counts.get(rollout_id)

    async def keep_counts(self, rollout_id: str, said: str, fence: int) -> None:
        """Keeps them, for the conductor of that fence."""
        self._lead_of(fence)
        self._counts[rollout_id] = said

    async def watched_s(self) -> float | None:
        """Until when a conductor has watched."""
        self._at_hand()
        return self._watched

    async def keep_watched(self, now_s: float, fence: int) -> None:
        """The conductor of that fence has watched until then."""
        self._lead_of(fence)
        self._watched = now_s

    async def entries_of(self, rollout_id: str) -> Sequence[str]:
        """Ids of the ledger's entries about that rollout, oldest first."""
        self._at_hand()
        return list(self._entries_about.get(rollout_id, ()))

    async def claim_answer(self, name: str, digest: str) -> Claim | None:
        """What is known of that request."""
        self._at_hand()
        there = self._claims.get(name)
        if there is None:
            self._claims[name] = Claim(digest, None)
        return there

    async def keep_answer(self, name: str, digest: str, answer: Answered) -> None:
        """Keeps what was answered."""
        self._at_hand()
        self._claims[name] = Claim(digest, answer)

    async def forget_claim(self, name: str) -> None:
        """Nothing was done."""
        self._at_hand()
        self._claims.pop(name, None)

    # What the one script does.

    def _forbidden(self, beside: Beside, digest: str) -> tuple[Refused, str] | None:
        """What does not hold of what must, and who stands in the way."""
        if beside.fence is not None and beside.fence != self._fence:
            return Refused.DEPOSED, ""
        if beside.seen is not None and beside.seen != digest:
            return Refused.HEAD, ""
        for model in beside.unstopped:
            for stopped in (model, EVERYTHING):
                if stopped in self._stopped:
                    return Refused.STOPPED, stopped
        for model in beside.free:
            if model in self._active:
                return Refused.ACTIVE, self._active[model]
        for model, rollout in beside.dropped.items():
            if self._active.get(model, rollout) != rollout:
                return Refused.ACTIVE, self._active[model]
        return next(filter(None, map(self._forbidden_record, beside.records)), None)

    def _forbidden_record(self, write: RecordWrite) -> tuple[Refused, str] | None:
        if self._rollouts.get(write.id, (0,))[0] != write.expected:
            return Refused.MOVED, write.id
        active = self._active.get(write.model)
        if not write.over and active not in (None, write.id):
            return Refused.ACTIVE, str(active)
        joins = write.record is not None and not write.over and active is None
        if joins and len(self._active) >= MOST_ROLLOUTS:
            return Refused.FULL, str(MOST_ROLLOUTS)
        barred = [self._barred[write.model, one] for one in write.unbarred if (write.model, one) in self._barred]
        return (Refused.BARRED, barred[0]) if barred else None

    def _write_beside(self, beside: Beside, entries: Sequence[LedgerEntry], now_ms: int) -> None:
        self._stopped |= beside.stops
        for model in beside.unstops:
            self._stopped.pop(model, None)
        for model in beside.dropped:
            self._active.pop(model, None)
        self._stopped = {**beside.stopped_before, **self._stopped}
        self._barred = {**beside.barred_before, **self._barred}
        for write in beside.records:
            if write.record is not None:
                self._write_record(write, write.record)
        recorded = [self._entered(entry) for entry in entries]
        for one in recorded:
            self._entries_about.setdefault(rollout_of(one.entry), []).append(one.id)
        for job in beside.jobs:
            self._write_job(job, recorded[job.entry], now_ms)

    def _write_record(self, write: RecordWrite, said: str) -> None:
        self._rollouts[write.id] = write.revision, said, write.model
        if not write.over:
            self._active[write.model] = write.id
        elif self._active.get(write.model) == write.id:
            del self._active[write.model]
        self._barred |= {(write.model, version): write.id for version in write.bars}
        for version in write.clears:
            self._barred.pop((write.model, version), None)
        ended = [one for one in self._rollouts if one not in self._active.values()]
        for one in ended[: max(0, len(self._rollouts) - MOST_ROLLOUTS)]:
            del self._rollouts[one]
            self._counts.pop(one, None)
            self._entries_about.pop(one, None)
            self._drop(one)
