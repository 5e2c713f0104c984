"""Deliveries to hooks in memory: the part of `serving.control.fake_rollouts` that is about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from serving.control.deliveries_store import MOST_DEAD, MOST_TRIED
from serving.control.errors import Deposed
from serving.control.publication import Job, LedgerEntry, Recorded
from serving.control.publication_form import MOST_JOBS, encode_entry
from serving.control.rolling.kept import MOST_DUE, Again, Attempt, Became, DeadLetter, Due, Over, Tried, Waiting


class FakeDeliveries:
    """What the store's part for deliveries does, without a server.

    Args:
        reach: called first by everything; raises where the store is away.
        record: writes to the ledger.
        time_ms: the time, milliseconds since 1970.
    """

    def __init__(
        self,
        reach: Callable[[], None],
        record: Callable[[LedgerEntry], Recorded],
        time_ms: Callable[[], Awaitable[int]],
    ) -> None:
        self._at_hand = reach
        self._entered = record
        self._time_ms = time_ms
        self._fence = 0
        self._jobs: dict[str, tuple[str, int, int]] = {}
        self._dead: dict[str, DeadLetter] = {}
        self._tried: list[Tried] = []
        self._dropped = self._dropped_dead = 0
        self._over: Counter[Became] = Counter()
        self._came: dict[str, str] = {}

    async def due_jobs(self) -> Sequence[str]:
        """Ids of at most `MOST_DUE` deliveries that are due, the longest due first; no hook keeps others out."""
        self._at_hand()
        now_ms = await self._time_ms()
        due = [job for _, job in sorted((at, job) for job, (_, at, _) in self._jobs.items() if at <= now_ms)]
        seen: Counter[str] = Counter()
        ranked: list[tuple[int, int]] = []
        for place, job in enumerate(due):
            hook = job.partition("/")[2]
            seen[hook] += 1
            ranked.append((seen[hook], place))
        return [due[place] for place in sorted(place for _, place in sorted(ranked)[:MOST_DUE])]

    async def jobs(self, ids: Sequence[str]) -> Sequence[Due]:
        """These deliveries; of those that are over by now the entry is empty."""
        self._at_hand()
        there = {job: (entry, tries) for job, (entry, _, tries) in self._jobs.items()}
        return [Due(job, *there.get(job, ("", 0))) for job in ids]

    async def end_job(self, job: str, fence: int, told: Attempt | None = None) -> None:
        """That one is over."""
        self._lead_of(fence)
        became = Became.ENDED if told is not None and told.failed else Became.DELIVERED
        if self._jobs.pop(job, None) is not None and told is not None:
            self._over[became] += 1
        await self._remember(job, told, became)

    async def put_off_job(self, job: str, wait_s: float, fence: int, told: Attempt | None = None) -> None:
        """That one was tried in vain."""
        self._lead_of(fence)
        if job in self._jobs:
            entry, _, tries = self._jobs[job]
            self._jobs[job] = entry, await self._time_ms() + round(wait_s * 1000), tries + 1
            await self._remember(job, told, Became.WAITS)

    async def bury_job(self, due: Due, fence: int, told: Attempt) -> None:
        """That one was tried for the last time."""
        self._lead_of(fence)
        if due.id in self._jobs:
            entry, _, _ = self._jobs.pop(due.id)
            self._over[Became.DEAD] += 1
            self._dead[due.id] = DeadLetter(due.id, await self._time_ms(), due.tries + 1, told, entry)
            while len(self._dead) > MOST_DEAD:
                self._dead.pop(next(iter(self._dead)))
                self._dropped_dead += 1
            await self._remember(due.id, told, Became.DEAD)

    async def again(self, jobs: Mapping[str, str], entry: LedgerEntry) -> Mapping[str, Again]:
        """Has deliveries told once more, all that can be; what came of each."""
        self._at_hand()
        now_ms = await self._time_ms()
        became = {job: self._told_again(job, said, now_ms) for job, said in jobs.items()}
        if {Again.REPLAYED, Again.HURRIED} & set(became.values()):
            self._entered(entry)
        return became

    def _told_again(self, job: str, said: str, now_ms: int) -> Again:
        if job in self._jobs:
            entry, _, tries = self._jobs[job]
            self._jobs[job] = entry, now_ms, tries
            return Again.HURRIED
        if job not in self._dead and not said:
            return Again.UNKNOWN
        if len(self._jobs) >= MOST_JOBS:
            return Again.FULL
        dead = self._dead.pop(job, None)
        self._jobs[job] = said if dead is None else dead.entry, now_ms, 0
        return Again.REPLAYED

    async def waiting(self, limit: int) -> Sequence[Waiting]:
        """Deliveries that wait, those that are tried next first."""
        self._at_hand()
        found = [Waiting(job, at, tries, entry) for job, (entry, at, tries) in self._jobs.items()]
        return sorted(found, key=lambda one: (one.next_ms, one.job))[: max(1, limit)]

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Deliveries that were given up, the newest first."""
        self._at_hand()
        return list(reversed(self._dead.values()))[: max(1, limit)]

    async def dead_letter(self, job: str) -> DeadLetter | None:
        """The dead letter of that id, None where there is none."""
        self._at_hand()
        return self._dead.get(job)

    async def waiting_job(self, job: str) -> Waiting | None:
        """The delivery of that id if it waits."""
        self._at_hand()
        there = self._jobs.get(job)
        return None if there is None else Waiting(job, there[1], there[2], there[0])

    async def tried(self, limit: int) -> Sequence[Tried]:
        """The last attempts, the newest first."""
        self._at_hand()
        return self._tried[: -max(1, limit) - 1 : -1]

    async def dropped_jobs(self) -> tuple[int, int]:
        """Deliveries that found no room, and dead letters that fell off."""
        self._at_hand()
        return self._dropped, self._dropped_dead

    async def over_jobs(self) -> Over:
        """How many deliveries came to which end."""
        self._at_hand()
        over = self._over
        return Over(over[Became.DELIVERED], over[Became.DEAD], over[Became.ENDED], self._dropped)

    async def message_came(self, key: str) -> str | None:
        """What came of a message at our rollback target."""
        self._at_hand()
        return self._came.get(key)

    async def keep_message(self, key: str, said: str, kept_s: int) -> None:
        """Keeps what came of a message."""
        del kept_s
        self._at_hand()
        self._came.setdefault(key, said)

    def _lead_of(self, fence: int) -> None:
        """Refuses what a deposed conductor would write."""
        self._at_hand()
        if fence != self._fence:
            raise Deposed

    async def _remember(self, job: str, told: Attempt | None, became: Became) -> None:
        if told is not None:
            self._tried = [*self._tried, Tried(job, await self._time_ms(), told, became)][-MOST_TRIED:]

    def _write_job(self, job: Job, recorded: Recorded, now_ms: int) -> None:
        if len(self._jobs) >= MOST_JOBS:
            self._dropped += 1
            return
        self._jobs[f"{recorded.id}/{job.rollout}/{job.hook}"] = encode_entry(recorded.entry), now_ms, 0
