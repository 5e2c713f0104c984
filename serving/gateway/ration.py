"""How many copies one shadow may get from this worker, and which it did not get.

What a policy allows is in its `Shadow`, and may change with every epoch; what was used up is here, and outlives them,
so that a change of policy is no new allowance. A rate is kept by a token bucket: in any time t a shadow gets no more
than ``max_per_s * t`` copies and a tenth of a second's worth (one at least), each worker on its own.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from router.policy import Shadow

_BURST_S: Final = 0.1


class Dropped(StrEnum):
    """Why there was no copy."""

    NO_REPLICA = "no_replica"
    NOT_WHOLE = "not_whole"
    """The body was too large to be held, or its end had not come."""
    FULL = "full"
    """The worker has as many copies under way as it may, of all shadows together."""
    IN_FLIGHT = "max_in_flight"
    RATE = "max_per_s"


class Ration:
    """What one shadow had of its budget."""

    __slots__ = ("_at", "_tokens", "dropped", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        """Copies under way."""
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

    def drop(self, why: Dropped) -> None:
        """Counts a copy that there is none of."""
        self.dropped[why] = self.dropped.get(why, 0) + 1

    def _take_token(self, rate_per_s: int, now: float) -> bool:
        bucket = max(1.0, rate_per_s * _BURST_S)
        self._tokens = min(bucket, self._tokens + (now - self._at) * rate_per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
