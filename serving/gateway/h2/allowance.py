"""How much of what leads to nothing a peer may send: an amount that time and good deeds refill."""

from __future__ import annotations


class Allowance:
    """A bucket of units.

    Args:
        most: that there may be at once; so many there are at first.
        per_s: that each second adds.

    Attributes:
        left: in it; a good deed is added here.
    """

    __slots__ = ("_at", "_most", "_per_s", "left")

    def __init__(self, most: int, per_s: float) -> None:
        self.left = float(most)
        self._most = float(most)
        self._per_s = per_s
        self._at = 0.0

    def take(self, now: float, units: float = 1.0) -> bool:
        """Takes units as of now (seconds of any clock that does not go back); False where there are too few."""
        self.left = min(self._most, self.left + (now - self._at) * self._per_s) - units
        self._at = now
        return self.left >= 0
