"""The case of one candidate against stable: all that was heard, as one value, and the verdict that follows from it.

A block of time is heard once, closed, and never again. Blocks in which the candidate had too few requests to be
compared with anything are put together first, by their sizes alone. Everything is additive and small, so that the case
is stored with its rollout and goes on after a restart with the evidence that it had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from router.evidence.counts import Block
from router.evidence.judge import Copies, Findings, Levels, Rule, Verdict, judge, rule_for
from router.evidence.sample_ratio import MOST_PHASES, SampleRatio
from router.evidence.sequential import Combined, Peak, log_average
from router.verdicts.dockets import Docket, Latencies, Rates, opened
from router.verdicts.guardrails import OUTCOMES, USUAL, Guardrail, Terms
from router.verdicts.pair_blocks import NO_PAIRS, PairBlock
from router.verdicts.paired import Paired
from router.verdicts.predictions import Predictions
from router.verdicts.ranks import Ranks
from router.verdicts.rewards import Rewards, Segment
from router.verdicts.tallies import Moment, Tally, added, durations, joined, timed, together
from router.verdicts.units import Dealt, People, UnitBlock

MINUTE_S = 60.0
FEWEST = 5
"""A block in which the candidate has fewer requests waits for the next ones."""
LONGEST_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Both arms' durations by bucket in one block, kept for as long as they say what is usual."""

    ended_s: float
    durations: Mapping[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "durations", MappingProxyType(dict(self.durations)))


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that was heard of one candidate.

    Attributes:
        terms: by what it is judged.
        dockets: one for each guardrail, in their order.
        ranks: the second opinion.
        ratio: whether draws and new units went where their shares promised.
        harm: the highest that the guardrails' average ever was.
        waiting: blocks that are too small to be judged yet, as one; None where there are none.
        waits_since_s: when the first of them closed.
        minute: the durations of the last minute, the oldest first.
        began_s: when the candidate's first requests were heard of; 0 before.
        newest_s: when the newest block closed; 0 before.
        people: the units that are remembered.
        returned: whether units that stable had before a ramp went where it promised.
        by_unit: whether the newest block is judged by units: most draws of the minute before it had one.
        alone: whether the candidate has had no stable beside it since its newest leg began.
        copies: pairs since its newest leg began.
        unranked: as `harm`, of those guardrails alone that know no replicas, so that no rank could agree with them.
    """

    terms: Terms = USUAL
    dockets: tuple[Docket, ...] = ()
    ranks: Ranks = field(default_factory=Ranks)
    ratio: SampleRatio = field(default_factory=SampleRatio)
    harm: Peak = field(default_factory=Peak)
    waiting: Moment | None = None
    waits_since_s: float = 0.0
    minute: tuple[Heard, ...] = ()
    began_s: float = 0.0
    newest_s: float = 0.0
    people: People = field(default_factory=People)
    returned: SampleRatio = field(default_factory=SampleRatio)
    by_unit: bool = False
    alone: bool = False
    copies: PairBlock = NO_PAIRS
    unranked: Peak = field(default_factory=Peak)

    def __post_init__(self) -> None:
        """A case without dockets opens them."""
        if not self.dockets:
            object.__setattr__(self, "dockets", tuple(opened(one) for one in self.terms.guardrails))

    def ramped(self, candidate_share: int, stable_share: int) -> Case:
        """From here on units go to the arms by these shares, parts per million: one more copy of each test begins.

        What was waiting is judged as it is: it was heard under the shares before. Asked again with the same shares it
        is the same case. What was heard of the leg before belongs before this (`Blocks.leg` lets go what is open).
        """
        shares = candidate_share, stable_share
        if self.ratio.phases and self.ratio.phases[-1].weights == shares:
            return replace(self._settled(), alone=False) if self.alone else self
        case = _with_room(replace(self._settled(), alone=False))
        begun = case.ratio.begin(shares)
        first = not case.began_s
        again = tuple(d if isinstance(d, Paired) else d.restarted(g) for g, d in case.by_guardrail)
        dockets = case.dockets if first else again
        people, returned = case.people.ramped(), case.returned
        gained = candidate_share - case.ratio.phases[-1].weights[0] if case.ratio.phases else 0
        if gained > 0:  # of the units that stable had, these go to the candidate now: its buckets stay where they are
            returned = returned.begin((gained, stable_share), anew=True)
        else:
            people = replace(people, before=frozenset())
        return replace(case, ratio=begun, dockets=dockets, people=people, returned=returned)

    def watched(self) -> Case:
        """From here on the candidate is alone: its own rates are held against their limits, from nothing.

        Asked again it is the same case; the next `ramped` ends it.
        """
        if self.alone:
            return self
        case = self._settled()
        dockets = tuple(d.watched(g) if isinstance(d, Rates) else d for g, d in case.by_guardrail)
        return replace(case, dockets=dockets, alone=True)

    def copied(self) -> Case:
        """From here on, a leg long, its copies are counted anew, and one more copy of each test of pairs begins.

        Asked for at the beginning of each leg, beside whatever else is said of it.
        """
        pairs = tuple(d.restarted(g) if isinstance(d, Paired) else d for g, d in self.by_guardrail)
        return replace(self, dockets=pairs, copies=NO_PAIRS)

    def _settled(self) -> Case:
        return self if self.waiting is None else self.judged(self.waiting)

    def heard_copies(self, moment: Moment) -> Case:
        """With the pairs of one more block, later than all before, where the candidate gets nothing but copies."""
        if moment.ended_s <= self.newest_s:
            return self
        case = replace(self, newest_s=moment.ended_s)
        return case if moment.pairs is None else _with_pairs(case, moment.pairs)

    def heard(self, moment: Moment) -> Case:
        """With one more block, later than all before."""
        if moment.ended_s <= self.newest_s:
            return self  # heard before: nothing is judged twice
        case = replace(self._dealt(moment), newest_s=moment.ended_s)
        if moment.pairs is not None:
            case, moment = _with_pairs(case, moment.pairs), replace(moment, pairs=None)
        if not case.began_s and any(one.total for one in moment.candidate.values()):
            case = replace(case, began_s=moment.ended_s)
        since = case.waits_since_s if case.waiting is not None else moment.ended_s
        whole = moment if case.waiting is None else joined(case.waiting, moment)
        if _size(whole, by_unit=case.by_unit) < FEWEST and moment.ended_s - since < LONGEST_WAIT_S:
            return replace(case, waiting=whole, waits_since_s=since)
        return case.judged(whole)

    def _dealt(self, moment: Moment) -> Case:
        """With the draws of a block, each counted once, against the shares that promised them."""
        drawn, people = moment.units or (0, 0), moment.people or UnitBlock()
        dealt = Dealt(moment.ended_s, people.estimated, float(sum(drawn)))
        met, known = self.people.dealt(dealt).met(people)
        case = replace(self, people=known, by_unit=self.people.by_unit(dealt))
        if self.alone or not self.ratio.phases:
            return case
        return replace(case, ratio=self.ratio.add(_sum(drawn, met.new)), returned=_added(self.returned, met.returned))

    def judged(self, moment: Moment) -> Case:
        """With a block that is large enough, or has waited long enough: `heard` calls it."""
        usual = self._usual(moment.ended_s)
        cold = not self.began_s or moment.ended_s - self.began_s < self.terms.warm_up_s
        units, people = self._first_events(moment)
        first, people = (None, people) if cold or not usual else self._first_latencies(people, moment)
        dockets = tuple(
            docket.heard(one, moment, {} if cold else usual, first) if isinstance(docket, Latencies)
            else _docket(one, docket, moment, units.get(one.watches))
            for one, docket in self.by_guardrail
        )  # fmt: skip
        case = replace(
            self, dockets=dockets, ranks=self.ranks.heard(moment), waiting=None, waits_since_s=0.0,
            minute=_remembered(self.minute, moment), people=people,
        )  # fmt: skip
        return _peaked(case)

    def _first_events(self, moment: Moment) -> tuple[Mapping[str, Block], People]:
        """The units' first events by what is watched, where units are compared; who had one is remembered anyway."""
        people = self.people
        counted: dict[str, Block] = {}
        for watches in {one.watches for one in self.terms.guardrails} & OUTCOMES.keys():
            counted[watches], people = people.first_events(moment.people or UnitBlock(), watches, OUTCOMES[watches])
        return counted if self.by_unit else {}, people

    def _first_latencies(self, people: People, moment: Moment) -> tuple[tuple[Tally, Tally] | None, People]:
        """The units' first latencies, where units are compared; who had one is remembered anyway."""
        (candidate, stable), people = people.first_latencies(moment.people or UnitBlock())
        return (timed(candidate), timed(stable)) if self.by_unit else None, people

    def _usual(self, now_s: float) -> Mapping[int, int]:
        """Both arms' durations over the minute before a block."""
        return added(heard.durations for heard in self.minute if now_s - heard.ended_s <= MINUTE_S)

    def rewarded(self, told: Mapping[str, Mapping[int, Segment]]) -> Case:
        """With what feedback says by now, by metric and by the epoch with which each segment began.

        What it says is all that there is, not what is new: told again what it knows, the case is the same value.
        """
        dockets = tuple(
            _rewarded(docket, told.get(docket.measure.metric, {})) if isinstance(docket, Rewards) else docket
            for docket in self.dockets
        )
        if all(one is other for one, other in zip(dockets, self.dockets, strict=True)):
            return self
        return _peaked(replace(self, dockets=dockets))

    @property
    def by_guardrail(self) -> tuple[tuple[Guardrail, Docket], ...]:
        """Each guardrail with its docket."""
        return tuple(zip(self.terms.guardrails, self.dockets, strict=True))

    @property
    def against(self) -> Combined:
        """The average of what all guardrails hold against the candidate (T8), and which of them gives most to it."""
        weights = {one.name: one.weight for one in self.terms.guardrails}
        return log_average({one.name: docket.harm.log_e for one, docket in self.by_guardrail}, weights)

    @property
    def against_unranked(self) -> float | None:
        """The part of `against` that comes from pairs and feedback, which know no replicas; None without such."""
        unranked = {
            one.name: (one.weight, docket.harm.log_e)
            for one, docket in self.by_guardrail
            if isinstance(docket, Paired | Rewards) and one.weight
        }
        if not unranked:
            return None
        weights = {name: weight for name, (weight, _) in unranked.items()}
        part = math.fsum(weights.values()) / math.fsum(one.weight for one in self.terms.guardrails)
        return log_average({name: log_e for name, (_, log_e) in unranked.items()}, weights).log_e + math.log(part)

    @property
    def mismatch(self) -> float:
        """What speaks against units having gone where their shares promised (T6), as a log e-value."""
        assigned = self.ratio.log_e + self.returned.log_e
        answered = (docket.mismatch for one, docket in self.by_guardrail if isinstance(docket, Rewards) and one.weight)
        return max([assigned, *answered])

    @property
    def rule(self) -> Rule:
        """By which rule harm takes it back: that of the terms, else by how many replicas there are."""
        return self.terms.rule or rule_for(*self.ranks.replicas)

    def counted(self, docket: Docket) -> str:
        """What the totals at this docket are of."""
        if isinstance(docket, Paired):
            return "pairs"
        return "units" if self.by_unit and not isinstance(docket, Predictions) else "requests"

    def findings(self, *, minima_met: bool, alone: bool = False, only_copies: bool = False) -> Findings:
        """What the tests say now; `alone` and `only_copies` as in `verdict`."""
        name, docket = self._foremost()
        limits = [d.limited.log_e for d in self.dockets if isinstance(d, Rates) and d.limited is not None]
        certificates = [docket.certificate(one.name) for one, docket in self.by_guardrail]
        copies = Copies(self.copies.ended, self.copies.shown, only_copies)
        return Findings(
            harm=self.harm.log_e,
            foremost=name,
            seen=docket.seen if docket.seen.n_c else None,
            replicas=self.ranks.log_e if self.ranks.heard_any else None,
            limit=None if alone or only_copies else max(limits, default=None),
            sample_ratio=self.mismatch if self.ratio.phases else None,
            minima_met=minima_met,
            guardrails=tuple(one for one in certificates if one is not None),
            counted=self.counted(docket),
            alone=self.own_rates if alone else None,
            unranked=None if self.against_unranked is None else self.unranked.log_e,
            copies=copies if self.copies.offered or only_copies else None,
        )

    def _foremost(self) -> tuple[str, Docket]:
        """The guardrail that speaks loudest against the candidate, as people know it."""
        most = self.against.foremost
        guardrail, docket = next(one for one in self.by_guardrail if one[0].name == most)
        if isinstance(docket, Latencies):
            return f"{most} over p{guardrail.highest * 100:g}", docket
        if isinstance(docket, Predictions) and docket.foremost:
            return f"{most}: {docket.foremost}", docket
        return most, docket

    @property
    def own_rates(self) -> float | None:
        """What the candidate's own rates say against their limits since it is alone (T2, averaged), or None."""
        found = {
            one.name: (one.weight, docket.alone.log_e)
            for one, docket in self.by_guardrail
            if isinstance(docket, Rates) and docket.alone is not None and one.weight
        }
        if not self.alone or not found:
            return None
        weights = {name: weight for name, (weight, _) in found.items()}
        return log_average({name: log_e for name, (_, log_e) in found.items()}, weights).log_e

    def verdict(self, *, minima_met: bool, alone: bool = False, only_copies: bool = False) -> Verdict:
        """What that is enough for.

        Args:
            minima_met: whether the stage has had the time and the requests that it asks for.
            alone: whether the candidate has no stable beside it, in the watch after its promotion (`watched` was said
                when that began). Its own rates over their limits then take it back: a shared incident cannot be told
                apart, and going back is what the watch is for.
            only_copies: whether the candidate gets nothing but copies, so that nothing can certify it: then a promotion
                says that its copies were compared and that nothing speaks against it.
        """
        levels = Levels(self.rule, harm=self.terms.harm, promotion=self.terms.promotion)
        return judge(self.findings(minima_met=minima_met, alone=alone, only_copies=only_copies), levels)


