"""Running totals of gateways become closed blocks of a second each: what one did between two of its messages, summed.

Totals only grow, so a message that is lost merges two blocks and one that comes twice is nothing new. What a gateway
did between two messages is counted only where it ran one epoch throughout, and one of the present leg: which requests
are left out has nothing to do with how they ended. What a gateway had counted before its first message is not known to
be of this leg, and is left out as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from xxhash import xxh3_64_intdigest

from router.evidence.errors import EvidenceError
from router.verdicts.pair_blocks import Copied, PairBlock, PairsGrown
from router.verdicts.tallies import Moment, Tally, arms_joined, people_joined
from router.verdicts.units import UnitBlock, UnitsSeen

LATE_S: Final = 1.0
"""How long a second stays open for messages that are on their way."""
FORGOTTEN_S: Final = 600.0
"""A gateway that has said nothing for so long is gone; if it speaks again, counting begins anew."""
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
        drawn: requests without a unit that were dealt by share, by the version that they were dealt to, since it
            began; those that did not change may be left out.
        units: the units that it saw since its last message; None where it tells of none.
    """

    gateway: str
    at_s: float
    epoch: int
    series: Mapping[tuple[int, str], Tally]
    drawn: Mapping[int, int] = MappingProxyType({})
    units: UnitsSeen | None = None


class _Last(NamedTuple):
    at_s: float
    epoch: int
    series: Mapping[tuple[int, str], Tally]
    drawn: Mapping[int, int]


class _Open(NamedTuple):
    """A second that is not closed yet."""

    candidate: Mapping[str, Tally] = MappingProxyType({})
    stable: Mapping[str, Tally] = MappingProxyType({})
    drawn: tuple[int, int] | None = None
    people: UnitBlock | None = None
    pairs: PairBlock | None = None


class Blocks:
    """The open and the closed seconds of one candidate beside stable.

    Not stored: after a restart it is told again what was sent since shortly before the newest block that was judged.

    Args:
        candidate: its version.
        stable: that of stable.
        epoch: the first of the present leg.
        judged_s: when the newest block that was judged closed; messages up to then tell only where counting begins.
        seed: from which ties are broken; the rollout's own.
        copied: how the candidate gets copies on the present leg; None where it gets none.
    """

    def __init__(
        self, candidate: int, stable: int, *, epoch: int, judged_s: float, seed: bytes, copied: Copied | None = None
    ) -> None:
        self._versions = (candidate, stable)
        self._copied = copied
        self._epoch = epoch
        self._judged_s = judged_s
        self._next = int(judged_s)  # the first second that is still open
        self._seed = seed
        self._last: dict[str, _Last] = {}
        self._open: dict[int, _Open] = {}
        self._newest_s = 0.0

    @property
    def newest_s(self) -> float:
        """When the newest message was sent; 0 before the first."""
        return self._newest_s

    def leg(self, epoch: int, copied: Copied | None = None) -> None:
        """A new leg begins with this epoch: what gateways do under an older one is not counted any more.

        Nor is what has been heard of the seconds that are still open: a second belongs to one leg, for its shares are
        what its units are held against. Close first what can be closed, and judge it.
        """
        if epoch != self._epoch:
            self._epoch, self._copied = epoch, copied
            self._open.clear()

    def hear(self, totals: Totals) -> None:
        """One message. Those of one gateway come in the order in which they were sent; a repeated one is passed."""
        last = self._last.get(totals.gateway)
        if last is not None and totals.at_s <= last.at_s:
            return
        self._newest_s = max(self._newest_s, totals.at_s)
        known = _Last(0.0, 0, {}, {}) if last is None else last
        series, drawn = {**known.series, **totals.series}, {**known.drawn, **totals.drawn}
        self._last[totals.gateway] = _Last(totals.at_s, totals.epoch, series, drawn)
        if last is not None and last.epoch == totals.epoch >= self._epoch and totals.at_s >= self._judged_s:
            self._add(max(int(totals.at_s), self._next), last, totals)

    def hear_pairs(self, grown: PairsGrown) -> None:
        """What a keeper found between two of its messages, which come in the order in which they were sent.

        It is counted where all of it was found under one epoch of the present leg, as far as the newest pair tells; one
        that was asked before and answered after a change is of the same two versions.
        """
        copied, whose = self._copied, (grown.candidate, grown.stable)
        self._newest_s = max(self._newest_s, grown.at_s)
        if copied is None or grown.salt != copied.salt or whose != self._versions:
            return
        if grown.before == grown.epoch >= self._epoch and grown.at_s >= self._judged_s:
            second = max(int(grown.at_s), self._next)
            known, more = self._open.get(second, _Open()), grown.more.on(lane=copied.lane)
            self._open[second] = known._replace(pairs=more if known.pairs is None else known.pairs.merge(more))

    def _add(self, second: int, before: _Last, now: Totals) -> None:
        candidate, stable = (_since(before.series, now.series, version) for version in self._versions)
        drawn = _drawn_since(before.drawn, now.drawn, self._versions)
        people = None if now.units is None else UnitBlock.of(now.units, *self._versions)
        if candidate or stable or drawn is not None or people is not None:
            known = self._open.get(second, _Open())
            self._open[second] = _Open(
                arms_joined(known.candidate, candidate),
                arms_joined(known.stable, stable),
                _both(known.drawn, drawn),
                people_joined(known.people, people),
                known.pairs,
            )

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
        self._forget()
        return closed

    def _forget(self) -> None:
        gone = [name for name, last in self._last.items() if self._newest_s - last.at_s > FORGOTTEN_S]
        for name in gone:
            del self._last[name]

    def _moment(self, second: int) -> Moment:
        known = self._open.pop(second, _Open())
        draw = xxh3_64_intdigest(self._seed + second.to_bytes(8, "big")) / _WHOLE
        draw = min(draw, 1 - 2**-53)
        end_s = float(second + 1)
        return Moment(end_s, known.candidate, known.stable, draw, known.drawn, known.people, known.pairs)


def _since(
    before: Mapping[tuple[int, str], Tally], now: Mapping[tuple[int, str], Tally], version: int
) -> Mapping[str, Tally]:
    """What each replica of this version did between two messages; a series that ran backwards began anew."""
    found = {}
    for (of, replica), tally in now.items():
        if of == version:
            grown = _grown(before.get((of, replica), _NOTHING), tally)
            if grown is not None and grown != _NOTHING:
                found[replica] = grown
    return found


def _drawn_since(
    before: Mapping[int, int], now: Mapping[int, int], versions: tuple[int, int]
) -> tuple[int, int] | None:
    """Draws of both versions between two messages; None where there were none, or they ran backwards."""
    more = tuple(now.get(version, before.get(version, 0)) - before.get(version, 0) for version in versions)
    return (more[0], more[1]) if any(more) and min(more) >= 0 else None


def _both(first: tuple[int, int] | None, then: tuple[int, int] | None) -> tuple[int, int] | None:
    return (first[0] + then[0], first[1] + then[1]) if first is not None and then is not None else first or then


def _grown(before: Tally, now: Tally) -> Tally | None:
    try:
        return Tally(
            _more(before.outcomes, now.outcomes),
            _more(before.answered, now.answered),
            _more(before.unanswered, now.unanswered),
            _more(before.predicted, now.predicted),
        )
    except EvidenceError:
        return None


def _more(before: Mapping[_K, int], now: Mapping[_K, int]) -> Mapping[_K, int]:
    return {name: more for name, count in now.items() if (more := count - before.get(name, 0))}


_NOTHING = Tally()
