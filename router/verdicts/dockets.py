"""What speaks against a candidate, and for it, at one guardrail: a docket for rates, another for latencies.

Rates are compared by what was assigned: by request, or by unit, of which only the first event counts. A rate by itself
(the ceiling, the limits) is always one of requests, as people know it. Where units are compared, of each of them one
latency counts in a rollout: its first.

Harm is tested by copies of one test, a new one at each ramp step, so that a regression at half of the traffic does not
have to outweigh a clean hour at a hundredth. What a promotion rests on is tested once, from the start.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TypeAlias

from router.evidence.counts import NOTHING, Block
from router.evidence.judge import Certificate
from router.evidence.latency import Latency
from router.evidence.odds_interval import OddsCurve
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.restarts import Restarts
from router.evidence.two_arm import OddsTest, Side, TwoArm, form_for
from router.verdicts.guardrails import OUTCOMES, PAIRED, Guardrail, Watches
from router.verdicts.paired import Paired, opened_pairs
from router.verdicts.predictions import Predictions, exchanged, opened_predictions
from router.verdicts.rewards import Rewards, opened_rewards
from router.verdicts.tallies import Moment, Tally, together

_NO_BETTER = TwoArm(OddsTest())
LIMIT_WINDOW_S = 60.0
"""How long an incident of both arms is remembered, at least; twice as long at most."""
CALM_WINDOW_S = 10.0
"""How long a window is kept that speaks against no incident: the calm before one must not outweigh its beginning."""


@dataclass(frozen=True, slots=True)
class Limited:
    """Whether both arms' rate keeps to a limit, over this window and the one before: what is over is forgotten.

    A reason to stand still and none to go back, so that it need not hold a level over a whole rollout.
    """

    now: OneArm
    before: OneArm
    since_s: float = 0.0

    def heard(self, block: Block, ended_s: float) -> Limited:
        """With one more block."""
        total, calm = block.n_c + block.n_b, self.now.log_e <= 0
        if ended_s - self.since_s < (CALM_WINDOW_S if calm else LIMIT_WINDOW_S):
            return replace(self, now=self.now.add(block.m, total))
        return Limited(OneArm(self.now.test).add(block.m, total), self.now, ended_s)

    @property
    def log_e(self) -> float:
        """The higher of the two windows'."""
        return max(self.now.log_e, self.before.log_e)


@dataclass(frozen=True, slots=True)
class Rates:
    """The evidence at a guardrail that watches how requests end.

    Attributes:
        harm: against "the candidate is no worse than tolerated" (T1).
        not_inferior: against "it is worse than the margin" (T1); None where the guardrail has none.
        under_ceiling: against "its own rate is above the ceiling" (T2); None where the guardrail has none.
        limited: against "both arms' rate is within the limit" (T2); None where the guardrail has none.
        curve: every odds ratio's likelihood, for people.
        seen: totals, for people.
        better: against "it is no better than stable" (T1 with the arms exchanged): who wins where several are on trial.
        alone: against "its own rate is within the limit" (T2), since it has had no stable beside it; None where it
            has, or where the guardrail has no limit.
    """

    harm: Restarts[TwoArm]
    not_inferior: TwoArm | None = None
    under_ceiling: OneArm | None = None
    limited: Limited | None = None
    curve: OddsCurve = field(default_factory=OddsCurve)
    seen: Block = NOTHING
    better: TwoArm = _NO_BETTER
    alone: OneArm | None = None

    def restarted(self, guardrail: Guardrail) -> Rates:
        """With one more copy of the test for harm, which has seen nothing yet."""
        return replace(self, harm=self.harm.begin(TwoArm(OddsTest(guardrail.tolerated))))

    def watched(self, guardrail: Guardrail) -> Rates:
        """With a test of its own rate that begins here."""
        return replace(self, alone=None if guardrail.limit is None else OneArm(RateTest(guardrail.limit)))

    def heard(self, guardrail: Guardrail, moment: Moment, units: Block | None = None) -> Rates:
        """With one more block.

        Args:
            guardrail: whose docket it is.
            moment: the block.
            units: first events among the units at risk, where those are compared; None to compare requests.
        """
        requests = moment.events(OUTCOMES[guardrail.watches])
        block = requests if units is None else units
        compared = self._compared(guardrail, block) if block.n_c and block.n_b and block.m else self
        return replace(
            compared,
            under_ceiling=_counted(self.under_ceiling, requests),
            limited=None if self.limited is None else self.limited.heard(requests, moment.ended_s),
            seen=self.seen.merge(block),
            alone=_counted(self.alone, requests),
        )

    def _compared(self, guardrail: Guardrail, block: Block) -> Rates:
        """Both arms had requests, and something happened: without that there are no odds to compare."""
        form = form_for(block)
        news = TwoArm(OddsTest(guardrail.tolerated)).add([block], form)
        margin = self.not_inferior
        return replace(
            self,
            harm=self.harm.add(news),
            not_inferior=None if margin is None else margin.add([block]),
            curve=self.curve.add([block]),
            better=self.better.add([exchanged(block)], form),
        )

    def certificate(self, name: str) -> Certificate | None:
        """What promotion asks of this guardrail, as it stands; None where it asks for nothing."""
        if self.not_inferior is None and self.under_ceiling is None:
            return None
        return Certificate(
            name,
            None if self.not_inferior is None else self.not_inferior.log_e,
            None if self.under_ceiling is None else self.under_ceiling.log_e,
        )


