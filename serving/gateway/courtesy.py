"""How many copies a version may have under way without getting in anybody's way.

Two signs say that the queue of a pool grows. One is Triton's own count of requests that it has not begun with, which a
replica's lease tells about once a second: a queue that it takes longer than a moment to work off is no place for a
copy. The other is seen here: copies that take far longer than they used to, or fail. To that a worker answers as a
network's sender does to congestion (Chiu and Jain 1989): one more copy at a time for as many as end well, half as many
where they do not, at most once in the time that a copy takes.

Values only: `now` is an argument.
"""

from __future__ import annotations

from typing import Final

from serving.endpoint import Load

FIRST: Final = 64
"""Copies under way that a version may have before anything is known of it."""
MOST: Final = 1024
_HALF: Final = 0.5
_RECENT: Final = 1 / 8
_USUAL: Final = 1 / 256
_KNOWN_AFTER: Final = 16
_GROWN: Final = 2.0
_A_MOMENT_S: Final = 0.005
"""A growth of less than this is the machine's, not a queue's."""
_LONGEST_QUEUE_S: Final = 0.05
_LONGEST_QUEUE: Final = 16
_PER_PLACE: Final = 4


def queues(load: Load, capacity: int) -> bool:
    """Whether a replica has a queue that a copy should not stand in.

    Args:
        load: what its lease told last.
        capacity: how many requests it works on at once.
    """
    if load.pending is None:
        return False
    if load.throughput:
        return load.pending > max(capacity, load.throughput * _LONGEST_QUEUE_S)
    return load.pending > max(_LONGEST_QUEUE, _PER_PLACE * capacity)


class Courtesy:
    """What one version's copies have shown of its queue."""

    __slots__ = ("_ended", "_recent_s", "_rests_until", "_usual_s", "limit")

    def __init__(self) -> None:
        self.limit = float(FIRST)
        """Copies that may be under way; the whole part of it counts."""
        self._ended = 0
        self._recent_s = 0.0
        self._usual_s = 0.0
        self._rests_until = 0.0

    def lets(self, in_flight: int) -> bool:
        """Whether one more may go out beside so many."""
        return in_flight < int(self.limit)

    def ended(self, took_s: float, now: float, in_flight: int, *, well: bool) -> None:
        """One is over.

        Args:
            took_s: how long it took.
            now: seconds of the loop's clock.
            in_flight: copies that were under way, this one among them.
            well: whether it got an answer that says nothing of overload.
        """
        if well and not self._grows(took_s):
            if 2 * in_flight > self.limit:  # an allowance that nobody uses says nothing
                self.limit = min(float(MOST), self.limit + 1 / self.limit)
        elif now >= self._rests_until:
            self.limit = max(1.0, self.limit * _HALF)
            self._rests_until = now + took_s

    def _grows(self, took_s: float) -> bool:
        """Whether copies take much longer of late than they usually do."""
        self._ended += 1
        if self._ended == 1:
            self._recent_s = self._usual_s = took_s
        self._recent_s += (took_s - self._recent_s) * _RECENT
        self._usual_s += (took_s - self._usual_s) * max(_USUAL, 1 / self._ended)
        return self._ended > _KNOWN_AFTER and self._recent_s > _GROWN * self._usual_s + _A_MOMENT_S
