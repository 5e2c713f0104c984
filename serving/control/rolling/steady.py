"""A time that goes on where the store's clock is set: evidence is put in order by it, and what was heard is never late.

The store's clock may be set back by an hour, and then it stamps messages with one and the same millisecond until that
hour is over. So its jumps are measured by the own clock and taken out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from serving.control.rolling.clocks import ALLOWANCE_S

APART_S: Final = 1e-5
"""Messages of one millisecond are told apart by this."""


class Steady:
    """The store's time without its jumps, seconds since 1970.

    Args:
        clock: seconds that only go forward, of this process.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[float, float] | None = None
        self._stamped_s = 0.0
        self.ahead_s = 0.0
        """How far it is ahead of the store's clock."""
        self.now_s = 0.0
        """As of the last look."""

    def begin(self) -> None:
        """Nothing is known of the store's clock any more."""
        self._last, self._stamped_s, self.ahead_s = None, 0.0, 0.0

    def look(self, store_s: float) -> None:
        """The store's clock shows that now."""
        own_s = self._clock()
        if self._last is not None:
            expected_s = self._last[0] + own_s - self._last[1]
            if abs(store_s - expected_s) > ALLOWANCE_S:
                self.ahead_s += expected_s - store_s
        self._last = store_s, own_s
        self.now_s = store_s + self.ahead_s

    def reach(self, at_s: float) -> None:
        """That is a time which has been: it is later than what the clock shows, where that was set back before."""
        if at_s > self.now_s:
            self.ahead_s += at_s - self.now_s
            self.now_s = at_s

    def stamp(self, store_s: float) -> float:
        """When a message came that the store stamped with its time; later than the one before, not later than now."""
        self._stamped_s = max(self._stamped_s + APART_S, min(store_s + self.ahead_s, self.now_s))
        return self._stamped_s
