"""What feedback says of a candidate: is a mean worse than stable's, is it better, and can the values be trusted?

Feedback comes hours after its request and out of order, so blocks are of arrival: what came since the last look, of
requests that were dealt under the same shares. Within such a segment both arms' requests have the same ages, so a trend
moves no difference (T4, `router.evidence.means`). A segment's news wait until each arm has `FEWEST`: by their numbers,
never by what they say. Where values lie between 0 and 1 by declaration, bets on the blocks' differences decide in the
place of T4: they need no central limit theorem.

A value is the first of its unit where requests name units: the unit of analysis is that of assignment.

Feedback that one arm gives less often than the other is of chosen requests. So the numbers of values are held against
the shares as well (T6), and while they do not fit, nothing is held against the candidate or for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from router.evidence.betting import Bets, BoundedTest
from router.evidence.counts import NOTHING, Block
from router.evidence.means import Means, MeanTest, variance_for
from router.evidence.sample_ratio import ALPHA, Phase
from router.evidence.samples import Pair
from router.evidence.sequential import threshold
from router.verdicts.values import Values

FEWEST: Final = 10
"""So many values each arm has in a block at least."""
BLOCKS_AHEAD: Final = 100
"""The test is tuned for so many blocks like the first, which is not judged."""
MOST_SEGMENTS: Final = 128


class Better(StrEnum):
    """Which way a metric is better."""

    HIGHER = "higher"
    LOWER = "lower"

    @property
    def harm(self) -> int:
        """1 where more is worse, -1 where less is worse."""
        return 1 if self is Better.LOWER else -1


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured.

    Attributes:
        metric: its name in feedback.
        better: which way.
        effect: δ0, in units of the metric: how much worse is tolerated.
        bounded: whether every value lies between 0 and 1.
    """

    metric: str
    better: Better = Better.HIGHER
    effect: float = 0.0
    bounded: bool = False


class Segment(NamedTuple):
    """Both arms' values of requests that were dealt under one set of shares.

    Attributes:
        shares: the candidate's and stable's, parts per million; (0, 0) where nobody knows them.
        candidate: all of its values so far.
        stable: all of stable's.
    """

    shares: tuple[int, int]
    candidate: Values
    stable: Values


