"""Does the candidate answer something else? How often each class is its answer, held against stable's, both ways.

The classes are those that both versions had most often in the first minute; whatever else comes is one more. From then
on each class is an event like any other: T1 asks whether the candidate has it more often than tolerated, and with the
arms exchanged whether it has it less often. That minute itself is evidence of nothing, since it chose the questions.

Answers are counted by request, of a sample, whoever asks: where units are dealt, one of them that asks without end
moves a class by itself. So tolerate something. A unit's first answer would be proof against that, but of most units the
first is not in the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from router.evidence.counts import NOTHING, Block
from router.evidence.sequential import Combined, log_average
from router.evidence.two_arm import OddsTest, TwoArm, form_for
from router.verdicts.guardrails import Guardrail
from router.verdicts.tallies import Moment, added, together

MOST_CLASSES: Final = 16
FIRST_S: Final = 60.0
FEWEST: Final = 100
"""The first minute lasts until so many answers were read."""
OTHER: Final = "other"
MORE, LESS = "more often", "less often"


@dataclass(frozen=True, slots=True)
class Shift:
    """The evidence that answers have moved.

    Hypothesis: for every class, the odds that it is the candidate's answer are at most θ0 times stable's, and stable's
    at most θ0 times the candidate's. Formula: T8, the average of T1's e-values over classes and directions. Rejected at
    level alpha when log E ≥ ln(1/alpha).

    Not valid where T1 is not, nor where the classes were chosen by the answers that are judged.

    Attributes:
        test: θ0.
        classes: those that are told apart; none before they are fixed.
        more: for each of them and for the others, T1.
        less: the same with the arms exchanged.
    """

    test: OddsTest
    classes: tuple[str, ...] = ()
    more: tuple[TwoArm, ...] = ()
    less: tuple[TwoArm, ...] = ()

    @classmethod
    def among(cls, test: OddsTest, classes: tuple[str, ...]) -> Shift:
        """No evidence yet, about these classes and all others."""
        empty = (TwoArm(test),) * (len(classes) + 1)
        return cls(test, classes, empty, empty)

    def add(self, candidate: Mapping[str, int], stable: Mapping[str, int]) -> Shift:
        """With the answers of one block, by class."""
        blocks = [
            Block.of(candidate=one, stable=other)
            for one, other in zip(self._counted(candidate), self._counted(stable), strict=True)
        ]
        more = tuple(_scored(test, block) for test, block in zip(self.more, blocks, strict=True))
        less = tuple(_scored(test, exchanged(block)) for test, block in zip(self.less, blocks, strict=True))
        return replace(self, more=more, less=less)

    def _counted(self, answers: Mapping[str, int]) -> Iterator[tuple[int, int]]:
        total, rest = sum(answers.values()), sum(answers.values())
        for name in self.classes:
            count = answers.get(name, 0)
            rest -= count
            yield count, total
        yield rest, total

    @property
    def combined(self) -> Combined:
        """The average over classes and directions, and which gives most to it; 0 before the classes are fixed."""
        named = {name: one.log_e for name, one in self.by_name}
        return log_average(named) if named else Combined(0.0, "")

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return self.combined.log_e

    @property
    def by_name(self) -> tuple[tuple[str, TwoArm], ...]:
        """Each test by what it asks, as people read it."""
        names = (*self.classes, OTHER)
        both = ((MORE, self.more), (LESS, self.less))
        return tuple(
            (f"{name} {how}", one) for how, tests in both if tests for name, one in zip(names, tests, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Predictions:
    """The evidence at a guardrail that watches what is predicted.

    Attributes:
        harm: against "every class is as frequent as it is with stable, as far as is tolerated".
        first: both arms' answers of the first minute, by class; empty once the classes are fixed.
        since_s: when the first of them were heard; 0 before.
    """

    harm: Shift
    first: Mapping[str, int] = field(default_factory=dict)
    since_s: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", MappingProxyType(dict(self.first)))

    def restarted(self, _guardrail: Guardrail) -> Predictions:
        """The same: what a version answers is there from its first request, and needs no later copy."""
        return self

    def heard(self, _guardrail: Guardrail, moment: Moment) -> Predictions:
        """With one more block."""
        candidate, stable = (together(arm.values()).predicted for arm in (moment.candidate, moment.stable))
        if not candidate and not stable:
            return self
        if self.harm.more:
            return replace(self, harm=self.harm.add(candidate, stable))
        first, since_s = added((self.first, candidate, stable)), self.since_s or moment.ended_s
        if moment.ended_s - since_s < FIRST_S or sum(first.values()) < FEWEST:
            return replace(self, first=first, since_s=since_s)
        most = sorted(first, key=lambda name: (-first[name], name))[:MOST_CLASSES]
        return Predictions(Shift.among(self.harm.test, tuple(most)), since_s=since_s)

    @property
    def foremost(self) -> str:
        """Which class moved most, and how; empty before there is one."""
        return self.harm.combined.foremost

    @property
    def seen(self) -> Block:
        """Totals of that class, for people."""
        named = dict(self.harm.by_name)
        if self.foremost not in named:
            return NOTHING
        found = named[self.foremost].seen
        return exchanged(found) if self.foremost.endswith(LESS) else found

    def certificate(self, _name: str) -> None:
        """Promotion asks nothing of it: a better model answers otherwise."""


def exchanged(block: Block) -> Block:
    """The same with stable in the candidate's place."""
    return Block(block.m - block.x, block.m, block.n_b, block.n_c)


def _scored(test: TwoArm, block: Block) -> TwoArm:
    return test.add([block], form_for(block)) if block.n_c and block.n_b and block.m else test


def opened_predictions(guardrail: Guardrail) -> Predictions:
    """A docket without evidence."""
    return Predictions(Shift(OddsTest(guardrail.tolerated)))
