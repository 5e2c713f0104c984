"""Units of assignment, counted exactly on a sample by hash: who was seen, and for whom something went wrong first.

A gateway tells a second hash of each unit that it saw, where that lies below a threshold. Which units are in the
sample depends on nothing but their names, so that what is true of the sample is true of all. A unit that several
gateways saw is one unit, and one that comes again in a later message is the same one. Sets are bounded: when there are
too many, the threshold is halved, and half of them are forgotten by their names alone.

Of a unit only its first event counts, and only while it has had none is it at risk: a user whose every request fails is
one fact, not a thousand (Cox 1972 has the idea of the risk set).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError

ALL: Final = 2**53
"""The threshold below which every hash lies."""
MOST_UNITS: Final = 8_192
"""So many are remembered of a rollout; more halve the sample."""
MINUTE_S: Final = 60.0
UNCOUNTED: Final = frozenset({"cancelled"})
"""The client went away: no outcome of the version's."""

_Outcomes = Mapping[int, frozenset[str]]


class Took(NamedTuple):
    """How long a unit's attempt took.

    Attributes:
        bucket: of that time.
        answered: whether it was answered then; else it had no answer until then.
    """

    bucket: int
    answered: bool = True


class Sighting(NamedTuple):
    """What one message says of one unit.

    Attributes:
        unit: its hash.
        version: that it was dealt to.
        outcomes: names of how its first attempts ended; none where none has ended yet.
        took: how long that one took that ended first; None where none has, or where nobody knows.
    """

    unit: int
    version: int
    outcomes: frozenset[str]
    took: Took | None = None


