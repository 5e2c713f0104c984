"""From a verdict to the last gateway: how long going back took, written into the ledger and counted for people.

The walk does not wait for gateways. What it has published is waited for beside it, and what the ledger says of it in
the end names whoever had not taken it up by then. Its other steps are waited for as well, and only counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from router.rollout import BY_ITSELF, Fact, Seen, fact
from serving.control.acknowledging import LONGEST_WAIT_S, Gateways, until_acknowledged
from serving.control.publication import Answer, Beside
from serving.control.rolling.moving import Moved
from serving.control.rolling.records import entry_of, jobs_of
from serving.control.rolling.spreads import NO_SPREAD, Spread
from serving.control.rolling.weighing import DETECTION
from serving.control.tasks import end
from serving.control.views import Acknowledged
from serving.errors import SluiceError

_log = logging.getLogger(__name__)

ACKNOWLEDGED: Final = "acknowledged"
"""What the ledger calls it."""
MOST_COUNTED: Final = 16
"""Steps that are waited for at once, to count them; rollbacks all are."""


class Store(Gateways, Protocol):
    """Who is alive, and who writes the ledger."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""


@dataclass(slots=True)
class Propagation:
    """Waits for gateways to take up what was published by the conductor itself.

    Args:
        store: where their leases are, and the ledger.
        clock: seconds that only go forward.
    """

    store: Store
    clock: Callable[[], float]
    detected: Spread = NO_SPREAD
    """From the beginning of harm to the verdict."""
    propagated: Spread = NO_SPREAD
    """From the verdict to the last gateway, or to the end of the patience: the slowest must not be missing."""
    stepped: Spread = NO_SPREAD
    """From any other step to the last gateway, where there was one within the patience."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _counting: set[asyncio.Task[None]] = field(default_factory=set)

    def watch(self, moved: Moved, said: Fact, began_s: float, fence: int) -> None:
        """Waits beside all else.

        Args:
            moved: the step back, which was published.
            said: what the ledger has of it.
            began_s: when it was decided, by the own clock.
            fence: of the conductor that took it.
        """
        if DETECTION in said.numbers:
            self.detected = self.detected.plus(said.numbers[DETECTION])
        published_s = self.clock() - began_s
        _beside(self._wait(moved, said.at_s, began_s, published_s, fence), self._tasks)

    def count(self, moved: Moved, began_s: float) -> None:
        """Waits likewise for a step that is no way back, and writes nothing of it; of many at once, for the first.

        Args:
            moved: the step, which was published.
            began_s: when it was decided, by the own clock.
        """
        if len(self._counting) < MOST_COUNTED:  # each of them asks the store again and again
            _beside(self._count(moved, began_s), self._counting)

    @property
    def waits(self) -> bool:
        """Whether a rollback is still waited for."""
        return bool(self._tasks)

    async def close(self) -> None:
        """Waits no more."""
        await end([*self._tasks, *self._counting])

    async def _count(self, moved: Moved, began_s: float) -> None:
        seen = await until_acknowledged(self.store, moved.answer, LONGEST_WAIT_S, self.clock)
        if not seen.waiting:
            self.stepped = self.stepped.plus(self.clock() - began_s)

    async def _wait(self, moved: Moved, now_s: float, began_s: float, published_s: float, fence: int) -> None:
        seen = await until_acknowledged(self.store, moved.answer, LONGEST_WAIT_S, self.clock)
        took_s = self.clock() - began_s
        self.propagated = self.propagated.plus(took_s)
        record = moved.record
        said = fact(
            record.rollout, record.rollout, Seen(now_s + took_s), who=BY_ITSELF, what=ACKNOWLEDGED, why=_words(seen)
        )
        took = {"published_s": published_s, "propagation_s": took_s}
        who = {"gateways": seen.of, "waiting": len(seen.waiting), "epoch": moved.answer.head.epoch}
        said = said._replace(numbers={**said.numbers, **took, **who})
        try:
            await self.store.note(Beside(entries=(entry_of(record, said),), jobs=jobs_of(record, said), fence=fence))
        except SluiceError as error:  # the rollback stands; what is lost is how long it took
            _log.warning("how long the rollback of %s took is not in the ledger: %s", record.id, error)


def _beside(waiting: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(waiting)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _words(seen: Acknowledged) -> str:
    if not seen.waiting:
        gone = f"; {len(seen.expired)} are gone" if seen.expired else ""
        return f"{seen.by} of {seen.of} gateways run what was before{gone}"
    return f"{seen.by} of {seen.of} gateways run what was before; not yet: {', '.join(seen.waiting)}"
