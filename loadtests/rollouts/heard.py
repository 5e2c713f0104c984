"""What clients heard while rollouts moved: every answer noted, stale ones counted, and a flip's two colours timed.

When a version was chosen is not visible to a client; when the request went out is, and choosing follows that by the
time that a gateway needs to read it. So a flip's window is taken between sendings: from the first request that the new
colour answered to the last that the old one did.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field

from loadtests.steady import Answer
from loadtests.verify import Notes

_OK = 200


@dataclass(slots=True)
class Window:
    """One flip, as its answers show it.

    Attributes:
        new: the version that takes over.
        first_new_s: when the first request went out that the new colour answered, seconds of the loop's clock.
        last_old_s: when the last one went out that another version answered.
    """

    new: int
    first_new_s: float = math.inf
    last_old_s: float = -math.inf

    def hear(self, version: int, sent_s: float) -> None:
        """One answer."""
        if version == self.new:
            self.first_new_s = min(self.first_new_s, sent_s)
        else:
            self.last_old_s = max(self.last_old_s, sent_s)

    @property
    def width_s(self) -> float:
        """For how long both answered; infinite where the new colour never did."""
        return max(0.0, self.last_old_s - self.first_new_s) if math.isfinite(self.first_new_s) else math.inf


@dataclass(slots=True)
class Heard:
    """All answers so far.

    Attributes:
        notes: what they said, for `loadtests.verify`.
        stale: those by an older epoch than all gateways had acknowledged before the request went out.
        window: the flip that is under way.
    """

    notes: Notes = field(default_factory=Notes)
    stale: int = 0
    window: Window | None = None
    _acknowledged: list[tuple[float, int]] = field(default_factory=list)

    def acknowledged(self, epoch: int, now_s: float) -> None:
        """From now on every gateway runs this epoch, or a later one."""
        self._acknowledged.append((now_s, epoch))

    def hear(self, answer: Answer) -> None:
        """Notes one answer."""
        self.notes.hear(answer)
        if answer.status != _OK:
            return
        nth = bisect_right(self._acknowledged, (answer.sent_s, -1))
        self.stale += bool(nth) and int(answer.headers["sluice-epoch"]) < self._acknowledged[nth - 1][1]
        if self.window is not None:
            self.window.hear(int(answer.headers["sluice-version"]), answer.sent_s)


def quantile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed; not a number where there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
