"""Whether a process of the generator has time to spare: one that is never idle measures itself, and no server.

How late requests were does not tell that: once all of its users are behind, none of them waits for a request any more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_NO_TIME_TO_SPARE = 0.9
_SCHEDSTAT = Path("/proc/self/schedstat")
_NS = 1e9


@dataclass(frozen=True, slots=True)
class Moment:
    """A process at a moment.

    Attributes:
        at_s: when, by `time.monotonic`.
        worked_s: for how long its main thread has had something to do: it ran, or waited for a processor.
    """

    at_s: float
    worked_s: float

    @classmethod
    def now(cls) -> Self:
        """This process; where the system does not tell who waited for a processor, what ran counts alone."""
        try:
            ran, waited = _SCHEDSTAT.read_text().split()[:2]
            return cls(time.monotonic(), (int(ran) + int(waited)) / _NS)
        except (OSError, ValueError):
            return cls(time.monotonic(), time.thread_time())

    def busy_until(self, later: Self) -> float:
        """The seconds from here to there where it was as good as never idle in them, else 0."""
        passed_s = later.at_s - self.at_s
        return passed_s if later.worked_s - self.worked_s > _NO_TIME_TO_SPARE * passed_s else 0.0
