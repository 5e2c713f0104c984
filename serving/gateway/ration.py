"""How many copies one shadow may get from this worker, and which it did not get.

What a policy allows is in its `Shadow`, and may change with every epoch; what was used up is here, and outlives them,
so that a change of policy is no new allowance. A rate is kept by a token bucket: in any time t a shadow gets no more
than ``max_per_s * t`` copies and a tenth of a second's worth (one at least), each worker on its own.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from serving.gateway.courtesy import Courtesy

if TYPE_CHECKING:
    from router.policy import Shadow

_BURST_S: Final = 0.1
_MOST_TALLIES: Final = 64


class Dropped(StrEnum):
    """Why there was no copy."""

    NO_REPLICA = "no_replica"
    NOT_WHOLE = "not_whole"
    """The body was too large to be held, or its end had not come."""
    FULL = "full"
    """The worker has as many copies under way as it may, of all shadows together."""
    IN_FLIGHT = "max_in_flight"
    RATE = "max_per_s"
    BUSY = "gateway_busy"
    """The worker has so many requests that copies would be in their way."""
    QUEUE = "queue"
    """Its pool has a queue that a copy should not stand in."""
    BACKING_OFF = "backing_off"
    """Copies take longer than they used to, or fail: fewer are under way until that is over."""
    MEMORY = "memory"
    """The worker keeps as many bytes for copies as it may."""
    EXPIRED = "expired"
    """It went out, and its model's server gave it up unseen, for it had waited in the queue for as long as it may."""
    ABANDONED = "abandoned"
    """It went out, and the worker ended before its answer came."""


class Tally:
    """What became of the copies of one shadow of a policy, since the worker began."""

    __slots__ = ("offered", "shed")

    def __init__(self) -> None:
        self.offered = 0
        """Requests in its sample."""
        self.shed: dict[Dropped, int] = {}
        """Those that were not copied, by reason."""

    @property
    def sent(self) -> int:
        """Those that were."""
        return self.offered - sum(self.shed.values())


class Ration:
    """What one shadow had of its budget."""

    __slots__ = ("_at", "_tokens", "courtesy", "dropped", "in_flight", "tallies")

    def __init__(self) -> None:
        self.in_flight = 0
        """Copies under way."""
        self.courtesy = Courtesy()
        """How many may be, as far as its queue goes."""
        self.tallies: dict[str, Tally] = {}
        """By the shadow's salt: a rollout's shadow has one of its own. Only the latest are remembered."""
        self.dropped: dict[Dropped, int] = {}
        """Copies that there were none of, by reason."""
        self._tokens = math.inf  # as many as a bucket holds, whatever that will be
        self._at = 0.0

    def take(self, shadow: Shadow, now: float) -> Dropped | None:
        """Uses up one copy; why there is to be none, where the budget has none left.

        Args:
            shadow: what is allowed.
            now: seconds of the loop's clock.
        """
        if shadow.max_in_flight is not None and self.in_flight >= shadow.max_in_flight:
            return Dropped.IN_FLIGHT
        if shadow.max_per_s is not None and not self._take_token(shadow.max_per_s, now):
            return Dropped.RATE
        return None

    def offer(self, salt: str) -> None:
        """Counts a request that is in the sample of the shadow with this salt."""
        tally = self.tallies.get(salt)
        if tally is None:
            tally = self.tallies[salt] = Tally()
            while len(self.tallies) > _MOST_TALLIES:
                del self.tallies[next(iter(self.tallies))]
        tally.offered += 1

    def drop(self, why: Dropped, salt: str) -> None:
        """Counts a copy that there is none of, or that must not count as one."""
        self.dropped[why] = self.dropped.get(why, 0) + 1
        if (tally := self.tallies.get(salt)) is not None:
            tally.shed[why] = tally.shed.get(why, 0) + 1

    def _take_token(self, rate_per_s: int, now: float) -> bool:
        bucket = max(1.0, rate_per_s * _BURST_S)
        self._tokens = min(bucket, self._tokens + (now - self._at) * rate_per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
