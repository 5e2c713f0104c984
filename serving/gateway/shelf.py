"""What copies may cost a worker: the bytes that they keep, and those that are read of their answers.

Both bounds are the worker's own, for all copies together, whatever a shadow answers. What does not fit on the shelf is
not kept; what may not be read yet waits at whoever sends it. Values only: `now` is an argument.
"""

from __future__ import annotations

from typing import Final

MOST_KEPT: Final = 64 * 1024 * 1024
"""Bytes of requests and answers that copies and pairs of one worker keep at once."""
_BURST: Final = 256 * 1024


class Shelf:
    """How many bytes are kept.

    Args:
        most: at once.
    """

    __slots__ = ("_most", "kept", "refused")

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self.kept = 0
        """Bytes that are kept now."""
        self.refused = 0
        """Pieces that were not kept, since the worker began."""

    def fits(self, size: int) -> bool:
        """Whether there is room for so many bytes."""
        return self.kept + size <= self._most

    def put(self, size: int) -> bool:
        """Keeps so many bytes; False where there is no room for them."""
        if not self.fits(size):
            self.refused += 1
            return False
        self.kept += size
        return True

    def take(self, size: int) -> None:
        """They are kept no longer."""
        self.kept -= size


class Pace:
    """How fast answers of copies are read: a token bucket that may run into debt by one piece.

    Args:
        per_s: bytes a second.
    """

    __slots__ = ("_at", "_left", "_per_s")

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = float(_BURST)
        self._at = 0.0

    def wait_s(self, size: int, now: float) -> float:
        """So many bytes have been read: for how many seconds nothing more should be, 0 for none."""
        self._left = min(float(_BURST), self._left + (now - self._at) * self._per_s) - size
        self._at = now
        return max(0.0, -self._left / self._per_s)