@dataclass(frozen=True, slots=True)
class Rewards:
    """The evidence at a metric.

    Attributes:
        measure: what is measured.
        worse: against "its mean is no worse than tolerated" (T4); None before the first block has tuned it.
        good: against "its mean is no better than stable's" (T4 with the arms exchanged).
        bets: the same two by betting; None where values are not bounded.
        segments: what was heard so far, by the epoch with which each segment began.
        judged: of each segment, what was in blocks.
    """

    measure: Measure
    worse: Means | None = None
    good: Means | None = None
    bets: tuple[Bets, Bets] | None = None
    segments: Mapping[int, Segment] = field(default_factory=dict)
    judged: Mapping[int, tuple[Values, Values]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", MappingProxyType(dict(self.segments)))
        object.__setattr__(self, "judged", MappingProxyType(dict(self.judged)))

    def told(self, segment: int, now: Segment) -> Rewards:
        """With a segment's values as they are now; told again what it knows, it is the same value."""
        known = self.segments.get(segment)
        shares = now.shares if any(now.shares) or known is None else known.shares
        found = Segment(shares, now.candidate, now.stable)
        if known == found or (known is None and len(self.segments) >= MOST_SEGMENTS):
            return self
        before = self.judged.get(segment, (Values(), Values()))
        heard = replace(self, segments={**self.segments, segment: found})
        if known is not None and _shrunk(known, found):  # the store has lost some: what comes from here on is judged
            return replace(heard, judged={**self.judged, segment: (found.candidate, found.stable)})
        fresh = found.candidate.since(before[0]), found.stable.since(before[1])
        if min(fresh[0].count, fresh[1].count) < FEWEST:
            return heard
        judged = {**self.judged, segment: (found.candidate, found.stable)}
        return _judged(replace(heard, judged=judged), Pair(fresh[0].sample, fresh[1].sample))

    def restarted(self, _guardrail: object) -> Rewards:
        """The same: feedback comes too late for copies that begin with a step."""
        return self

    @property
    def mismatch(self) -> float:
        """What speaks against both arms' requests having had feedback alike (T6), as a log e-value."""
        found = [
            Phase(one.shares, (one.candidate.count, one.stable.count)).log_e
            for one in self.segments.values()
            if all(one.shares)
        ]
        return sum(found)

    @property
    def trusted(self) -> bool:
        """Whether the numbers of values fit the shares."""
        return self.mismatch < threshold(ALPHA)

    @property
    def harm(self) -> Said:
        """What is held against it."""
        return Said(self._log_e(0) if self.trusted else 0.0)

    @property
    def better(self) -> Said:
        """What is held for it."""
        return Said(self._log_e(1) if self.trusted else 0.0)

    def _log_e(self, which: int) -> float:
        if self.bets is not None:
            return self.bets[which].log_e
        test = (self.worse, self.good)[which]
        return 0.0 if test is None else test.log_e

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """Candidate minus stable, in units of the metric: right at every look at this level; None where unknown."""
        found = None if self.worse is None else self.worse.interval(alpha)
        if found is None:
            return None
        low, high = found
        return (low, high) if self.measure.better.harm > 0 else (-high, -low)

    @property
    def totals(self) -> tuple[Values, Values]:
        """The candidate's values and stable's, of all segments."""
        arms = Values(), Values()
        for one in self.segments.values():
            arms = arms[0].plus(one.candidate), arms[1].plus(one.stable)
        return arms

    @property
    def difference(self) -> float:
        """Candidate minus stable: weighted over blocks where there were two at least, else of the totals."""
        if self.worse is not None and self.worse.weight:
            return self.measure.better.harm * self.worse.difference / self.worse.weight
        candidate, stable = self.totals
        return candidate.mean - stable.mean if candidate.count and stable.count else 0.0

    @property
    def seen(self) -> Block:
        """No event is counted here."""
        return NOTHING

    def certificate(self, _name: str) -> None:
        """Promotion asks nothing of it: feedback may come long after."""


class Said(NamedTuple):
    """A log e-value."""

    log_e: float


def _judged(heard: Rewards, block: Pair) -> Rewards:
    measure, after = heard.measure, heard
    if measure.bounded:
        after = replace(after, bets=_bet(after.bets or _no_bets(measure), measure, block))
    if after.worse is None or after.good is None:
        worse, good = _tests(measure, variance_for(block, BLOCKS_AHEAD))
        return replace(after, worse=Means(worse), good=Means(good))
    return replace(after, worse=after.worse.add(block), good=after.good.add(block))


def _shrunk(known: Segment, found: Segment) -> bool:
    return found.candidate.count < known.candidate.count or found.stable.count < known.stable.count


def _tests(measure: Measure, variance: float) -> tuple[MeanTest, MeanTest]:
    harm = measure.better.harm
    return MeanTest(variance, measure.effect, harm), MeanTest(variance, 0.0, -harm)


def _no_bets(measure: Measure) -> tuple[Bets, Bets]:
    return Bets(BoundedTest(mean=measure.effect)), Bets(BoundedTest())


def _bet(bets: tuple[Bets, Bets], measure: Measure, block: Pair) -> tuple[Bets, Bets]:
    """One bet for each block, on the difference of its means, which lies between -1 and 1."""
    worse = measure.better.harm * (block.candidate.mean - block.stable.mean)
    worse = min(1.0, max(-1.0, worse))
    return bets[0].add([worse]), bets[1].add([-worse])


def opened_rewards(measure: Measure) -> Rewards:
    """A docket without evidence."""
    return Rewards(measure)
