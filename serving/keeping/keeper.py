"""One keeper: compares what workers hand over, and tells what it found for as long as it finds something.

Three things go on at once and none waits for another: taking frames, comparing one after the other, and telling. While
the store is away comparing goes on, and what was found is told when it is back: nothing is lost but time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from serving.captured import Captured
from serving.diffs import Diff
from serving.keeping.findings import Findings, Named, Series
from serving.keeping.noting import Notes
from serving.keeping.reception import USUAL, Reception
from serving.keeping.sinks import Sink
from serving.pair_totals import PairMessage, PairTotals

EVERY_S: Final = 0.5
LEAVES_EVERY_S: Final = 2.0
WHOLE_EVERY_S: Final = 10.0
_LAST_FRAMES_S: Final = 0.5
_LAST_PAIRS_S: Final = 1.0
_LAST_WORDS_S: Final = 1.0
_LAST_FILES_S: Final = 1.5
"""How long each may take at the end: hearing workers out, comparing, telling, closing all sinks at once. In all
less than 5 s."""
_log = logging.getLogger(__name__)


class Tells(Protocol):
    """Where findings go; every call raises OSError where nobody knows whether it came."""

    async def tell(self, message: bytes) -> None:
        """One more message of totals."""

    async def leave(self, diff: Diff) -> None:
        """Leaves what was found of one series."""

    async def left(self, totals: PairTotals) -> Diff | None:
        """What an earlier keeper of this gateway left of that series."""


class Nowhere:
    """For a keeper without a store: what it finds goes to its sinks alone."""

    async def tell(self, message: bytes) -> None:
        """Says nothing."""

    async def leave(self, diff: Diff) -> None:
        """Leaves nothing."""

    async def left(self, totals: PairTotals) -> Diff | None:  # noqa: ARG002 - as the port has it
        """Finds nothing."""
        return None


class Keeper:
    """One gateway replica's.

    Args:
        name: the gateway's id and this process's own, with a blank between.
        reception: where workers hand over.
        store: where findings go.
        sinks: who else gets everything.
        notes: who gets what workers noted; the same as the reception's.
        wall: seconds since 1970.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        name: str,
        reception: Reception,
        store: Tells,
        sinks: Sequence[Sink] = (),
        *,
        notes: Notes | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.findings = Findings()
        self._name = name
        self._reception = reception
        self._store = store
        self._sinks = sinks
        self._notes = Notes(()) if notes is None else notes
        self._wall = wall
        self._clock = clock
        self._told: dict[Named, int] = {}
        self._left: dict[Named, int] = {}
        self._whole_s = -math.inf
        self._stumbled = False
        self._over = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until it is stopped; then everything that came is compared and told.

        Raises:
            OSError: the socket cannot be made.
        """
        await self._reception.open()
        going = (self._work(), self._tell_on(), self._leave_on(), self._notes.run(self._reception.say))
        tasks = [asyncio.create_task(one) for one in going]
        try:
            await stop.wait()
        finally:
            await self._finish(tasks)

    async def _finish(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FRAMES_S):
                await self._reception.hung_up()
        self._reception.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_PAIRS_S):
                await self._reception.emptied()
        self._over = True
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_LAST_FRAMES_S)  # a client of Redis may swallow it: then the loop ends itself
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self.tell(whole=True)
                await self.leave()
        except (OSError, TimeoutError) as error:
            _log.warning("the last findings have not been told: %s", error)
        await asyncio.gather(*map(_closed, self._sinks), self._notes.close())

    # Comparing.

    async def _work(self) -> None:
        while True:
            captured = await self._reception.next()
            if captured is not None:
                self.look_at(captured)
            await asyncio.sleep(0)  # frames come in meanwhile

    def look_at(self, captured: Captured) -> None:
        """Compares it and hands it on; whatever goes wrong with one request is counted and hurts no other."""
        rules = self._reception.rules.of(captured.model)
        try:
            found = self.findings.add(captured, rules or USUAL, self._wall()) if captured.copies else None
            for sink in self._sinks:
                sink.take(captured, rules, found)
        except Exception as error:  # noqa: BLE001 - what strangers send may find a fault that nobody knows yet
            self._reception.dropped["broken"] += 1
            if not self._stumbled:  # once, and without the error's words, which may quote values
                self._stumbled = True
                _log.warning("a pair could not be compared: %s", type(error).__name__)

    # Telling.

    async def _tell_on(self) -> None:
        while not self._over:
            try:
                await self.tell()
            except OSError as error:
                _log.debug("totals have not been told: %s", error)
            await asyncio.sleep(EVERY_S)

    async def _leave_on(self) -> None:
        while not self._over:
            await asyncio.sleep(LEAVES_EVERY_S)
            try:
                await self.leave()
            except OSError as error:
                _log.debug("findings have not been left: %s", error)

    async def tell(self, *, whole: bool = False) -> None:
        """One message of totals, if there is anything to say.

        Args:
            whole: whether every series is in it in any case.

        Raises:
            OSError: nobody knows whether it came; the next one says it again.
        """
        self.findings.hear(self._reception.sheds.told())
        now = self._clock()
        whole = whole or now >= self._whole_s + WHOLE_EVERY_S
        saying = self._changed({} if whole else self._told)
        if not whole and not saying:
            return
        series = tuple(one.totals() for one, _ in saying.values())
        await self._store.tell(PairMessage(self._name, series, whole).encode())
        self._told.update({named: changed for named, (_, changed) in saying.items()})
        if whole:
            self._whole_s = now

    async def leave(self) -> None:
        """Leaves the findings of every series that has changed.

        Raises:
            OSError: nobody knows whether they came; the next time it is tried again.
        """
        dropped = dict(self._reception.all_dropped())
        for named, (series, changed) in self._changed(self._left).items():
            if named not in self._left:
                series.before = await self._store.left(series.totals())
                self._left[named] = -1
            await self._store.leave(series.diff(self._wall(), dropped))
            self._left[named] = changed
        self.findings.forget(self._wall())
        for known in (self._told, self._left):
            for named in known.keys() - self.findings.series.keys():
                del known[named]

    def _changed(self, since: Mapping[Named, int]) -> dict[Named, tuple[Series, int]]:
        every = self.findings.series.items()
        return {named: (one, one.changed) for named, one in every if one.changed != since.get(named)}


async def _closed(sink: Sink) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_FILES_S):
            await sink.close()
