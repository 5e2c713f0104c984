"""What runs as long as the control room does: the lead, the walk, the deliveries, the archive, the memory.

Each has a pace of its own, and none waits for another. What fails is told once and tried again. All but the lead and
the memory only happens while this conductor leads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from serving.control.rolling.archive import Archive, Ledgers
from serving.control.rolling.drift_findings import FindingsHeard
from serving.control.rolling.drift_incidents import Incidents
from serving.control.rolling.gates import Gatekeeper
from serving.control.rolling.hooks import Courier
from serving.control.rolling.leading import Leadership
from serving.control.rolling.remembering import Remembering
from serving.control.rolling.walker import Walker
from serving.control.tasks import end
from serving.control.telling import Telling

_log = logging.getLogger(__name__)

ACTIVE_S: Final = 0.25
"""Between two ticks while a rollout is in progress."""
IDLE_S: Final = 1.0
_DELIVER_S: Final = 1.0
_ARCHIVE_S: Final = 10.0
_REMEMBER_S: Final = 0.1


class RolloutLoops:
    """The loops around rollouts.

    Args:
        leadership: who leads.
        walker: walks rollouts.
        gates: asked by the walker; ended with it.
        courier: delivers to hooks.
        ledger: what may grow too long.
        archive: takes what it has too much of; None for nobody.
        remembering: knows what must not be forgotten; None for nobody.
        findings: hears of drift; None for nobody.
        incidents: finds out what it is put down to; None for nobody.
    """

    def __init__(
        self,
        leadership: Leadership,
        walker: Walker,
        gates: Gatekeeper,
        courier: Courier,
        *,
        ledger: Ledgers,
        archive: Archive | None = None,
        remembering: Remembering | None = None,
        findings: FindingsHeard | None = None,
        incidents: Incidents | None = None,
    ) -> None:
        self._leadership = leadership
        self._walker = walker
        self._gates = gates
        self._courier = courier
        self._ledger = ledger
        self._archive = archive
        self._remembering = remembering
        self._findings = findings
        self._incidents = incidents
        self._telling = Telling(_log)

    async def run(self) -> None:
        """Until it is cancelled."""
        loops = [
            asyncio.create_task(self._forever("keeping the lead", self._lead)),
            asyncio.create_task(self._forever("walking rollouts", self.walk)),
            asyncio.create_task(self._forever("delivering to webhooks", self.deliver)),
            asyncio.create_task(self._forever("archiving the ledger", self.archive)),
            asyncio.create_task(self._forever("remembering what went back", self.remember)),
            asyncio.create_task(self._forever("hearing findings of drift", self.hear_findings)),
            asyncio.create_task(self._forever("attributing drift", self.attribute)),
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            await end(loops)
            await self._walker.close()
            await self._gates.close()
            await self._courier.close()
            await self._leadership.resign()

    async def walk(self) -> float:
        """One tick; seconds until the next."""
        fence = self._leadership.fence
        if fence is None:
            return ACTIVE_S
        return ACTIVE_S if await self._walker.tick(fence) else IDLE_S

    async def deliver(self) -> float:
        """Begins what is due, and looks again as soon as there is room for more; seconds until the next round."""
        fence = self._leadership.fence
        if fence is not None:
            await self._courier.begin(fence)
        await self._courier.wait(_DELIVER_S)
        return 0.0

    async def archive(self) -> float:
        """Shortens the ledger where it is too long; seconds until the next time."""
        fence = self._leadership.fence
        if fence is not None and self._archive is not None:
            await self._archive.keep(self._ledger, fence)
        return _ARCHIVE_S

    async def remember(self) -> float:
        """Keeps what must not be forgotten, as soon as something is decided; seconds until the next time."""
        if self._remembering is None:
            return IDLE_S
        forgotten = await self._remembering.look(self._leadership.fence)
        if forgotten.barred or forgotten.stopped:
            _log.warning("the store had forgotten what went back, or was stopped: it was told again")
        await self._remembering.wait(IDLE_S)
        return _REMEMBER_S

    async def hear_findings(self) -> float:
        """Hears what the sidecar has found; seconds until the next time."""
        fence = self._leadership.fence
        if fence is None or self._findings is None:
            return IDLE_S
        return 0.0 if await self._findings.hear(fence) else IDLE_S

    async def attribute(self) -> float:
        """Looks at what drifts; seconds until the next time."""
        fence = self._leadership.fence
        if fence is not None and self._incidents is not None:
            await self._incidents.look_at_all(fence)
        return IDLE_S

    async def _lead(self) -> float:
        await self._leadership.keep()
        return self._leadership.renew_every_s

    async def _forever(self, name: str, duty: Callable[[], Awaitable[float]]) -> None:
        while True:
            try:
                pause_s = await duty()
            except Exception as error:  # noqa: BLE001 - a duty that failed is tried again; the loop outlives everything
                pause_s = IDLE_S
                self._telling.tell(name, error)
            else:
                self._telling.tell(name, None)
            await asyncio.sleep(pause_s)
