"""Tells hooks what happened, by Standard Webhooks: signed, at least once, with growing pauses between attempts.

What is to be told is queued by the very script that writes the ledger's entry, so that nothing is told that did not
happen and nothing is forgotten; the queue is bounded and counts what it drops. A delivery keeps its id over all
attempts, so that whoever hears it twice can tell.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from standardwebhooks import Webhook

from serving.control.errors import StoreDamaged
from serving.control.publication_form import decode_entry
from serving.control.rolling.kept import Due
from serving.control.rolling.outward import Event, Hook, shown_url
from serving.control.rolling.records import Record
from serving.control.rolling.sending import Sends
from serving.errors import SluiceError

_log = logging.getLogger(__name__)

PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)
"""Between attempts; after the last of them a delivery is given up, some sixteen hours after the first."""

_AT_ONCE: Final = 20
_TIMEOUT_S: Final = 10.0
_OK: Final = range(200, 300)
_GONE: Final = 410


class Queue(Protocol):
    """What is to be told."""

    async def due_jobs(self, limit: int) -> Sequence[Due]:
        """Deliveries that are due, the longest due first."""

    async def end_job(self, job: str) -> None:
        """That one is delivered, or given up."""

    async def put_off_job(self, job: str, wait_s: float) -> None:
        """That one was tried in vain, and is tried again after so long."""

    async def rollout(self, rollout_id: str) -> Record | None:
        """The rollout of that id."""


class Courier:
    """Delivers what is due.

    Args:
        queue: of deliveries.
        sends: how hooks are reached.
    """

    def __init__(self, queue: Queue, sends: Sends) -> None:
        self._queue = queue
        self._sends = sends

    async def deliver(self) -> int:
        """Delivers what is due, some at once; how many were tried."""
        due = await self._queue.due_jobs(_AT_ONCE)
        await asyncio.gather(*(self._deliver(one) for one in due))
        return len(due)

    async def _deliver(self, due: Due) -> None:
        entry, rollout, nth = due.id.split("/")
        try:
            record = await self._queue.rollout(rollout)
        except StoreDamaged as error:  # of one rollout: the other deliveries go on
            await self._put_off(due, "of a rollout that nobody can read", error.sentence)
            return
        hook = None if record is None or int(nth) >= len(record.hooks) else record.hooks[int(nth)]
        if hook is None or not due.entry:  # nobody is left to tell
            await self._queue.end_job(due.id)
            return
        failed = await self._posted(hook, f"msg_{entry}_{rollout}_{nth}", due)
        if not failed:
            await self._queue.end_job(due.id)
        else:
            await self._put_off(due, shown_url(hook.url), failed)

    async def _put_off(self, due: Due, hook: str, failed: str) -> None:
        if due.tries >= len(PAUSES_S) or failed == str(_GONE):
            _log.warning("the webhook %s is not told of %s any more: %s", hook, due.id, failed)
            await self._queue.end_job(due.id)
        else:
            _log.info("the webhook %s is to be told again of %s: %s", hook, due.id, failed)
            await self._queue.put_off_job(due.id, PAUSES_S[due.tries])

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


def body_of(entry_id: str, entry: str) -> str:
    """What a hook is sent of a ledger's entry."""
    said = decode_entry(entry)
    event = said.facts.get("event", Event.ENTERED.value)
    at = datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)
    data = {"id": entry_id, "who": said.who, "why": said.why, **said.facts}
    return json.dumps({"type": f"rollout.{event}", "timestamp": at.isoformat(), "data": data}, sort_keys=True)