@dataclass(frozen=True, slots=True)
class Latencies:
    """The evidence at a guardrail that watches how long requests take.

    Attributes:
        harm: against "the candidate is no slower than tolerated" (T3).
        not_inferior: against "it is slower than the margin" (T1 at the highest quantile); None for no margin.
        seen: requests or units slower than the highest quantile, for people.
        curve: every odds ratio's likelihood at the highest quantile, for people.
    """

    harm: Restarts[Latency]
    not_inferior: TwoArm | None = None
    seen: Block = NOTHING
    curve: OddsCurve = field(default_factory=OddsCurve)

    def restarted(self, guardrail: Guardrail) -> Latencies:
        """With one more copy of the test for harm, which has seen nothing yet."""
        return replace(self, harm=self.harm.begin(_unheard(guardrail)))

    def heard(
        self, guardrail: Guardrail, moment: Moment, minute: Mapping[int, int], units: tuple[Tally, Tally] | None = None
    ) -> Latencies:
        """With one more block.

        What is slow is told by requests in either case: there are some in every minute, while units that are new may
        be few, and any limit will do that was known before the block.

        Args:
            guardrail: whose docket it is.
            moment: the block.
            minute: both arms' durations by bucket over the minute before it.
            units: the first latencies of units that had none before, the candidate's and stable's, where those are
                compared; None to compare requests.
        """
        taus = quantile_buckets(minute, guardrail.quantiles)
        if taus is None:
            return self
        arms = together(moment.candidate.values()), together(moment.stable.values())
        candidate, stable = arms if units is None else units
        if units is not None and not (candidate.took and stable.took):
            return replace(self, seen=self.seen.merge(slower(candidate, stable, taus[-1])))
        blocks = [slower(candidate, stable, tau) for tau in taus]
        margin = self.not_inferior
        return Latencies(
            self.harm.add(_unheard(guardrail).add(blocks)),
            None if margin is None else margin.add(blocks[-1:]),
            self.seen.merge(blocks[-1]),
            self.curve.add(blocks[-1:]),
        )

    def certificate(self, name: str) -> Certificate | None:
        """What promotion asks of this guardrail, as it stands; None where it asks for nothing."""
        return None if self.not_inferior is None else Certificate(name, self.not_inferior.log_e)


Docket: TypeAlias = Rates | Latencies | Predictions | Rewards | Paired


def opened(guardrail: Guardrail) -> Docket:
    """A docket without evidence."""
    if guardrail.watches is Watches.PREDICTIONS:
        return opened_predictions(guardrail)
    if guardrail.watches in PAIRED:
        return opened_pairs(guardrail)
    if guardrail.watches is Watches.FEEDBACK:
        return opened_rewards(guardrail.measure)
    margin = None if guardrail.margin is None else TwoArm(OddsTest(guardrail.margin, Side.NOT_WORSE))
    if guardrail.watches is Watches.LATENCY:
        return Latencies(Restarts((_unheard(guardrail),)), margin)
    ceiling = None if guardrail.ceiling is None else OneArm(RateTest(guardrail.ceiling, Side.NOT_WORSE))
    limit = None if guardrail.limit is None else OneArm(RateTest(guardrail.limit))
    limited = None if limit is None else Limited(limit, limit)
    return Rates(Restarts((TwoArm(OddsTest(guardrail.tolerated)),)), margin, ceiling, limited)


def quantile_buckets(durations: Mapping[int, int], quantiles: tuple[float, ...]) -> tuple[int, ...] | None:
    """The first buckets that leave at most (1 - q) of all durations above them; None where there are none."""
    if not durations:
        return None
    buckets = sorted(durations)
    below = list(accumulate(durations[bucket] for bucket in buckets))
    return tuple(buckets[bisect_left(below, math.ceil(q * below[-1]))] for q in quantiles)


def slower(candidate: Tally, stable: Tally, tau: int) -> Block:
    """How many of each arm's attempts took longer than this bucket's upper edge, of those of which that is known."""
    return Block.of(candidate=candidate.slower_than(tau), stable=stable.slower_than(tau))


def _counted(test: OneArm | None, block: Block) -> OneArm | None:
    return None if test is None else test.add(block.x, block.n_c)


def _unheard(guardrail: Guardrail) -> Latency:
    return Latency.against(OddsTest(guardrail.tolerated), guardrail.quantiles)
