"""Whether a version that keeps failing is given a rest: stable answers in its place, one request in a while excepted.

A worker's own and quick reflex, not a verdict: it takes failures in a row, nothing subtler, for a cut by what one
gateway has seen would be a false rollback by another name. It lets go by itself: after the rest, one request is let
through to find out, and its success ends the rest; a failure is another rest. What counts as a failure is decided in
`attempts`; a version is also braked at once where its failures have used up what may be sent twice.

Pure: it is told what happened and when, so that a simulation can run it as a worker does.
"""

from __future__ import annotations

import math
from typing import Final

MOST_IN_A_ROW: Final = 10
"""Failures after which a version is braked. One that fails a fifth of its requests has as many once in ten million."""
REST_S: Final = 30.0
PROBE_EVERY_S: Final = 1.0
"""How long is waited for what becomes of the request that was let through, before another one is."""


class Brake:
    """One version's, in one worker. Times are seconds of any clock that does not go back.

    Args:
        rest_s: how long stable answers in its place.
    """

    __slots__ = ("_probed_at", "_rest_s", "in_a_row", "until")

    def __init__(self, rest_s: float = REST_S) -> None:
        self._rest_s = rest_s
        self._probed_at = math.inf
        self.in_a_row = 0
        """Failures since the last success that counts; 0 while it is free of any."""
        self.until = 0.0
        """When somebody is let through next; 0 while it is not on."""

    def succeeded(self, began: float) -> None:
        """The version answered: whatever there was is over, unless it was asked before anybody was let through.

        Args:
            began: when it was asked.
        """
        if not self.until or began >= self._probed_at:
            self.in_a_row = 0
            self.until = 0.0

    def failed(self, now: float) -> bool:
        """The version failed by its own fault; whether it is thereby braked, having been free until now."""
        self.in_a_row += 1
        return self.put_on(now) if self.until or self.in_a_row >= MOST_IN_A_ROW else False

    def put_on(self, now: float) -> bool:
        """The version gets its rest from now on; whether it was free until now."""
        was_free = not self.until
        self.in_a_row = max(1, self.in_a_row)
        self.until, self._probed_at = now + self._rest_s, math.inf
        return was_free

    def lets(self, now: float) -> bool:
        """Whether a request may go to the version; while it is on, such a request is a probe."""
        if not self.until:
            return True
        if now < self.until:
            return False
        self.until, self._probed_at = now + PROBE_EVERY_S, min(now, self._probed_at)
        return True
