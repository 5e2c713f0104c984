"""Tells hooks what happened, by Standard Webhooks: signed, at least once, with growing pauses between attempts.

What is to be told is queued by the very script that writes the ledger's entry, so that nothing is told that did not
happen and nothing is forgotten; the queue is bounded and counts what it drops. A delivery keeps its id over all
attempts, so that whoever hears it twice can tell.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from standardwebhooks import Webhook

from serving.control.errors import StoreDamaged
from serving.control.publication_form import decode_entry
from serving.control.rolling.kept import Due
from serving.control.rolling.outward import Event, Hook, shown_url
from serving.control.rolling.records import Record
from serving.control.rolling.sending import Sends
from serving.control.tasks import end
from serving.errors import SluiceError

_log = logging.getLogger(__name__)

PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)
"""Between attempts; after the last of them a delivery is given up, some sixteen hours after the first."""

STORE_PAUSES_S: Final = PAUSES_S[:3]
"""Before a hook is told anything again whose delivery the store could not note, which would be told once more."""

FOUND: Final = "drift.finding"
"""What a webhook of the settings is told."""
DRIFT: Final = "drift"
"""In the place of a rollout in the id of such a delivery, and the kind of the ledger's entry about it."""

_READ_AGAIN_S: Final = 1.0
_AT_ONCE: Final = 64
_AT_ONE_PLACE: Final = 4
_TIMEOUT_S: Final = 10.0
_OK: Final = range(200, 300)
_GONE: Final = 410


_HookKey = tuple[str, str]
"""A rollout, and which of its hooks."""


class Queue(Protocol):
    """What is to be told."""

    async def due_jobs(self) -> Sequence[str]:
        """Ids of deliveries that are due, the longest due first; no hook keeps others out."""

    async def jobs(self, ids: Sequence[str]) -> Sequence[Due]:
        """These deliveries; of those that are over by now the entry is empty."""

    async def end_job(self, job: str, fence: int) -> None:
        """That one is delivered, or given up."""

    async def put_off_job(self, job: str, wait_s: float, fence: int) -> None:
        """That one was tried in vain, and is tried again after so long."""

    async def rollout(self, rollout_id: str) -> Record | None:
        """The rollout of that id."""


class Courier:
    """Delivers what is due, each on its own: nobody waits for another's server.

    A hook is told one thing at a time, in order but for what is tried again; a server that several hooks share is
    called `_AT_ONE_PLACE` times at once, so that one which does not answer leaves room for the others. What is due is
    read once a second, or when all of that is told: a long backlog would else be read anew for each delivery.

    Args:
        queue: of deliveries.
        sends: how hooks are reached.
        clock: seconds that only go forward.
        standing: webhooks of the settings, which hear of drift (`drift_findings`), by their number.
    """

    def __init__(
        self,
        queue: Queue,
        sends: Sends,
        clock: Callable[[], float] = time.monotonic,
        *,
        standing: Mapping[int, Hook] = MappingProxyType({}),
    ) -> None:
        self._queue = queue
        self._standing = standing
        self._sends = sends
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
        entry, rollout, nth = due.id.split("/")
        try:
            hook = await self._hook(rollout, int(nth))
        except StoreDamaged as error:  # of one rollout: the other deliveries go on
            await self._put_off(due, "of a rollout that nobody can read", error.sentence, fence)
            return
        if hook is None or not due.entry:  # nobody is left to tell
            await self._queue.end_job(due.id, fence)
            return
        if not self._has_room(_hook_of(due.id), shown_url(hook.url)):
            return
        failed = await self._posted(hook, f"msg_{entry}_{rollout}_{nth}", due)
        if not failed:
            await self._queue.end_job(due.id, fence)
        else:
            await self._put_off(due, shown_url(hook.url), failed, fence)

    async def _hook(self, rollout: str, nth: int) -> Hook | None:
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

    async def _put_off(self, due: Due, hook: str, failed: str, fence: int) -> None:
        if due.tries >= len(PAUSES_S) or failed == str(_GONE):
            _log.warning("the webhook %s is not told of %s any more: %s", hook, due.id, failed)
            await self._queue.end_job(due.id, fence)
        else:
            _log.info("the webhook %s is to be told again of %s: %s", hook, due.id, failed)
            await self._queue.put_off_job(due.id, PAUSES_S[due.tries], fence)

    async def _posted(self, hook: Hook, message: str, due: Due) -> str:
        """Why it did not arrive; empty where it did."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                status = await self._sent(hook, message, body_of(due.id.partition("/")[0], due.entry))
        except TimeoutError:
            return f"no answer within {_TIMEOUT_S:g} s"
        except SluiceError as error:
            return error.sentence
        except Exception as error:  # noqa: BLE001 - put off like others: else it would be tried at every round
            return type(error).__name__  # its text may repeat the address, and with that a token
        return "" if status in _OK else str(status)

    async def _sent(self, hook: Hook, message: str, body: str) -> int:
        now = datetime.now(UTC)
        headers = {
            "webhook-id": message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(hook.secret).sign(message, now, body),
        }
        return await self._sends.post(hook.url, body.encode(), headers)


def _hook_of(job: str) -> _HookKey:
    _, rollout, nth = job.split("/")
    return rollout, nth


def body_of(entry_id: str, entry: str) -> str:
    """What a hook is sent of a ledger's entry."""
    said = decode_entry(entry)
    event = FOUND if said.kind == DRIFT else f"rollout.{said.facts.get('event', Event.ENTERED.value)}"
    at = datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)
    data = {"id": entry_id, "who": said.who, "why": said.why, **said.facts}
    return json.dumps({"type": event, "timestamp": at.isoformat(), "data": data}, sort_keys=True)
