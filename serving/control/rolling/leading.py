"""Who leads: one conductor at a time, by a lease with a fence.

Whoever holds the lease has a number that no earlier leader had, and shows it with every write; a leader that was
deposed while it slept shows an old one, and writes nothing. A second conductor waits until the lease lapses.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from serving.errors import SluiceError

_log = logging.getLogger(__name__)

LEASE_S: Final = 3.0
RENEWALS_PER_LEASE: Final = 3


class Leases(Protocol):
    """Where the lease is."""

    async def lead(self, holder: str, ttl_s: float) -> int | None:
        """The fence of that holder, which leads for so long; None where another one does."""

    async def resign(self, holder: str) -> None:
        """Lets another one lead."""


class Leadership:
    """One conductor's claim to the lead.

    Args:
        store: where the lease is.
        ttl_s: how long it lives.
        holder: names this conductor.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: Leases,
        *,
        ttl_s: float = LEASE_S,
        holder: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._holder = holder or secrets.token_hex(8)
        self._ttl_s = ttl_s
        self._clock = clock
        self._fence: int | None = None
        self._until_s = 0.0

    @property
    def fence(self) -> int | None:
        """The number to show; None while it does not lead, or cannot know."""
        return self._fence if self._clock() < self._until_s else None

    @property
    def renew_every_s(self) -> float:
        """How often `keep` is to be called."""
        return self._ttl_s / RENEWALS_PER_LEASE

    async def keep(self) -> None:
        """Takes the lead, or renews it."""
        asked_s = self._clock()  # the lease lives at least as long from when it was asked for
        fence = await self._store.lead(self._holder, self._ttl_s)
        if (fence is None) is not (self._fence is None):
            _log.info("waiting for another conductor" if fence is None else "leading, fence %s", *_shown(fence))
        self._fence, self._until_s = fence, asked_s + self._ttl_s

    async def resign(self) -> None:
        """Lets another one lead at once, where the store can be told."""
        self._fence = None
        with suppress(SluiceError):
            await self._store.resign(self._holder)


def _shown(fence: int | None) -> tuple[int, ...]:
    return () if fence is None else (fence,)
