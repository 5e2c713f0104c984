"""What changes, as it changes: one reader of the ledger in this process, whoever listens.

Every change of traffic is an entry of the ledger, with its epoch, so that a stream of entries is a stream of changes.
Each listener has a queue of its own with a bound; one that reads too slowly is told so and dropped, and can come back
with the last id that it saw. While the store is away nothing is said, and what was written meanwhile follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from serving.control.errors import Overloaded
from serving.control.publication import Recorded
from serving.control.rolling.archive import place_of
from serving.control.tasks import end
from serving.errors import SluiceError

MOST_LISTENERS: Final = 100
LONGEST_QUEUE: Final = 256
_WAIT_S: Final = 1.0
_PAGE: Final = 1_000


class Grows(Protocol):
    """A ledger that grows."""

    async def ledger(self, limit: int) -> Sequence[Recorded]:
        """The newest entries, newest first."""

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id, oldest first."""

    async def await_entry(self, after: str, wait_s: float) -> Sequence[Recorded]:
        """What is written after that id, as soon as there is something."""


class Listener:
    """One of those who listen; go through it to hear.

    Attributes:
        dropped: whether it was too slow.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Recorded | None] = asyncio.Queue(LONGEST_QUEUE)
        self.dropped = False

    def tell(self, entry: Recorded) -> None:
        """One more entry; where there is no room for it, this was the last."""
        try:
            self._queue.put_nowait(entry)
        except asyncio.QueueFull:
            self.dropped = True

    async def next(self, within_s: float) -> Recorded | None:
        """The next entry; None where none came within that time, or where nothing more comes."""
        if self.dropped and self._queue.empty():
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await self._queue.get()
        return None

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.dropped and self._queue.empty()


class Feed:
    """Reads the ledger once for all who listen.

    Args:
        ledger: what grows.
    """

    def __init__(self, ledger: Grows) -> None:
        self._ledger = ledger
        self._listeners: set[Listener] = set()
        self._reader: asyncio.Task[None] | None = None

    async def newest(self) -> str:
        """The id after which somebody who comes now listens.

        Raises:
            Overloaded: too many listen.
            StoreUnavailable: there is nothing to hear just now.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            raise Overloaded(f"{MOST_LISTENERS} listen already, and that is the limit.", "Try again later.")
        entries = await self._ledger.ledger(1)
        return entries[0].id if entries else ""

    @contextmanager
    def listener(self, after: str) -> Iterator[Listener]:
        """Somebody who listens from that id on; `newest` says which, and whether there is room."""
        listener = Listener()
        self._listeners.add(listener)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(after), name="reading the ledger")
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def since(self, after: str) -> AsyncIterator[Recorded]:
        """What was written after that id, up to now, oldest first."""
        while page := await self._page(after):
            for entry in page:
                yield entry
            after = page[-1].id

    async def close(self) -> None:
        """Reads no more."""
        if self._reader is not None:
            await end([self._reader])

    async def _page(self, after: str) -> Sequence[Recorded]:
        # A listener that leaves is cancelled again and again, which a client of Redis does not survive: the question
        # is asked by a task of its own, and comes to its end.
        return await asyncio.shield(asyncio.create_task(self._asked(after)))

    async def _asked(self, after: str) -> Sequence[Recorded]:
        try:
            return await self._ledger.ledger_after(after, _PAGE)
        except SluiceError:
            return ()

    async def _read(self, after: str) -> None:
        """Reads for as long as somebody listens, and one wait more."""
        while self._listeners:
            try:
                found = await self._ledger.await_entry(after, _WAIT_S)
            except SluiceError:  # the store is away, or holds what nobody can read: whoever listens goes on waiting
                await asyncio.sleep(_WAIT_S)
                continue
            for entry in found:
                after = entry.id
                for listener in self._listeners:
                    listener.tell(entry)


def is_later(entry: Recorded, last: str) -> bool:
    """Whether the entry comes after that id."""
    return not last or place_of(entry.id) > place_of(last)
