"""Tells hooks what happened, by Standard Webhooks: signed, at least once, with growing pauses between attempts.

What is to be told is queued by the very script that writes the ledger's entry, so that nothing is told that did not
happen and nothing is forgotten; the queue is bounded and counts what it drops. A delivery keeps its id over all
attempts, so that whoever hears it twice can tell; each attempt is signed anew, with its own time. After the last one it
becomes a dead letter, which an operator may have told once more (`serving.control.webhooks`).

Hooks that failed at the same moment are not tried again at the same moment: each pause is drawn, up to `JITTER` shorter
than the one that is declared.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from drift.signing import signed
from serving.control.errors import StoreDamaged
from serving.control.publication import LedgerEntry
from serving.control.publication_form import decode_entry
from serving.control.rolling.kept import Attempt, Due
from serving.control.rolling.outward import Event, shown_url
from serving.control.rolling.records import Record
from serving.control.rolling.sending import Sends
from serving.control.tasks import end
from serving.errors import SluiceError

_log = logging.getLogger(__name__)

PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)
"""Between attempts, at most; after the last of them a delivery is given up, some fifteen hours after the first."""

JITTER: Final = 0.25
"""The part of a pause that may be taken off it."""

STORE_PAUSES_S: Final = PAUSES_S[:3]
"""Before a hook is told anything again whose delivery the store could not note, which would be told once more."""

FOUND: Final = "drift.finding"
"""What a webhook of the settings is told of a finding."""
DRIFT: Final = "drift"
"""In the place of a rollout in the id of such a delivery, and the kind of the ledger's entry about it."""
GONE: Final = "nobody is left to tell"
"""What became of a delivery whose hook is not there any more."""

_READ_AGAIN_S: Final = 1.0
_AT_ONCE: Final = 64
_AT_ONE_PLACE: Final = 4
_TIMEOUT_S: Final = 10.0
_OK: Final = range(200, 300)
_GONE: Final = 410
_MESSAGE: Final = "msg_"
_MESSAGE_ID: Final = re.compile(rf"{_MESSAGE}([0-9]{{1,20}}-[0-9]{{1,20}})_({DRIFT}|ro_[0-9a-f]{{12}})_([0-9]{{1,20}})")


_HookKey = tuple[str, str]
"""A rollout, and which of its hooks."""


class Queue(Protocol):
    """What is to be told."""

    async def due_jobs(self) -> Sequence[str]:
        """Ids of deliveries that are due, the longest due first; no hook keeps others out."""

    async def jobs(self, ids: Sequence[str]) -> Sequence[Due]:
        """These deliveries; of those that are over by now the entry is empty."""

    async def end_job(self, job: str, fence: int, told: Attempt | None = None) -> None:
        """That one is over; what came of the last attempt is remembered for a while."""

    async def put_off_job(self, job: str, wait_s: float, fence: int, told: Attempt | None = None) -> None:
        """That one was tried in vain, and is tried again after so long."""

    async def bury_job(self, due: Due, fence: int, told: Attempt) -> None:
        """That one was tried for the last time: it becomes a dead letter."""

    async def rollout(self, rollout_id: str) -> Record | None:
        """The rollout of that id."""


class Told(Protocol):
    """Who is told: a rollout's hook, or a webhook of the settings."""

    @property
    def url(self) -> str:
        """Where."""

    @property
    def secrets(self) -> Sequence[str]:
        """What deliveries are signed with, the newest first."""


