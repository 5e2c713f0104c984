"""Simulated rollouts, each heard block by block by the case that a conductor builds, until it takes the candidate back.

What a rollout goes by is what a conductor calls, and nothing else: `Case.ramped`, `Case.heard`, `Case.verdict`. Means
have no guardrail of their own yet, since rewards come with feedback: they go to `judge` by their test alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from router.evidence.judge import Decision, Rule
from router.evidence.sequential import threshold
from router.verdicts.case import Case
from router.verdicts.guardrails import USUAL, Guardrail, Terms, Watches
from tests.router.evidence.pods import Pods
from tests.router.evidence.values import Reward
from tests.router.evidence.worlds import HARMS, NULLS, World
from tests.router.verdicts.protocol import rewards, scenes, users
from tests.router.verdicts.protocol.scenes import Pace, Step

STRICT = Terms((Guardrail("latency", Watches.LATENCY),), warm_up_s=0.0)
"""Nothing tolerated and nothing left out, as STATS.md's figures for latency have it."""
BURST_PROOF = Terms(rule=Rule.BURST_PROOF)
"""The usual terms where both versions had two replicas."""


class Task(NamedTuple):
    """So many simulated rollouts of one kind, from one seed."""

    kind: str
    name: str
    runs: int
    seed: int


def alarms(task: Task) -> list[float]:
    """The second of each rollout's rollback, infinity for none."""
    rng = np.random.default_rng(task.seed)
    run = _KINDS[task.kind]
    return [run(rng, task.name) for _ in range(task.runs)]


def taken_back(terms: Terms, steps: Iterable[Step]) -> float:
    """The second at which the candidate is taken back, infinity for never."""
    case, shares = Case(terms), (0, 0)
    for at, moment in steps:
        if at != shares:
            case, shares = case.ramped(*at), at
        case = case.heard(moment)
        if _is_taken_back(case):
            return moment.ended_s
    return math.inf


def _is_taken_back(case: Case) -> bool:
    """A verdict is asked for once harm has reached its level: no rule takes anything back before that."""
    if case.harm.log_e < threshold(case.terms.harm):
        return False
    return case.verdict(minima_met=False).decision is Decision.ROLL_BACK


def _errors(rng: Generator, name: str) -> float:
    return taken_back(USUAL, scenes.rates(rng, RATES[name]))


def _pods(rng: Generator, name: str) -> float:
    return taken_back(BURST_PROOF, scenes.pods(rng, PODS[name]))


def _paces(rng: Generator, name: str) -> float:
    return taken_back(STRICT, scenes.paced(rng, PACES[name]))


def _users(rng: Generator, name: str) -> float:
    return taken_back(USUAL, users.sticky(rng, users.USERS[name]))


def _rewards(rng: Generator, name: str) -> float:
    return rewards.taken_back(rng, REWARDS[name])


RATES: Mapping[str, World] = MappingProxyType({**NULLS, **{name: world for name, (world, _) in HARMS.items()}})
PODS: Mapping[str, Pods] = MappingProxyType({
    "bursts": Pods(hiccups_per_hour=2), "5x": Pods(factor=5), "2x": Pods(factor=2),
})  # fmt: skip
PACES: Mapping[str, Pace] = MappingProxyType({
    **scenes.PACE_NULLS, **{name: pace for name, (pace, _) in scenes.PACE_HARMS.items()},
})  # fmt: skip
REWARDS: Mapping[str, Reward] = MappingProxyType({
    "ramp and trend": Reward(ramp=True),
    "ramp and trend, of 0 and 1": Reward(ramp=True, bernoulli=True),
    "five requests a second": Reward(rps=5.0),
    "-4 %": Reward(loss=0.04),
})  # fmt: skip
_KINDS: Mapping[str, Callable[[Generator, str], float]] = MappingProxyType({
    "errors": _errors, "pods": _pods, "pace": _paces, "users": _users, "rewards": _rewards,
})  # fmt: skip
