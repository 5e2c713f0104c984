"""How often a gateway's worker cuts off a sound candidate by its own rules, where replicas hiccup.

No verdict, and no part of the level: it is over after half a minute, and reported beside because its price is the same
while it lasts. The rules are the worker's own (`serving.gateway.brake`, `failover` and `health`); simulated is the
order in which one worker's requests to the candidate's only replica end. The brake is watched as if replicas were never
left alone, for a replica that is gets no ten failures in a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from serving.gateway.brake import Brake
from serving.gateway.config import WorkerConfig
from serving.gateway.failover import Budget
from serving.gateway.health import Health
from tests.router.evidence.pods import Pods
from tests.router.evidence.worlds import HALF_HOUR_S

_USUAL = WorkerConfig("proof")


class Cut(NamedTuple):
    """How often it happened, of rollouts or in one.

    Attributes:
        braked: the version got its rest, after failures in a row or because too much had to be sent twice.
        alone: its replica was left alone, because several requests in a row failed there.
    """

    braked: float
    alone: float


def cut(rng: Generator, world: Pods) -> Cut:
    """Half an hour of one rollout, request by request, by a gateway of one worker with its usual settings."""
    total, errors = (part[:, 0].astype(int) for part in world.seconds(rng, 1, HALF_HOUR_S))
    ends = [rng.permutation(n) < x for n, x in zip(total[:, 0].tolist(), errors[:, 0].tolist(), strict=True)]
    return Cut(_braked(ends, total.sum(axis=1).tolist()), _left_alone(ends))


def _braked(ends: list[NDArray[np.bool_]], requests: list[int]) -> int:
    """The candidate's requests by second, whether each failed, and all requests of the model by second."""
    brake, budget = Brake(_USUAL.brake_s), Budget(_USUAL.repeat_budget, 0.0)
    times = seen = 0
    for second, (failed, came) in enumerate(zip(ends, requests, strict=True)):
        seen += came
        for fails in failed:
            if not brake.lets(second):
                continue
            if not fails:
                brake.succeeded(second)
                continue
            budget.take(second, seen)
            times += brake.failed(second)
            times += budget.is_low(second, seen) and brake.put_on(second)
    return times


def _left_alone(ends: list[NDArray[np.bool_]]) -> int:
    health, times = Health(_USUAL.ejection_s), 0
    for second, failed in enumerate(ends):
        if health.may_return(second):
            health.readmit()
        if health.ejected:
            continue
        for fails in failed:
            if fails:
                times += health.failed(second)
            else:
                health.succeeded()
    return times


def shares(rng: Generator, world: Pods, runs: int) -> Cut:
    """In which part of the rollouts either happened at all."""
    braked, alone = (np.array([cut(rng, world) for _ in range(runs)]) > 0).mean(axis=0).tolist()
    return Cut(braked, alone)
