"""Running totals of gateways become closed blocks of a second each: what one did between two of its messages, summed.

Totals only grow, so a message that is lost merges two blocks and one that comes twice is nothing new. What a gateway
did between two messages is counted only where it ran one epoch throughout, and one of the present leg: which requests
are left out has nothing to do with how they ended. What a gateway had counted before its first message is not known to
be of this leg, and is left out as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from xxhash import xxh3_64_intdigest

from router.evidence.errors import EvidenceError
from router.verdicts.tallies import Moment, Tally, arms_joined

LATE_S: Final = 1.0
"""How long a second stays open for messages that are on their way."""
LONGEST_GAP_S: Final = 60
"""Of seconds without any message, no more than these are closed one by one."""
_WHOLE = 2.0**64
_K = TypeVar("_K", str, int)


class Totals(NamedTuple):
    """What one worker of a gateway has counted of one model since it began.

    Attributes:
        gateway: whose, with the start that they count from: a gateway that begins again is another one.
        at_s: when they were sent, in seconds of the clock that all messages are stamped by.
        epoch: what it ran.
        series: first attempts by (version, replica); those that did not change may be left out.
    """

    gateway: str
    at_s: float
    epoch: int
    series: Mapping[tuple[int, str], Tally]


class _Last(NamedTuple):
    epoch: int
    series: Mapping[tuple[int, str], Tally]


class Blocks:
    """The open and the closed seconds of one candidate beside stable.

    Not stored: after a restart it is told again what was sent since shortly before the newest block that was judged.

    Args:
        candidate: its version.
        stable: that of stable.
        epoch: the first of the present leg.
        judged_s: when the newest block that was judged closed; messages up to then tell only where counting begins.
        seed: from which ties are broken; the rollout's own.
    """

    def __init__(self, candidate: int, stable: int, *, epoch: int, judged_s: float, seed: bytes) -> None:
        self._versions = (candidate, stable)
        self._epoch = epoch
        self._judged_s = judged_s
        self._next = int(judged_s)  # the first second that is still open
        self._seed = seed
        self._last: dict[str, _Last] = {}
        self._open: dict[int, tuple[Mapping[str, Tally], Mapping[str, Tally]]] = {}
        self._newest_s = 0.0

    @property
    def newest_s(self) -> float:
        """When the newest message was sent; 0 before the first."""
        return self._newest_s

    def leg(self, epoch: int) -> None:
        """A new leg begins with this epoch: what gateways do under an older one is not counted any more."""
        self._epoch = epoch

    def hear(self, totals: Totals) -> None:
        """One message. Those of one gateway come in the order in which they were sent, or again."""
        last = self._last.get(totals.gateway)
        self._newest_s = max(self._newest_s, totals.at_s)
        if last is None:
            self._last[totals.gateway] = _Last(totals.epoch, dict(totals.series))
            return
        self._last[totals.gateway] = _Last(totals.epoch, {**last.series, **totals.series})
        same = last.epoch == totals.epoch >= self._epoch
        if same and totals.at_s > self._judged_s:
            self._add(max(int(totals.at_s), self._next), last.series, totals.series)

    def _add(self, second: int, before: Mapping[tuple[int, str], Tally], now: Mapping[tuple[int, str], Tally]) -> None:
        candidate, stable = (_since(before, now, version) for version in self._versions)
        if candidate or stable:
            arms = self._open.get(second, ({}, {}))
            self._open[second] = (arms_joined(arms[0], candidate), arms_joined(arms[1], stable))

    def close(self, now_s: float) -> list[Moment]:
        """The seconds for which nothing is on its way any more, in order; each is given once.

        Args:
            now_s: by the clock that messages are stamped by.
        """
        end = int(now_s - LATE_S)
        if self._next + LONGEST_GAP_S < end:
            self._next = min([end - LONGEST_GAP_S, *self._open])
        closed = [self._moment(second) for second in range(self._next, end)]
        self._next = max(self._next, end)
        return closed

    def _moment(self, second: int) -> Moment:
        candidate, stable = self._open.pop(second, ({}, {}))
        draw = xxh3_64_intdigest(self._seed + second.to_bytes(8, "big")) / _WHOLE
        return Moment(float(second + 1), candidate, stable, min(draw, 1 - 2**-53))


def _since(
    before: Mapping[tuple[int, str], Tally], now: Mapping[tuple[int, str], Tally], version: int
) -> Mapping[str, Tally]:
    """What each replica of this version did between two messages; a series that ran backwards began anew."""
    found = {}
    for (of, replica), tally in now.items():
        if of == version:
            grown = _grown(before.get((of, replica), _NOTHING), tally)
            if grown is not None and (grown.outcomes or grown.answered or grown.unanswered):
                found[replica] = grown
    return found


def _grown(before: Tally, now: Tally) -> Tally | None:
    try:
        return Tally(
            _more(before.outcomes, now.outcomes),
            _more(before.answered, now.answered),
            _more(before.unanswered, now.unanswered),
        )
    except EvidenceError:
        return None


def _more(before: Mapping[_K, int], now: Mapping[_K, int]) -> Mapping[_K, int]:
    return {name: more for name, count in now.items() if (more := count - before.get(name, 0))}


_NOTHING = Tally()