class UnitsSeen(NamedTuple):
    """What one message says of units.

    Attributes:
        threshold: hashes from here on were left out; 2**53 where none was.
        seen: each unit, in the order in which they are told.
    """

    threshold: int = ALL
    seen: tuple[Sighting, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitBlock:
    """The units of one block of time, over all gateways; each is there once in an arm.

    Attributes:
        threshold: hashes from here on are left out, as by the gateway that left out most.
        candidate: by hash, how its first attempts ended in this block; no name where none did.
        stable: the same of stable's.
        took: by hash, how long that of its first attempts took which ended first.
    """

    threshold: int = ALL
    candidate: _Outcomes = field(default_factory=dict)
    stable: _Outcomes = field(default_factory=dict)
    took: Mapping[int, Took] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a threshold that is none, and leave out whom it leaves out."""
        if not 1 <= self.threshold <= ALL:
            raise EvidenceError(f"a threshold of hashes lies between 1 and 2**53, not at {self.threshold!r}")
        for told in ("candidate", "stable", "took"):
            kept = {unit: what for unit, what in getattr(self, told).items() if 0 <= unit < self.threshold}
            object.__setattr__(self, told, MappingProxyType(kept))

    @classmethod
    def of(cls, said: UnitsSeen, candidate: int, stable: int) -> UnitBlock:
        """What one message says of two versions."""
        arms: dict[int, dict[int, frozenset[str]]] = {candidate: {}, stable: {}}
        took: dict[int, Took] = {}
        for unit, version, names, lasted in said.seen:
            if version in arms:
                arms[version][unit] = arms[version].get(unit, frozenset()) | names
                if lasted is not None:
                    took.setdefault(unit, lasted)
        return cls(said.threshold, arms[candidate], arms[stable], took)

    def merge(self, other: UnitBlock) -> UnitBlock:
        """Both as one: of the same time from two gateways, or neighbours, of which the other is the later.

        How long an attempt took is that of the first which was told of; for all else the order does not matter.
        """
        return UnitBlock(
            min(self.threshold, other.threshold),
            _joined(self.candidate, other.candidate),
            _joined(self.stable, other.stable),
            {**other.took, **self.took},
        )

    @property
    def estimated(self) -> float:
        """How many units there were in this block, sampled or not."""
        return (len(self.candidate) + len(self.stable)) * (ALL / self.threshold)


def _joined(first: _Outcomes, then: _Outcomes) -> dict[int, frozenset[str]]:
    nobody: frozenset[str] = frozenset()
    return {unit: first.get(unit, nobody) | then.get(unit, nobody) for unit in first.keys() | then.keys()}


class Met(NamedTuple):
    """Units of a block that were dealt independently of all before, each as (the candidate's, stable's).

    Attributes:
        new: those that this rollout has not seen before.
        returned: those that stable had under the shares before, for the first time under these.
    """

    new: tuple[int, int] = (0, 0)
    returned: tuple[int, int] = (0, 0)


class Dealt(NamedTuple):
    """How many draws of one block came with a unit (an estimate), and how many did not."""

    ended_s: float
    with_unit: float
    without: float


@dataclass(frozen=True, slots=True)
class People:
    """What is remembered of a rollout's units.

    Attributes:
        threshold: hashes from here on are left out; halves when there are too many.
        known: units that were seen in this rollout.
        stable: those of them that stable had, under the present shares.
        before: those that it had under the shares before, and that have not come since.
        failed: those that have had their first event, by what guardrails watch.
        minute: the draws of the last minute, the oldest first.
        timed: those of the known whose first latency has been counted.
    """

    threshold: int = ALL
    known: frozenset[int] = frozenset()
    stable: frozenset[int] = frozenset()
    before: frozenset[int] = frozenset()
    failed: Mapping[str, frozenset[int]] = field(default_factory=dict)
    minute: tuple[Dealt, ...] = ()
    timed: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "failed", MappingProxyType(dict(self.failed)))

    def by_unit(self, dealt: Dealt) -> bool:
        """Whether the block with these draws is judged by units: more than half of those of the minute before had one.

        Where there were none, the block's own draws say it: how they ended has no part in that.
        """
        before = [one for one in self.minute if dealt.ended_s - one.ended_s <= MINUTE_S]
        several = before if any(one.with_unit or one.without for one in before) else [dealt]
        return sum(one.with_unit for one in several) > sum(one.without for one in several)

    def dealt(self, dealt: Dealt) -> People:
        """With the draws of one more block."""
        kept = tuple(one for one in self.minute if dealt.ended_s - one.ended_s < MINUTE_S)
        return replace(self, minute=(*kept, dealt) if dealt.with_unit or dealt.without else kept)

    def ramped(self) -> People:
        """From here on units are dealt by other shares."""
        return replace(self, stable=frozenset(), before=self.stable)

    def met(self, block: UnitBlock) -> tuple[Met, People]:
        """Which units of a block are draws of their own, and who is known then.

        Buckets stay where they are, so that a unit of the candidate's is one for ever, and says nothing new. A unit
        that both arms saw in one block was dealt by two policies: it counts for neither.
        """
        arms = [{unit for unit in arm if unit < self.threshold} for arm in (block.candidate, block.stable)]
        twice = arms[0] & arms[1]
        new, returned = ([arm - twice - self.known for arm in arms], [(arm - twice) & self.before for arm in arms])
        seen = arms[0] | arms[1]
        if not seen:
            return Met(), self
        after = replace(
            self,
            known=self.known | seen,
            stable=(self.stable | arms[1]) - arms[0],
            before=self.before - seen,
        )
        return Met((len(new[0]), len(new[1])), (len(returned[0]), len(returned[1]))), after.bounded()

    def first_events(self, block: UnitBlock, watches: str, names: Collection[str]) -> tuple[Block, People]:
        """The first events among the units at risk, and who has had one then.

        Args:
            block: the units of a block.
            watches: under which name events of this kind are remembered.
            names: the outcomes that are events.
        """
        before = self.failed.get(watches, frozenset())
        arms = [self._at_risk(arm, before) for arm in (block.candidate, block.stable)]
        hits = [{unit for unit, outcomes in arm.items() if not outcomes.isdisjoint(names)} for arm in arms]
        counted = Block.of(candidate=(len(hits[0]), len(arms[0])), stable=(len(hits[1]), len(arms[1])))
        if not any(hits):
            return counted, self
        return counted, replace(self, failed={**self.failed, watches: before.union(*hits)})

    def first_latencies(self, block: UnitBlock) -> tuple[tuple[list[Took], list[Took]], People]:
        """How long the first attempts took of units that were not asked for that before, as (candidate's, stable's).

        Each is counted once in a rollout, whichever version has it later: its first latency was nobody's choice, and
        what follows is the same user's luck again. One that both arms saw in one block is asked no more, and counts
        for neither.
        """
        new = [unit for unit in block.took if unit in self.known and unit not in self.timed]
        if not new:
            return ([], []), self
        ours, theirs = (
            [block.took[unit] for unit in new if unit in arm and unit not in other]
            for arm, other in ((block.candidate, block.stable), (block.stable, block.candidate))
        )
        return (ours, theirs), replace(self, timed=self.timed.union(new))

    def _at_risk(self, arm: _Outcomes, failed: frozenset[int]) -> dict[int, frozenset[str]]:
        return {
            unit: outcomes
            for unit, outcomes in arm.items()
            if unit < self.threshold and unit not in failed and outcomes - UNCOUNTED
        }

    def bounded(self, most: int = MOST_UNITS) -> People:
        """With so few units that they can be kept."""
        people = self
        while len(people.known) > most:
            threshold = people.threshold // 2
            sets = people.known, people.stable, people.before, people.timed
            known, stable, before, timed = (_below(threshold, one) for one in sets)
            failed = {watches: _below(threshold, units) for watches, units in people.failed.items()}
            people = People(threshold, known, stable, before, failed, people.minute, timed)
        return people


def _below(threshold: int, units: Iterable[int]) -> frozenset[int]:
    return frozenset(unit for unit in units if unit < threshold)
