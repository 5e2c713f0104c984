"""The case of one candidate against stable: all that was heard, as one value, and the verdict that follows from it.

A block of time is heard once, closed, and never again. Blocks in which the candidate had too few requests to be
compared with anything are put together first, by their sizes alone. Everything is additive and small, so that the case
is stored with its rollout and goes on after a restart with the evidence that it had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from router.evidence.judge import Findings, Levels, Rule, Verdict, judge, rule_for
from router.evidence.sample_ratio import SampleRatio
from router.evidence.sequential import Combined, Peak, log_average
from router.verdicts.dockets import Latencies, Rates, opened
from router.verdicts.guardrails import USUAL, Guardrail, Terms
from router.verdicts.ranks import Ranks
from router.verdicts.tallies import Moment, durations, joined, together

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
        ratio: whether units went where their shares promised.
        harm: the highest that the guardrails' average ever was.
        waiting: blocks that are too small to be judged yet, as one; None where there are none.
        waits_since_s: when the first of them closed.
        minute: the durations of the last minute, the oldest first.
        began_s: when the candidate's first requests were heard of; 0 before.
        newest_s: when the newest block closed; 0 before.
    """

    terms: Terms = USUAL
    dockets: tuple[Rates | Latencies, ...] = ()
    ranks: Ranks = field(default_factory=Ranks)
    ratio: SampleRatio = field(default_factory=SampleRatio)
    harm: Peak = field(default_factory=Peak)
    waiting: Moment | None = None
    waits_since_s: float = 0.0
    minute: tuple[Heard, ...] = ()
    began_s: float = 0.0
    newest_s: float = 0.0

    def __post_init__(self) -> None:
        """A case without dockets opens them."""
        if not self.dockets:
            object.__setattr__(self, "dockets", tuple(opened(one) for one in self.terms.guardrails))

    def ramped(self, candidate_share: int, stable_share: int) -> Case:
        """From here on units go to the arms by these shares (any unit, above 0): one more copy of each test begins.

        What was waiting is judged as it is: it was heard under the shares before.
        """
        case = self if self.waiting is None else self.judged(self.waiting)
        begun = case.ratio.begin((candidate_share, stable_share))
        if begun is case.ratio:
            return case
        first = not case.newest_s
        dockets = case.dockets if first else tuple(d.restarted(g) for g, d in case.by_guardrail)
        return replace(case, ratio=begun, dockets=dockets)

    def heard(self, moment: Moment) -> Case:
        """With one more block, later than all before."""
        if moment.ended_s <= self.newest_s:
            return self  # heard before: nothing is judged twice
        case = replace(self, newest_s=moment.ended_s, ratio=_counted(self.ratio, moment))
        if not case.began_s and any(one.total for one in moment.candidate.values()):
            case = replace(case, began_s=moment.ended_s)
        since = case.waits_since_s if case.waiting is not None else moment.ended_s
        whole = moment if case.waiting is None else joined(case.waiting, moment)
        size = sum(one.total for one in whole.candidate.values())
        if size < FEWEST and moment.ended_s - since < LONGEST_WAIT_S:
            return replace(case, waiting=whole, waits_since_s=since)
        return case.judged(whole)

    def judged(self, moment: Moment) -> Case:
        """With a block that is large enough, or has waited long enough: `heard` calls it."""
        usual = self._usual(moment.ended_s)
        cold = not self.began_s or moment.ended_s - self.began_s < self.terms.warm_up_s
        dockets = tuple(_docket(one, docket, moment, usual, cold=cold) for one, docket in self.by_guardrail)
        case = replace(
            self, dockets=dockets, ranks=self.ranks.heard(moment), waiting=None, waits_since_s=0.0,
            minute=_remembered(self.minute, moment),
        )  # fmt: skip
        return replace(case, harm=case.harm.seen(max(0.0, case.against.log_e)))

    def _usual(self, now_s: float) -> Mapping[int, int]:
        """Both arms' durations over the minute before a block."""
        pooled: Counter[int] = Counter()
        for heard in self.minute:
            if now_s - heard.ended_s <= MINUTE_S:
                pooled.update(heard.durations)
        return pooled

    @property
    def by_guardrail(self) -> tuple[tuple[Guardrail, Rates | Latencies], ...]:
        """Each guardrail with its docket."""
        return tuple(zip(self.terms.guardrails, self.dockets, strict=True))

    @property
    def against(self) -> Combined:
        """The average of what all guardrails hold against the candidate (T8), and which of them gives most to it."""
        weights = {one.name: one.weight for one in self.terms.guardrails}
        return log_average({one.name: docket.harm.log_e for one, docket in self.by_guardrail}, weights)

    @property
    def rule(self) -> Rule:
        """By which rule harm takes it back: that of the terms, else by how many replicas there are."""
        return self.terms.rule or rule_for(*self.ranks.replicas)

    def findings(self, *, minima_met: bool) -> Findings:
        """What the tests say now."""
        foremost, docket = next(one for one in self.by_guardrail if one[0].name == self.against.foremost)
        limits = [d.limited.log_e for d in self.dockets if isinstance(d, Rates) and d.limited is not None]
        certificates = [docket.certificate(one.name) for one, docket in self.by_guardrail]
        return Findings(
            harm=self.harm.log_e,
            foremost=foremost.name
            if isinstance(docket, Rates)
            else f"{foremost.name} over p{foremost.highest * 100:g}",
            seen=docket.seen if docket.seen.n_c else None,
            replicas=self.ranks.log_e if self.ranks.heard_any else None,
            limit=max(limits, default=None),
            sample_ratio=self.ratio.log_e if self.ratio.phases else None,
            minima_met=minima_met,
            guardrails=tuple(one for one in certificates if one is not None),
        )

    def verdict(self, *, minima_met: bool) -> Verdict:
        """What that is enough for.

        Args:
            minima_met: whether the stage has had the time and the requests that it asks for.
        """
        levels = Levels(self.rule, harm=self.terms.harm, promotion=self.terms.promotion)
        return judge(self.findings(minima_met=minima_met), levels)


def _docket(
    guardrail: Guardrail, docket: Rates | Latencies, moment: Moment, usual: Mapping[int, int], *, cold: bool
) -> Rates | Latencies:
    if isinstance(docket, Rates):
        return docket.heard(guardrail, moment)
    return docket if cold else docket.heard(guardrail, moment, usual)


def _counted(ratio: SampleRatio, moment: Moment) -> SampleRatio:
    return ratio if moment.units is None or not ratio.phases else ratio.add(moment.units)


def _remembered(minute: tuple[Heard, ...], moment: Moment) -> tuple[Heard, ...]:
    pooled = durations(together((*moment.candidate.values(), *moment.stable.values())))
    kept = tuple(heard for heard in minute if moment.ended_s - heard.ended_s < MINUTE_S)
    return (*kept, Heard(moment.ended_s, pooled)) if pooled else kept
