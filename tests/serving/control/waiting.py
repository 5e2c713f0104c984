"""Waiting for something that shows in a store or in a fake, which wakes nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(look: Callable[[], bool], within_s: float = 10.0) -> None:
    """Returns when it is so; fails where it never is."""
    async with asyncio.timeout(within_s):
        while not look():  # noqa: ASYNC110 - what it looks at sets no event
            await asyncio.sleep(0.005)