def _with_pairs(case: Case, pairs: PairBlock) -> Case:
    """With the pairs of a block, which need no company: each of them is its own comparison."""
    dockets = tuple(d.heard(g, pairs) if isinstance(d, Paired) else d for g, d in case.by_guardrail)
    return _peaked(replace(case, dockets=dockets, copies=case.copies.merge(pairs)))


def _peaked(case: Case) -> Case:
    """With the highest that was ever held against it, by now."""
    unranked = case.against_unranked
    seen = case.unranked if unranked is None else case.unranked.seen(max(0.0, unranked))
    return replace(case, harm=case.harm.seen(max(0.0, case.against.log_e)), unranked=seen)


def _with_room(case: Case) -> Case:
    """Where shares have changed more often than can be kept, what was counted of them is let go of."""
    if len(case.ratio.phases) < MOST_PHASES:
        return case
    return replace(case, ratio=SampleRatio(), returned=SampleRatio())


def _sum(first: tuple[int, int], then: tuple[int, int]) -> tuple[int, int]:
    return first[0] + then[0], first[1] + then[1]


def _added(ratio: SampleRatio, counts: tuple[int, int]) -> SampleRatio:
    return ratio.add(counts) if any(counts) else ratio


def _size(moment: Moment, *, by_unit: bool) -> int:
    """How many of the candidate's there are to compare."""
    if by_unit and moment.people is not None:
        return len(moment.people.candidate)
    return sum(one.total for one in moment.candidate.values())


def _rewarded(docket: Rewards, told: Mapping[int, Segment]) -> Rewards:
    for begun in sorted(told):
        docket = docket.told(begun, told[begun])
    return docket


def _docket(guardrail: Guardrail, docket: Docket, moment: Moment, units: Block | None) -> Docket:
    if isinstance(docket, Rewards | Paired | Latencies):
        return docket  # feedback and pairs come by another way, latencies were heard
    return docket.heard(guardrail, moment, units) if isinstance(docket, Rates) else docket.heard(guardrail, moment)


def _remembered(minute: tuple[Heard, ...], moment: Moment) -> tuple[Heard, ...]:
    pooled = durations(together((*moment.candidate.values(), *moment.stable.values())))
    kept = tuple(heard for heard in minute if moment.ended_s - heard.ended_s < MINUTE_S)
    return (*kept, Heard(moment.ended_s, pooled)) if pooled else kept
