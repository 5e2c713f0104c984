"""Contents are tried on a real server, which nobody is sent to, and what it says is told while it goes on.

What a trial consists of is `serving.triton.trial`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Protocol

from registry.codec import signature_as_dict
from registry.models import Contents
from serving.control.operations import Tell
from serving.pools import PoolOptions, PoolSpec, Tried

_LOOK_S = 0.2


class TriesOut(Protocol):
    """Where a trial is run (Ray Serve's cluster)."""

    async def try_out(self, spec: PoolSpec, tell: Callable[[str], None]) -> Tried:
        """Loads it, starts it, asks it, stops it."""


class Trials:
    """Tries contents out, for one installation.

    Args:
        pools: where trials are run.
    """

    def __init__(self, pools: TriesOut) -> None:
        self._pools = pools

    async def tried(self, model: str, number: int, contents: Contents, options: PoolOptions, tell: Tell) -> Tried:
        """What came of a trial of these contents.

        Args:
            model: whose version it is to be.
            number: what it is called in the trial.
            contents: its artifact is in the store.
            options: how it is run.
            tell: hears what is being done.

        Raises:
            SluiceError: it failed.
        """
        spec = PoolSpec(
            str(model),
            int(number),
            options,
            artifact=contents.artifact.digest,
            kind=contents.artifact.kind.value,
            signature=json.dumps(signature_as_dict(contents.signature)),
            example=contents.example or "",
        )
        await tell("trying it on a server of its own")
        lines: deque[str] = deque()  # a trial may tell from a thread of its own
        trial = asyncio.ensure_future(self._pools.try_out(spec, lines.append))
        try:
            while True:
                ended, _ = await asyncio.wait({trial}, timeout=_LOOK_S)
                while lines:
                    await tell(lines.popleft())
                if ended:
                    return trial.result()
        finally:
            await _ended(trial)


async def _ended(task: asyncio.Future[Tried]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
