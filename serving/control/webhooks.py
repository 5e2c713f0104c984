"""What operators ask of deliveries to webhooks: which wait, which were given up, one more try, and a test.

Shown are addresses as far as the host, and never a secret. What is asked for stands in the ledger.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from drift.kinds import OURSELVES
from drift.webhooks import Kind
from serving.control.errors import NotNow, Unacceptable, Unknown
from serving.control.publication import Answer, Beside, Job, LedgerEntry, Recorded
from serving.control.publication_form import encode_entry
from serving.control.publishing import refuse
from serving.control.rolling.hooks import DRIFT, job_of, message_id, message_of
from serving.control.rolling.kept import Again, DeadLetter, Over, Tried, Waiting
from serving.control.rolling.standing import StandingHook, StandingHooks

MOST_AT_ONCE: Final = 1_000
"""Dead letters that are replayed by one command, and attempts that are looked through."""

_TEST: Final = Kind.TEST.partition(".")[2]
_LOOKED_AT: Final = 100


class Store(Protocol):
    """What this needs of a store."""

    async def waiting(self, limit: int) -> Sequence[Waiting]:
        """Deliveries that wait, those that are tried next first."""

    async def waiting_job(self, job: str) -> Waiting | None:
        """The delivery of that id if it waits."""

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Deliveries that were given up, the newest first."""

    async def dead_letter(self, job: str) -> DeadLetter | None:
        """The dead letter of that id."""

    async def tried(self, limit: int) -> Sequence[Tried]:
        """The last attempts, the newest first."""

    async def dropped_jobs(self) -> tuple[int, int]:
        """Deliveries that found no room, and dead letters that fell off."""

    async def over_jobs(self) -> Over:
        """How many deliveries came to which end, since there is this store."""

    async def again(self, jobs: Mapping[str, str], entry: LedgerEntry) -> Mapping[str, Again]:
        """Has deliveries told once more, all that can be; what came of each."""

    async def entries_at(self, ids: Collection[str]) -> Mapping[str, Recorded]:
        """Those of these entries of the ledger that are there, by id."""

    async def ledger(self, limit: int, before: str = "") -> Sequence[Recorded]:
        """The newest entries of the ledger, newest first."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All deliveries at a glance.

    Attributes:
        hooks: webhooks of the settings.
        waiting: those that are tried next first.
        dead: dead letters, the newest first.
        tried: the last attempts, the newest first.
        dropped: deliveries that found no room in the queue.
        dropped_dead: dead letters that fell off.
    """

    hooks: tuple[StandingHook, ...]
    waiting: Sequence[Waiting]
    dead: Sequence[DeadLetter]
    tried: Sequence[Tried]
    dropped: int
    dropped_dead: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery.

    Attributes:
        id: its `webhook-id`.
        kind: type of the message.
        body: the message as it is sent.
        waiting: where it waits.
        dead: where it was given up.
        attempts: those that are remembered, the newest first.
    """

    id: str
    kind: str
    body: bytes
    waiting: Waiting | None
    dead: DeadLetter | None
    attempts: tuple[Tried, ...]


class Webhooks:
    """Deliveries as operators see them.

    Args:
        store: where they are.
        hooks: webhooks of the settings.
    """

    def __init__(self, store: Store, hooks: StandingHooks) -> None:
        self._store = store
        self._hooks = hooks

    async def seen(self, limit: int) -> Seen:
        """All of it, of each list at most so many."""
        dropped, dropped_dead = await self._store.dropped_jobs()
        return Seen(
            tuple(self._hooks.values()),
            await self._store.waiting(limit),
            await self._store.dead_letters(limit),
            await self._store.tried(limit),
            dropped,
            dropped_dead,
        )

    async def over(self) -> Over:
        """How many came to which end, since there is this store."""
        return await self._store.over_jobs()

    async def delivery(self, message: str) -> Delivery:
        """One delivery, as long as anything of it is there.

        Args:
            message: its `webhook-id`.

        Raises:
            Unknown: there is none.
            StoreDamaged: nobody can read what it tells.
        """
        job = _job(message)
        waiting, dead = await self._store.waiting_job(job), await self._store.dead_letter(job)
        entry = waiting.entry if waiting else dead.entry if dead else await self._entry(job)
        attempts = tuple(one for one in await self._store.tried(MOST_AT_ONCE) if one.job == job)
        if not entry or not (waiting or dead or attempts):
            raise _unknown(message)
        kind, body = message_of(job.partition("/")[0], entry)
        return Delivery(message, kind, body, waiting, dead, attempts)

    async def replay(self, message: str, *, who: str, why: str = "") -> Again:
        """Has one delivery told once more, under the same id: what waits is tried at once.

        Args:
            message: its `webhook-id`.
            who: for the ledger.
            why: for the ledger.

        Raises:
            Unknown: there is none, or its entry is not in the ledger any more.
            NotNow: as many wait as may.
        """
        job = _job(message)
        was = await self._entry(job) if await self._was_tried(job) else ""
        became = await self._store.again({job: was}, _replayed([message], who, why))
        if became[job] is Again.UNKNOWN:
            raise _unknown(message)
        if became[job] is Again.FULL:
            raise NotNow("As many deliveries wait as may.", "Try again when some have been told.")
        return became[job]

    async def replay_all(self, *, who: str, why: str = "") -> Mapping[str, Again]:
        """Has every dead letter told once more; what came of each, by its `webhook-id`."""
        jobs = [one.job for one in await self._store.dead_letters(MOST_AT_ONCE)]
        if not jobs:
            return {}
        ids = [message_id(job) for job in jobs]
        became = await self._store.again(dict.fromkeys(jobs, ""), _replayed(ids, who, why))
        return {message_id(job): one for job, one in became.items()}

    async def test(self, to: str, *, who: str) -> Sequence[str]:
        """Has webhooks of the settings told a `drift.test`; the deliveries' ids.

        Args:
            to: a webhook's name, its address, or what is shown of that; empty for all.
            who: for the ledger.

        Raises:
            Unknown: no webhook of the settings is meant.
        """
        chosen = [one for one in self._hooks.values() if not to or to in _names(one)]
        if not chosen:
            names = ", ".join(one.name or one.shown for one in self._hooks.values())
            raise Unknown(
                "No webhook of the settings is called so." if to else "The settings name no webhooks.",
                f"There are: {names}." if names else "List them as drift.webhooks.",
            )
        words = "A test: nothing is to be done."
        mark = secrets.token_urlsafe(12)
        facts = {"event": _TEST, "what": "webhook test", "words": words, "test": mark}
        jobs = tuple(Job(0, DRIFT, one.number) for one in chosen)
        refuse(await self._store.note(Beside(entries=(LedgerEntry(DRIFT, who, words, facts),), jobs=jobs)))
        newest = await self._store.ledger(_LOOKED_AT)
        written = next((one.id for one in newest if one.entry.facts.get("test") == mark), "")
        return [message_id(f"{written}/{job.rollout}/{job.hook}") for job in jobs] if written else []

    async def _was_tried(self, job: str) -> bool:
        """Whether it is a delivery at all: of what was never queued nothing is sent, whatever the ledger has."""
        return any(one.job == job for one in await self._store.tried(MOST_AT_ONCE))

    async def _entry(self, job: str) -> str:
        entry = job.partition("/")[0]
        found = (await self._store.entries_at([entry])).get(entry)
        return "" if found is None else encode_entry(found.entry)


def _names(hook: StandingHook) -> set[str]:
    return {hook.name, hook.url, hook.shown, OURSELVES if hook.ours else hook.url} - {""}


def _replayed(ids: Sequence[str], who: str, why: str) -> LedgerEntry:
    facts = {"event": "replay", "what": "webhook replay", "messages": list(ids)}
    return LedgerEntry(DRIFT, who, why or f"{len(ids):,} deliveries are told once more", facts)


def _job(message: str) -> str:
    job = job_of(message)
    if not job:
        raise Unacceptable(f"{message[:100]!a} is no id of a delivery: it looks like msg_1700000000000-0_drift_81.")
    return job


def _unknown(message: str) -> Unknown:
    return Unknown(
        f"There is no delivery {message}, or nobody knows of it any more.",
        "`sluice drift webhooks list` shows those that there are.",
    )
