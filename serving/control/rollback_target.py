"""The rollback target: whoever has the secret of a webhook may have one rollout taken back, and nothing else.

A message is only as good as its signature and its time; who sent it needs no key. It names the rollout that it is
about, and that must still be the one in question: of that model, in progress, trying that candidate, in the attempt
that was under way when it was decided. What is not so now will not be so later either, so that it is answered well:
there is nothing to be done, and nobody needs to send it again. Only what may be otherwise in a moment is refused with
a status after which it is sent again.

Each episode's rollback is done once. The ledger's entry of a rollback, which is written by the script that does it,
names the episode: by that a message that comes again is known, however often this process was killed in between, and
also after the rollout was retried. What came of a message is kept beside that for longer than anybody sends it again.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from drift.webhooks import ActionTold, Event, Kind, verify
from router.commands import Command, RollBack
from serving.control.errors import NotNow, RolloutMoved, UnknownRollout
from serving.control.publication import LONGEST_REMARK, Answer, Beside, LedgerEntry, Recorded
from serving.control.rolling.hooks import DRIFT
from serving.control.rolling.outward import Event as Happened
from serving.control.rolling.records import Record, is_id
from serving.control.rolling.views import RolloutChange

_log = logging.getLogger(__name__)

WHO: Final = "the drift webhook"
KEPT_S: Final = 30 * 24 * 3_600
"""How long it is kept what came of a message: longer than any pauses are, and than a dead letter waits for somebody."""

_TRIES: Final = 5


class Came(NamedTuple):
    """What came of a message.

    Attributes:
        done: whether the rollout was taken back for it.
        already: whether that was so before this message came.
        words: in a sentence.
    """

    done: bool
    already: bool
    words: str


class Store(Protocol):
    """What the target needs of a store."""

    async def rollout(self, rollout_id: str) -> Record | None:
        """The rollout of that id."""

    async def entries_of(self, rollout_id: str) -> Sequence[str]:
        """Ids of the ledger's entries about that rollout, oldest first."""

    async def entries_at(self, ids: Collection[str]) -> Mapping[str, Recorded]:
        """Those of these entries that are there, by id."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""

    async def message_came(self, key: str) -> str | None:
        """What came of that message; None where it is new, or was forgotten."""

    async def keep_message(self, key: str, said: str, kept_s: int) -> None:
        """Keeps what came of a message for so long."""


class Commands(Protocol):
    """Who commands rollouts (`serving.control.rolling.service`)."""

    async def ask(
        self, rollout_id: str, command: Callable[[Record], Command], *, expected: int | None, wait_s: float = 2.0
    ) -> RolloutChange:
        """Does what is asked."""


class RollbackTarget:
    """Takes rollouts back for webhooks.

    Args:
        store: where rollouts are, and what came of messages.
        rollouts: commands them.
        secrets: with any of which a message may be signed, as they are now.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        rollouts: Commands,
        secrets: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._secrets = secrets
        self._clock = clock

    async def take(self, headers: Mapping[str, str], body: bytes) -> Came:
        """Does what the message asks for, once.

        Args:
            headers: of the request.
            body: as it came, byte for byte.

        Raises:
            drift.webhooks.Unverified: it is forged, stale, or no message of drift; nothing is done.
            StoreUnavailable: the store is away; it may be sent again.
        """
        event = verify(self._secrets(), headers, body, self._clock())
        if event.action is None or event.kind is not Kind.ROLLBACK:
            return Came(done=False, already=False, words=f"Heard. Nothing is done here for {event.kind}.")
        key = hashlib.sha256(event.key.encode()).hexdigest()
        before = await self._store.message_came(key)
        if before is not None:
            return _heard_before(event, before)
        came = await self._taken(event, event.action)
        await self._store.keep_message(key, came.words, KEPT_S)
        return came

    async def _taken(self, event: Event, told: ActionTold) -> Came:
        for _ in range(_TRIES):
            record = await self._store.rollout(told.rollout) if is_id(told.rollout) else None
            entries = [] if record is None else await self._entries(record.id)
            if record is not None and any(_is_ours(one, told) for one in entries):
                return _heard_before(event, f"The rollout {record.id} was taken back.")
            why_not = _why_not(event, told, record, entries)
            if record is None or why_not:
                return await self._nothing(event, told, why_not)
            try:
                return await self._rolled_back(record, told)
            except RolloutMoved:
                continue  # it moved between the look and the command: look again
            except (NotNow, UnknownRollout) as error:
                return await self._nothing(event, told, error.sentence)
        raise RolloutMoved(f"The rollout {told.rollout} keeps moving.", "Send it again in a moment.")

    async def _entries(self, rollout_id: str) -> list[Recorded]:
        ids = await self._store.entries_of(rollout_id)
        found = await self._store.entries_at(ids)
        return [found[one] for one in ids if one in found]

    async def _rolled_back(self, record: Record, told: ActionTold) -> Came:
        why = f"{_of_episode(told)}{told.words}"[:LONGEST_REMARK]
        command = RollBack(who=WHO, why=why)
        await self._rollouts.ask(record.id, lambda _: command, expected=record.rollout.revision, wait_s=0.0)
        words = f"The rollout {record.id} is taken back."
        _log.info("%s %s", words, why)
        return Came(done=True, already=False, words=words)

    async def _nothing(self, event: Event, told: ActionTold, why: str) -> Came:
        """Nothing is to be done; the ledger says why, once."""
        words = f"There is nothing to take back. {why}"
        _log.warning("%s is not done: %s", event.key, why)
        facts: dict[str, Any] = {
            "event": "target", "what": "refused", "model": told.model, "episode": told.episode, "about": told.rollout,
            "message": event.id,
        }  # fmt: skip
        await self._store.note(Beside(entries=(LedgerEntry(DRIFT, WHO, words, facts),)))
        return Came(done=False, already=False, words=words)


def _heard_before(event: Event, before: str) -> Came:
    """It was sent again, or somebody replays it; the log has every time."""
    words = f"Heard before: {before}"
    _log.info("%s, %s: %s", event.key, event.id, words)
    return Came(done=False, already=True, words=words)


def _of_episode(told: ActionTold) -> str:
    """How the reason of a rollback begins; nothing else begins so, for it ends with a colon after the id."""
    return f"episode {told.episode} of drift: "


def _is_ours(one: Recorded, told: ActionTold) -> bool:
    """Whether that entry is of the rollback that this message asks for."""
    return one.entry.who == WHO and one.entry.why.startswith(_of_episode(told))


def _why_not(event: Event, told: ActionTold, record: Record | None, entries: Sequence[Recorded]) -> str:
    """Why the rollout is not the one in question; empty where it is."""
    if record is None:
        return f"There is no rollout {told.rollout!a}." if told.rollout else "The message names no rollout."
    rollout, named = record.rollout, f"The rollout {record.id}"
    tried = told.candidate in record.versions and told.candidate != rollout.base.stable
    decided_ms = event.message.timestamp.timestamp() * 1000
    anew = any(one.entry.facts.get("event") == Happened.RETRIED and one.at_ms > decided_ms for one in entries)
    against = (
        (record.model != told.model, f"{named} is of {record.model}, and the message is about {told.model}."),
        (told.candidate is None, "The message names no candidate."),
        (not tried, f"{named} does not try version {told.candidate}."),
        (rollout.over, f"{named} is over: {rollout.phase.value}."),
        (anew, f"{named} was begun again since this was decided."),
    )
    return next((words for holds, words in against if holds), "")
