"""What workers noted of requests, given to whoever writes it down: spans to a collector, lines to files.

Each writer goes at its own pace, and drops and counts what it cannot keep up with. The counts go back to a worker,
whose figures say them: a keeper has none of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from serving.captured import Kind
from serving.noted import CopyNoted, Lost, Noted

WRITES_EVERY_S: Final = 0.25
SAYS_EVERY_S: Final = 1.0
_LAST_WRITE_S: Final = 1.5


class Writer(Protocol):
    """Somebody who writes notes down."""

    def take(self, noted: Noted) -> None:
        """One more request; it may be dropped and counted, but never waited for, and nothing is raised."""

    def take_copy(self, noted: CopyNoted) -> None:
        """One more copy, likewise."""

    def lost(self) -> Mapping[str, int]:
        """What was not written since the start, by "what_why"."""

    async def write(self) -> None:
        """Writes what was taken, where it does not do so by itself."""

    async def close(self) -> None:
        """Everything that was taken is where it belongs when this returns, or is counted as lost."""


class Notes:
    """All of a keeper's writers.

    Args:
        writers: they.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = writers
        self._said: Counter[str] = Counter()

    def take(self, kind: int, payload: bytes) -> None:
        """One frame.

        Raises:
            ValueError: it is damaged.
        """
        if not self._writers:
            return
        if kind == Kind.NOTED:
            noted = Noted.decode(payload)
            for writer in self._writers:
                writer.take(noted)
        elif kind == Kind.COPIED:
            copied = CopyNoted.decode(payload)
            for writer in self._writers:
                writer.take_copy(copied)

    async def run(self, say: Callable[[Lost], bool]) -> None:
        """Has all of them write, and says what was lost, until cancelled.

        Args:
            say: tells a worker; whether there was one.
        """
        async with asyncio.TaskGroup() as tasks:
            for writer in self._writers:
                tasks.create_task(_write_on(writer))
            tasks.create_task(self._say_on(say))

    async def close(self) -> None:
        """Everything that was taken is written, or lost."""
        await asyncio.gather(*map(_closed, self._writers))

    async def _say_on(self, say: Callable[[Lost], bool]) -> None:
        while True:
            await asyncio.sleep(SAYS_EVERY_S)
            lost: Counter[str] = Counter()
            for writer in self._writers:
                lost.update(writer.lost())
            new = lost - self._said
            if new and say(Lost(new)):
                self._said = lost


async def _write_on(writer: Writer) -> None:
    while True:
        await writer.write()
        await asyncio.sleep(WRITES_EVERY_S)


async def _closed(writer: Writer) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WRITE_S):
            await writer.close()
