"""Brakes that gateways put on by themselves, written into the ledger: once for each episode, not once for each gateway.

A brake is a worker's reflex and not a verdict (`serving.gateway.brake`): it lasts for half a minute, and a version that
is braked again before the last one is over is in the same episode still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from router.rollout import Seen, fact
from serving.control.publication import Answer, Beside, LedgerEntry
from serving.control.rolling.hearing import Braking
from serving.control.rolling.records import Record, entry_of, jobs_of
from serving.control.wishes import ModelVersion

BRAKE: Final = "brake"
"""What the ledger calls it, and the kind of its entries about models without a rollout."""
APART_S: Final = 60.0
"""So long after a brake has ended another one is an episode of its own."""
_MOST_WAITING: Final = 1_000


class Notes(Protocol):
    """Who writes the ledger."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""


class Brakes:
    """Which versions are braked, and until when.

    Args:
        store: who writes the ledger.
    """

    def __init__(self, store: Notes) -> None:
        self._store = store
        self._since_s = 0.0
        self._until: dict[ModelVersion, float] = {}
        self._waiting: deque[Braking] = deque(maxlen=_MOST_WAITING)

    def begin(self, since_s: float) -> None:
        """Another conductor has written down what there was until then, by the store's clock."""
        self._since_s = since_s
        self._until.clear()
        self._waiting.clear()

    async def write(self, heard: Sequence[Braking], records: Iterable[Record], fence: int) -> None:
        """Writes down every episode that begins.

        Args:
            heard: what gateways told.
            records: the rollouts in progress.
            fence: of the conductor that writes.

        Raises:
            StoreUnavailable: the store is away; what is not written is written the next time.
        """
        self._waiting.extend(heard)
        if not self._waiting:
            return
        by_model = {record.model: record for record in records}
        while self._waiting:
            await self._begun(self._waiting[0], by_model.get(self._waiting[0].said.model), fence)
            self._waiting.popleft()

    async def _begun(self, one: Braking, record: Record | None, fence: int) -> None:
        key = one.said.model, one.said.version
        known, ends_s = self._until.get(key), one.at_s + one.said.for_s
        if one.at_s > self._since_s and (known is None or one.at_s > known + APART_S):
            await self._store.note(_beside(one, record, fence))
        self._until[key] = max(ends_s, known or 0.0)


def _beside(one: Braking, record: Record | None, fence: int) -> Beside:
    """What is written: about the rollout in progress, if there is one."""
    model, version, _, for_s = one.said
    gateway = one.gateway.partition(" ")[0]
    why = f"version {version} failed too often in a row: stable answers in its place, for {for_s:g} s at least"
    if record is None:
        facts = {"model": model, "version": version, "for_s": for_s, "what": BRAKE}
        return Beside(entries=(LedgerEntry(BRAKE, gateway, why, facts),), fence=fence)
    said = fact(record.rollout, record.rollout, Seen(one.at_s), who=gateway, what=BRAKE, why=why)
    said = said._replace(numbers={**said.numbers, "version": float(version), "for_s": for_s})
    return Beside(entries=(entry_of(record, said),), jobs=jobs_of(record, said), fence=fence)
