"""Ending tasks that speak to Redis: its client may lose a cancel while it connects, so one is not always enough."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.1


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels these until they have ended, whatever they end with."""
    going = {task for task in tasks if not task.done()}
    while going:
        for task in going:
            task.cancel()
        done, going = await asyncio.wait(going, timeout=_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()  # or asyncio complains that nobody has asked
