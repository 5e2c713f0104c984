"""Notices that this process stood still, stopped or on a machine that was, for longer than its lease lives.

Whoever waited for a change has counted it out by then, so what it runs may be old. Before its next request it asks the
store, for `CATCH_UP_S` at most, and then goes on with whatever it knows: availability wins. What clients send in
between waits. Where the store is away but the process never stood still nothing waits: requests go by what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

_log = logging.getLogger(__name__)

CATCH_UP_S: Final = 0.1
"""How long requests wait for the store at most."""
STANDS_STILL_S: Final = 0.5
"""A loop that has not ticked for so long stood still; it is meant to tick twenty times a second."""


class Pauses:
    """What one worker knows of its own standstills. Times are the loop's.

    Args:
        loop: the worker's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.awake_until_s = math.inf
        """Past this, `holds` is to be asked before anything is made of what a client sent."""
        self.lease_until_s = math.inf
        """When the lease lapses that was last renewed."""
        self._loop = loop
        self._catch_up: Callable[[], Awaitable[None]] | None = None
        self._held: list[Callable[[], None]] | None = None
        self._task: asyncio.Task[None] | None = None

    def watch(self, catch_up: Callable[[], Coroutine[None, None, None]]) -> None:
        """From here on standstills are noticed.

        Args:
            catch_up: asks the store, and returns once what it shows is in force.
        """
        self._catch_up = catch_up
        self.tick(self._loop.time())

    def tick(self, now_s: float) -> None:
        """To be called often: that it was not for a while is what a standstill is told by."""
        if self._catch_up is None or self._held is not None:
            return
        if now_s > self.awake_until_s and now_s > self.lease_until_s:
            self._held = []
            self.awake_until_s = -math.inf
            self._task = self._loop.create_task(self._catching_up(self._catch_up))
        else:
            self.awake_until_s = now_s + STANDS_STILL_S

    def holds(self, now_s: float, work: Callable[[], None]) -> bool:
        """Whether this has to wait until the store was asked; it is then done by itself, in the order of asking."""
        self.tick(now_s)
        if self._held is None:
            return False
        self._held.append(work)
        return True

    async def _catching_up(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        _log.warning("this worker stood still for longer than its lease: asking the store before the next request")
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CATCH_UP_S):
                    await catch_up()
        finally:
            held, self._held = self._held or [], None
            # The lease is renewed by now, or cannot be: either way only another standstill is a reason to ask again.
            self.awake_until_s = self._loop.time() + STANDS_STILL_S
            for work in held:
                work()