class Courier:
    """Delivers what is due, each on its own: nobody waits for another's server.

    A hook is told one thing at a time, in order but for what is tried again; a server that several hooks share is
    called `_AT_ONE_PLACE` times at once, so that one which does not answer leaves room for the others. What is due is
    read once a second, or when all of that is told: a long backlog would else be read anew for each delivery.

    Args:
        queue: of deliveries.
        sends: how hooks of rollouts are reached.
        clock: seconds that only go forward.
        standing: webhooks of the settings, which hear of drift (`drift_findings`), by their number.
        standing_sends: how those are reached; None for as the others.
        pauses_s: between attempts, at most, seconds.
        draws: by how much each pause is shorter.
    """

    def __init__(
        self,
        queue: Queue,
        sends: Sends,
        clock: Callable[[], float] = time.monotonic,
        *,
        standing: Mapping[int, Told] = MappingProxyType({}),
        standing_sends: Sends | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
        draws: random.Random | None = None,
    ) -> None:
        self._queue = queue
        self._standing = standing
        self._sends = sends
        self._standing_sends = standing_sends or sends
        self._pauses_s = tuple(pauses_s)
        self._draws = draws or random.Random()  # noqa: S311 - spreads attempts out, keeps no secret
        self._clock = clock
        self._due: dict[_HookKey, deque[str]] = {}
        self._read_at_s = 0.0
        self._under_way: dict[_HookKey, asyncio.Task[None]] = {}
        self._telling: set[str] = set()
        self._places: dict[_HookKey, str] = {}
        self._store_pauses: dict[_HookKey, tuple[int, float]] = {}

    async def begin(self, fence: int) -> int:
        """Begins deliveries that are due, as many as there is room for; how many.

        Args:
            fence: of the conductor that delivers.
        """
        if not self._due or self._clock() - self._read_at_s >= _READ_AGAIN_S:
            await self._read()
        chosen = self._chosen()
        for due in await self._queue.jobs([self._taken(key) for key in chosen]):
            key = _hook_of(due.id)
            task = asyncio.create_task(self._delivered(due, fence), name=f"telling {due.id}")
            self._under_way[key] = task
            self._telling.add(due.id)
            task.add_done_callback(partial(self._ended, due.id))
        return len(chosen)

    async def wait(self, at_most_s: float) -> None:
        """Until a delivery that is under way has ended, at most so long."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(at_most_s)

    async def close(self) -> None:
        """Delivers nothing any more; what was under way is tried again by whoever leads next."""
        await end(list(self._under_way.values()))

    async def _read(self) -> None:
        """What is due, by hook; what is being told is not, for it may end while the store answers."""
        telling = frozenset(self._telling)
        ids = await self._queue.due_jobs()
        self._read_at_s = self._clock()
        self._due = {}
        for one in ids:
            if one not in telling:
                self._due.setdefault(_hook_of(one), deque()).append(one)
        known = self._due.keys() | self._under_way.keys()
        self._places = {key: place for key, place in self._places.items() if key in known}
        self._store_pauses = {key: pause for key, pause in self._store_pauses.items() if key in known}

    def _chosen(self) -> Sequence[_HookKey]:
        """The hooks that something is due for, and that there is room for."""
        room = _AT_ONCE - len(self._under_way)
        busy = Counter(self._places[key] for key in self._under_way if key in self._places)
        chosen: list[_HookKey] = []
        for key in self._due:
            place = self._places.get(key, "")
            if len(chosen) == room:
                break
            if key in self._under_way or self._pauses(key) or (place and busy[place] >= _AT_ONE_PLACE):
                continue
            chosen.append(key)
            busy[place] += 1
        return chosen

    def _taken(self, key: _HookKey) -> str:
        """The next delivery of that hook, which is not chosen again before what is due is read anew."""
        ids = self._due[key]
        taken = ids.popleft()
        if not ids:
            del self._due[key]
        return taken

    def _ended(self, job: str, _: asyncio.Task[None]) -> None:
        self._telling.discard(job)
        self._under_way.pop(_hook_of(job), None)

    def _pauses(self, key: _HookKey) -> bool:
        """Whether the store could not note what that hook was told, just now."""
        return key in self._store_pauses and self._clock() < self._store_pauses[key][1]

    async def _delivered(self, due: Due, fence: int) -> None:
        """One delivery; what goes wrong with the store is told, and the delivery stays due, after a pause."""
        key = _hook_of(due.id)
        try:
            await self._deliver(due, fence)
        except SluiceError as error:
            times, _ = self._store_pauses.get(key, (0, 0.0))
            pause_s = STORE_PAUSES_S[min(times, len(STORE_PAUSES_S) - 1)]
            self._store_pauses[key] = times + 1, self._clock() + pause_s
            _log.warning("the delivery %s stays due, and is tried again in %g s: %s", due.id, pause_s, error)
        else:
            self._store_pauses.pop(key, None)

    async def _deliver(self, due: Due, fence: int) -> None:
        _, rollout, nth = due.id.split("/")
        try:
            hook = await self._hook(rollout, int(nth))
        except StoreDamaged as error:  # of one rollout: the other deliveries go on
            await self._put_off(due, Attempt("of a rollout that nobody can read", "", error.sentence), fence)
            return
        if not due.entry:
            await self._queue.end_job(due.id, fence)
            return
        try:
            event, body = message_of(due.id.partition("/")[0], due.entry)
        except StoreDamaged:
            await self._put_off(due, Attempt("", "", "its entry cannot be read"), fence)
            return
        if hook is None:
            await self._queue.end_job(due.id, fence, Attempt("", event, GONE))
            return
        place = shown_url(hook.url)
        if not self._has_room(_hook_of(due.id), place):
            return
        began_s = self._clock()
        failed = await self._posted(hook, due.id, body)
        told = Attempt(place, event, failed, round(self._clock() - began_s, 3))
        if not failed:
            await self._queue.end_job(due.id, fence, told)
        else:
            await self._put_off(due, told, fence)

    async def _hook(self, rollout: str, nth: int) -> Told | None:
        """Who is to be told; None where it is not there any more."""
        if rollout == DRIFT:
            return self._standing.get(nth)
        record = await self._queue.rollout(rollout)
        return None if record is None or nth >= len(record.hooks) else record.hooks[nth]

    def _has_room(self, key: _HookKey, place: str) -> bool:
        """Whether one more may be sent there; where the hook lives is remembered in any case."""
        others = sum(self._places.get(one) == place for one in self._under_way if one != key)
        self._places[key] = place
        return others < _AT_ONE_PLACE

    async def _put_off(self, due: Due, told: Attempt, fence: int) -> None:
        name = message_id(due.id)
        if due.tries >= len(self._pauses_s) or told.failed == str(_GONE):
            _log.warning("the webhook %s is not told of %s any more: %s", told.hook, name, told.failed)
            await self._queue.bury_job(due, fence, told)
        else:
            pause_s = self._pauses_s[due.tries] * (1 - JITTER * self._draws.random())
            _log.info("the webhook %s is to be told again of %s in %.1f s: %s", told.hook, name, pause_s, told.failed)
            await self._queue.put_off_job(due.id, pause_s, fence, told)

    async def _posted(self, hook: Told, job: str, body: bytes) -> str:
        """Why it did not arrive; empty where it did."""
        sends = self._standing_sends if _hook_of(job)[0] == DRIFT else self._sends
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                headers = signed(hook.secrets, message_id(job), time.time(), body)
                status = await sends.post(hook.url, body, headers)
        except TimeoutError:
            return f"no answer within {_TIMEOUT_S:g} s"
        except SluiceError as error:
            return error.sentence
        except Exception as error:  # noqa: BLE001 - put off like others: else it would be tried at every round
            return type(error).__name__  # its text may repeat the address, and with that a token
        return "" if status in _OK else str(status)


def _hook_of(job: str) -> _HookKey:
    _, rollout, nth = job.split("/")
    return rollout, nth


def message_id(job: str) -> str:
    """The `webhook-id` of a delivery: 'msg_1700000000000-0_drift_81' of '1700000000000-0/drift/81'."""
    return _MESSAGE + job.replace("/", "_")


def job_of(message: str) -> str:
    """The delivery of that `webhook-id`; empty where that is none."""
    found = _MESSAGE_ID.fullmatch(message)
    return "/".join(found.groups()) if found else ""


def message_of(entry_id: str, entry: str) -> tuple[str, bytes]:
    """What a hook is sent of a ledger's entry: its type, and its body.

    Args:
        entry_id: of it; the message's time is the entry's.
        entry: as the ledger has it. One of drift says in `event` which kind of message it is (`drift.webhooks.Kind`).

    Raises:
        StoreDamaged: nobody can read it.
    """
    try:
        return _message(entry_id, decode_entry(entry))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreDamaged(f"The ledger's entry {entry_id} cannot be read, so nobody knows what it tells.") from error


def _message(entry_id: str, said: LedgerEntry) -> tuple[str, bytes]:
    usual = FOUND.partition(".")[2] if said.kind == DRIFT else Event.ENTERED.value
    event = f"{DRIFT if said.kind == DRIFT else 'rollout'}.{said.facts.get('event', usual)}"
    at = datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)
    data = {"id": entry_id, "who": said.who, "why": said.why, **said.facts}
    return event, json.dumps({"type": event, "timestamp": at.isoformat(), "data": data}, sort_keys=True).encode()
