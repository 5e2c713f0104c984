"""What each step of a plan can show: how long harm would take to be found there, and a good candidate to be certified.

`planning` answers in requests of the candidate, for one test at one share. Here are a plan's own steps, its terms'
levels, and time: requests divided by what the candidate gets of them per second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from numpy.random import SeedSequence, default_rng

from router.errors import PlanError
from router.evidence.restarts import FIRST
from router.plan import Plan
from router.policy import WHOLE
from router.stage import Needs, Stage
from router.verdicts.guardrails import OUTCOMES, Guardrail, Terms, Watches
from router.verdicts.planning import Needed, Traffic, to_certify, to_clear, to_detect

TIMES_WORSE: Final = (2.0, 5.0, 20.0)
_MOST_ERRORS: Final = 0.95
"""So bad is the worst candidate that is asked about."""


NEVER: Final = Needed(math.inf, math.inf)


class Kind(StrEnum):
    """What is to be shown of a candidate."""

    FIND = "find"
    CERTIFY = "certify"


class Prospect(NamedTuple):
    """What one thing takes at one step.

    Attributes:
        guardrail: its name.
        what: '5 times as often (2.5 %)', for people.
        kind: whether harm is to be found, or a good candidate certified.
        needed: requests of the candidate.
        per_s: what the candidate gets of them per second.
    """

    guardrail: str
    what: str
    kind: Kind
    needed: Needed
    per_s: float

    @property
    def median_s(self) -> float:
        """How long half of all rollouts take, seconds."""
        return self.needed.median / self.per_s

    @property
    def most_s(self) -> float:
        """How long nine of ten take at most, seconds."""
        return self.needed.most / self.per_s


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan, on its own.

    Attributes:
        name: of its stage.
        share: the candidate's, from 0 to 1.
        per_s: what it gets of requests per second.
        least_s: its shortest time, from its own time and requests, seconds.
        verdict: whether it is passed only by a candidate that is certified.
        prospects: empty where stable has nothing beside the candidate: there is nothing to compare with.
    """

    name: str
    share: float
    per_s: float
    least_s: float
    verdict: bool
    prospects: tuple[Prospect, ...]

    @property
    def certified(self) -> Prospect | None:
        """What a verdict for promotion waits for, from nothing: the slowest guardrail, each by its fastest way."""
        ways: dict[str, Prospect] = {}
        for one in self.prospects:
            if one.kind is Kind.CERTIFY:
                ways[one.guardrail] = min(ways.get(one.guardrail, one), one, key=lambda way: way.most_s)
        return max(ways.values(), key=lambda way: way.most_s, default=None)


class Passed(NamedTuple):
    """How long one step takes: half of all rollouts, and nine of ten, are through by then; seconds."""

    median_s: float
    most_s: float


def prospects(
    plan: Plan, *, rps: float, errors: float, worse: Sequence[float] = TIMES_WORSE, seed: int = 1
) -> tuple[Step, ...]:
    """Every step that gives the candidate a share.

    Args:
        plan: with one candidate.
        rps: requests per second of all versions together.
        errors: the part of stable's requests that fails, above 0.
        worse: how many times stable's errors, each above 1.
        seed: of the simulated rollouts.

    Raises:
        PlanError: no such traffic, or nothing that could be found.
    """
    if not 0 < rps < math.inf:
        raise PlanError(f"requests per second are above 0, not {rps:g}")
    if not 0 < errors < _MOST_ERRORS:
        raise PlanError(f"stable's errors are above 0 and below {_MOST_ERRORS:g} of its requests, not {errors:g}")
    if wrong := [one for one in worse if not 1 < one < math.inf]:
        raise PlanError(f"a candidate is more than 1 time as bad as stable where harm is to be found, not {wrong[0]:g}")
    shared = [stage for stage in plan.stages if any(stage.shares.values())]
    if not shared or len({version for stage in shared for version in stage.shares}) != 1:
        raise PlanError("what is planned is one candidate beside stable, and a share for it: take one at a time")
    seeds = SeedSequence(seed).generate_state(len(shared)).tolist()
    return tuple(
        _step(stage, _Asked(plan.judged_by, sum(stage.shares.values()) / WHOLE, rps, errors, one), worse)
        for stage, one in zip(shared, seeds, strict=True)
    )


