"""The second opinion, gathered: half a minute of what each replica did, and which of them did worst (T9).

Replicas that get unlike shares of the traffic cannot be ranked by their rates: the least loaded one has the most
extreme rate, good or bad, by chance alone. So each is ranked by how unlikely its count is among as many requests at the
rate that all of them have together, with ties inside the same count broken by chance (a randomised p-value, uniform for
every replica whatever its load, while the version makes no difference).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from router.evidence.latency import QUANTILES
from router.evidence.replicas import BLOCK_S, Replicas
from router.evidence.sequential import log_average
from router.evidence.special import binomial_surprise
from router.verdicts.dockets import quantile_buckets
from router.verdicts.guardrails import OUTCOMES, Watches
from router.verdicts.tallies import Moment, Tally, arms_joined, durations, together

_WEIGHTS = {"errors": 3.0 * len(QUANTILES), **{f"p{100 * q:g}": 1.0 for q in QUANTILES}}
_SEEDS = 2**53
_Count: TypeAlias = Callable[[Tally], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Ranks:
    """What the replicas' ranks say so far.

    Attributes:
        errors: T9 by errors.
        latency: T9 by how many requests are slower than the fleet's quantiles, one test for each.
        since_s: when the block that is being gathered began; 0 before the first.
        candidate: what its replicas did since.
        stable: the same of stable's.
        ranked: how many of the candidate's and of stable's had requests in the block before.
    """

    errors: Replicas = field(default_factory=Replicas)
    latency: tuple[Replicas, ...] = (Replicas(),) * len(QUANTILES)
    since_s: float = 0.0
    candidate: Mapping[str, Tally] = field(default_factory=dict)
    stable: Mapping[str, Tally] = field(default_factory=dict)

    ranked: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidate", MappingProxyType(dict(self.candidate)))
        object.__setattr__(self, "stable", MappingProxyType(dict(self.stable)))

    @property
    def log_e(self) -> float:
        """The average of both (T8), in which errors count three times as much as all quantiles."""
        by_latency = {f"p{100 * q:g}": one.log_e for q, one in zip(QUANTILES, self.latency, strict=True)}
        return log_average({"errors": self.errors.log_e, **by_latency}, _WEIGHTS).log_e

    @property
    def replicas(self) -> tuple[int, int]:
        """How many of the candidate's and of stable's had requests lately."""
        return max(self.ranked[0], len(self.candidate)), max(self.ranked[1], len(self.stable))

    @property
    def heard_any(self) -> bool:
        """Whether there was a block in which both versions had replicas with requests."""
        return bool(self.errors.blocks)

    def heard(self, moment: Moment) -> Ranks:
        """With one more block of time; every thirty seconds of them are one block of ranks."""
        candidate, stable = arms_joined(self.candidate, moment.candidate), arms_joined(self.stable, moment.stable)
        if not self.since_s:
            return replace(self, since_s=moment.ended_s, candidate=candidate, stable=stable)
        if moment.ended_s - self.since_s < BLOCK_S:
            return replace(self, candidate=candidate, stable=stable)
        draws = np.random.default_rng(int(moment.draw * _SEEDS))
        taus = quantile_buckets(durations(together((*candidate.values(), *stable.values()))), QUANTILES)
        return Ranks(
            _with(self.errors, _ranked(candidate, stable, _failed, draws), draws),
            self.latency
            if taus is None
            else tuple(
                _with(one, _ranked(candidate, stable, partial(_slower, tau=tau), draws), draws)
                for one, tau in zip(self.latency, taus, strict=True)
            ),
            moment.ended_s,
            ranked=(len(candidate), len(stable)),
        )


def _failed(tally: Tally) -> tuple[int, int]:
    return tally.of(OUTCOMES[Watches.ERRORS]), tally.total


def _slower(tally: Tally, tau: int) -> tuple[int, int]:
    return tally.slower_than(tau)


def _with(state: Replicas, ranked: tuple[list[float], list[float]] | None, draws: np.random.Generator) -> Replicas:
    return state if ranked is None else state.add(*ranked, float(draws.random()))


def _ranked(
    candidate: Mapping[str, Tally], stable: Mapping[str, Tally], count: _Count, draws: np.random.Generator
) -> tuple[list[float], list[float]] | None:
    """How bad each replica is, by arm; None where an arm has no replica with requests."""
    counted = [[count(arm[name]) for name in sorted(arm)] for arm in (candidate, stable)]
    arms = [[one for one in arm if one[1]] for arm in counted]
    if not all(arms):
        return None
    events, total = (sum(one[part] for arm in arms for one in arm) for part in (0, 1))
    rate = events / total
    first, second = ([binomial_surprise(x, n, rate, float(draws.random())) for x, n in arm] for arm in arms)
    return first, second
