"""A rollout that goes to the candidate in steps, and back at once, again and again for as long as a block lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import httpx

from loadtests.beside import Beside
from loadtests.installation import Failed, Installation
from loadtests.rollouts.operator import Operator
from router.policy import WHOLE

STABLE: Final = 1
CANDIDATE: Final = 2
SHARES: Final[Sequence[int]] = (WHOLE // 10, WHOLE // 2, WHOLE)
"""After the first hundredth, of which the plan itself consists."""
_PLAN: Final = {
    "candidate": CANDIDATE, "automation": "observe",
    "canary": {"needs": "minima", "steps": ["1%", "100%"], "hold": "1d"},
}  # fmt: skip
"""Evidence is judged as ever, and takes nothing back: both versions are one program, and the machine is full."""


class BackAndForth(Beside):
    """The rollouts of one installation; each change is waited for until all gateways run it.

    Args:
        up: the installation.
        hold_s: how long each share stays, seconds.

    Attributes:
        back_s: when each rollout was back where it began, seconds since 1970.
        changes: of shares in them, by hand.
        failed: why it went no further; empty where it did not fail.
    """

    ends_within_s = 300.0
    """A rollout may be about to begin, each of whose requests is given up after a minute, and a report waits."""

    def __init__(self, up: Installation, hold_s: float) -> None:
        super().__init__()
        self._up = up
        self._hold_s = hold_s
        self.back_s: list[float] = []
        self.changes = 0
        self.failed = ""

    @property
    def cycle_s(self) -> float:
        """How long a rollout takes to go there and back where no change takes any time, seconds."""
        return (2 + len(SHARES)) * self._hold_s  # the first share, these, and none

    def goes_on(self) -> None:
        """One rollout after the other; what is measured beside it is worth a report though one fails."""
        try:
            asyncio.run(self._all())
        except (Failed, httpx.HTTPError, KeyError, ValueError) as error:  # the last two: an answer of another form
            self.failed = str(error) if isinstance(error, Failed) else repr(error)

    async def _all(self) -> None:
        async with self._up.client() as control:
            operator = Operator(control, self._up.folder)
            while not self.over.is_set():
                await self._one(operator)
                await self._held()

    async def _one(self, operator: Operator) -> None:
        rollout = await operator.start(_PLAN, {"running"})
        for share in SHARES:
            if await self._held():
                break
            await operator.set_share(rollout, CANDIDATE, share)
            self.changes += 1
        await self._held()  # at once where it is over
        await operator.roll_back(rollout)
        self.back_s.append(time.time())

    async def _held(self) -> bool:
        """Whether it is over before a share has stayed as long as it should."""
        return await asyncio.to_thread(self.over.wait, self._hold_s)
