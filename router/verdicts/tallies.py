"""What a gateway counted in one block of time, as the tests of evidence want it: first attempts, by replica.

Outcomes go by the names that gateways give them. An attempt that had no answer (broken, late, given up) has no latency,
only a time after which it still had none: it is slower than any limit that it outlived, and unknown otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.verdicts.pair_blocks import PairBlock
from router.verdicts.units import UNCOUNTED, Took, UnitBlock

_K = TypeVar("_K", str, int)


@dataclass(frozen=True, slots=True)
class Tally:
    """First attempts at one replica, or at several together.

    Attributes:
        outcomes: how many, by the gateway's name of how they ended.
        answered: how many by bucket of latency, of those that were answered.
        unanswered: how many by bucket of the time after which there was still no answer.
        predicted: of a sample of the good answers, how many by the class or the bin of the output that is watched.
    """

    outcomes: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[int, int] = field(default_factory=dict)
    unanswered: Mapping[int, int] = field(default_factory=dict)
    predicted: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse counts below zero: totals that ran backwards are another gateway's."""
        for counts in (self.outcomes, self.answered, self.unanswered, self.predicted):
            if any(count < 0 for count in counts.values()):
                raise EvidenceError(f"a block counts from 0 up, not {dict(counts)}")
        object.__setattr__(self, "outcomes", MappingProxyType(dict(self.outcomes)))
        object.__setattr__(self, "answered", MappingProxyType(dict(self.answered)))
        object.__setattr__(self, "unanswered", MappingProxyType(dict(self.unanswered)))
        object.__setattr__(self, "predicted", MappingProxyType(dict(self.predicted)))

    @property
    def total(self) -> int:
        """Attempts whose outcome is known."""
        return sum(count for name, count in self.outcomes.items() if name not in UNCOUNTED)

    def of(self, names: Collection[str]) -> int:
        """Attempts that ended in one of these ways."""
        return sum(self.outcomes.get(name, 0) for name in names)

    @property
    def took(self) -> bool:
        """Whether it is known of any how long it took."""
        return bool(self.answered or self.unanswered)

    def slower_than(self, bucket: int) -> tuple[int, int]:
        """How many took longer than this bucket's upper edge, and of how many that is known."""
        late = sum(count for at, count in self.unanswered.items() if at > bucket)
        slow = sum(count for at, count in self.answered.items() if at > bucket)
        return slow + late, sum(self.answered.values()) + late

    def merge(self, other: Tally) -> Tally:
        """Both as one."""
        return together((self, other))


def together(tallies: Iterable[Tally]) -> Tally:
    """Several as one."""
    several = tuple(tallies)
    if len(several) == 1:
        return several[0]
    return Tally(
        added(one.outcomes for one in several),
        added(one.answered for one in several),
        added(one.unanswered for one in several),
        added(one.predicted for one in several),
    )


def added(counts: Iterable[Mapping[_K, int]]) -> dict[_K, int]:
    """Counts summed by what they are of; by hand, for `Counter.update` is slow on mappings that are read-only."""
    sums: dict[_K, int] = {}
    for one in counts:
        for of, count in one.items():
            sums[of] = sums.get(of, 0) + count
    return sums


def timed(several: Iterable[Took]) -> Tally:
    """How long these took, and nothing else."""
    answered: Counter[int] = Counter()
    unanswered: Counter[int] = Counter()
    for bucket, was_answered in several:
        (answered if was_answered else unanswered)[bucket] += 1
    return Tally({}, answered, unanswered)


def durations(tally: Tally) -> Counter[int]:
    """All times by bucket: of the answered, and of the others as far as they are known."""
    return Counter(tally.answered) + Counter(tally.unanswered)


@dataclass(frozen=True, slots=True)
class Moment:
    """One closed block of time, summed over the gateways that ran one epoch throughout.

    Attributes:
        ended_s: when it closed, in seconds of the clock that the rollout goes by.
        candidate: what its replicas did, by their names.
        stable: the same of stable's.
        draw: uniform on [0, 1), drawn once for this block: it breaks ties among replicas.
        units: draws without a unit that were dealt to the candidate and to stable, each a unit of its own; None where
            nobody counted them.
        people: the units that were seen, over all gateways; None where nobody told of any.
        pairs: what was found in pairs of answers, over all keepers; None where nobody told of any.
    """

    ended_s: float
    candidate: Mapping[str, Tally] = field(default_factory=dict)
    stable: Mapping[str, Tally] = field(default_factory=dict)
    draw: float = 0.5
    units: tuple[int, int] | None = None
    people: UnitBlock | None = None
    pairs: PairBlock | None = None

    def events(self, names: Collection[str]) -> Block:
        """How many of each arm's attempts ended in one of these ways."""
        candidate, stable = together(self.candidate.values()), together(self.stable.values())
        return Block.of(candidate=(candidate.of(names), candidate.total), stable=(stable.of(names), stable.total))


def joined(first: Moment, then: Moment) -> Moment:
    """Two neighbours of one epoch as one block; draws and pairs are counted elsewhere, once for each."""
    arms = arms_joined(first.candidate, then.candidate), arms_joined(first.stable, then.stable)
    return Moment(then.ended_s, *arms, then.draw, people=people_joined(first.people, then.people))


def people_joined(first: UnitBlock | None, then: UnitBlock | None) -> UnitBlock | None:
    """The units of both."""
    return first.merge(then) if first is not None and then is not None else first or then


def arms_joined(first: Mapping[str, Tally], then: Mapping[str, Tally]) -> Mapping[str, Tally]:
    """What the replicas of one arm did in both."""
    names = first.keys() | then.keys()
    return {name: together(arm[name] for arm in (first, then) if name in arm) for name in names}