def passed_s(steps: Sequence[Step]) -> tuple[Passed, ...]:
    """How long a good candidate is in each step: its own time and requests, and where it needs a verdict, until then.

    What earlier steps have shown counts, so that a verdict at a large share is quick after a slow start.
    """
    found, had = [], [0.0, 0.0]
    for step in steps:
        way = step.certified if step.verdict else None
        needed = (0.0, 0.0) if way is None else way.needed
        per_s = step.per_s
        took = [max(step.least_s, (need - so_far) / per_s) for need, so_far in zip(needed, had, strict=True)]
        had = [so_far + one * per_s for so_far, one in zip(had, took, strict=True)]
        found.append(Passed(took[0], took[1]))
    return tuple(found)


class _Asked(NamedTuple):
    """What one step is asked about."""

    terms: Terms
    share: float
    rps: float
    errors: float
    seed: int

    @property
    def per_s(self) -> float:
        return self.rps * self.share


def _step(stage: Stage, asked: _Asked, worse: Sequence[float]) -> Step:
    least_s = max(float(stage.min_s), stage.min_requests / asked.per_s)
    found = () if asked.share == 1 else (*_harms(asked, worse), *_goods(asked))
    return Step(stage.name, asked.share, asked.per_s, least_s, stage.needs is Needs.VERDICT, found)


def _harms(asked: _Asked, worse: Sequence[float]) -> Iterator[Prospect]:
    """For the weightiest guardrail that watches how requests end; its part of the level, and its first copy's."""
    guardrails = asked.terms.guardrails
    rates = [one for one in guardrails if one.watches in OUTCOMES and one.weight]
    if not rates:
        return
    guardrail = max(rates, key=lambda one: one.weight)
    alpha = asked.terms.harm * FIRST * guardrail.weight / sum(one.weight for one in guardrails)
    for times in worse:
        bad = min(_MOST_ERRORS, asked.errors * times)
        traffic = Traffic(asked.errors, asked.share, _odds(bad) / _odds(asked.errors))
        needed = NEVER
        if traffic.ratio > guardrail.tolerated:
            needed = to_detect(traffic, default_rng(asked.seed), alpha=alpha, tolerated=guardrail.tolerated)
        yield Prospect(guardrail.name, f"{times:g} times as often ({bad * 100:.3g} %)", Kind.FIND, needed, asked.per_s)


def _goods(asked: _Asked) -> Iterator[Prospect]:
    """Every way in which a guardrail may be certified, for a candidate that is as good as stable."""
    beta = asked.terms.promotion
    for guardrail in asked.terms.guardrails:
        rate = _rate(guardrail, asked.errors)
        if rate is None:
            continue
        if guardrail.margin is not None:
            needed = to_certify(Traffic(rate, asked.share), default_rng(asked.seed), beta=beta, margin=guardrail.margin)
            what = f"less than {guardrail.margin:g} times stable's"
            yield Prospect(guardrail.name, what, Kind.CERTIFY, needed, asked.per_s)
        if guardrail.ceiling is not None:
            needed = NEVER
            if rate < guardrail.ceiling:
                needed = to_clear(rate, default_rng(asked.seed), beta=beta, ceiling=guardrail.ceiling)
            yield Prospect(guardrail.name, f"under {guardrail.ceiling * 100:.3g} %", Kind.CERTIFY, needed, asked.per_s)


def _rate(guardrail: Guardrail, errors: float) -> float | None:
    """How often its event happens to a good candidate; None where nobody knows."""
    if guardrail.watches in OUTCOMES:
        return errors
    return 1 - guardrail.highest if guardrail.watches is Watches.LATENCY else None


def _odds(rate: float) -> float:
    return rate / (1 - rate)
