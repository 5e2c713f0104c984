"""Simulated replicas that hiccup: the world in which requests do not fail one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from router.evidence.odds import exact_ratios
from router.evidence.replicas import BLOCK_S, Replicas
from router.evidence.sequential import threshold
from router.evidence.special import Floats, log_sum_exp
from router.evidence.two_arm import OddsTest, grid_of
from tests.router.evidence.worlds import HALF_HOUR_S

PODS = 10  # the first one is the candidate's
T1_BLOCK_S = 10


@dataclass(frozen=True)
class Pods:
    """Ten replicas of ten requests a second each, one of them the candidate's.

    Attributes:
        factor: the candidate's error rate over stable's 0.5 %.
        hiccups_per_hour: of each replica; for 20 seconds 30 % of its requests then fail.
    """

    factor: float = 1.0
    hiccups_per_hour: float = 0.0

    def seconds(self, rng: Generator, runs: int, seconds: int) -> tuple[Floats, Floats]:
        """Requests and errors per second and replica, two of shape (seconds, runs, 10)."""
        shape = (seconds, runs, PODS)
        starts = rng.random(shape) < self.hiccups_per_hour / 3600
        begun = np.cumsum(starts, axis=0)
        ill = begun.copy()
        ill[20:] = begun[20:] - begun[:-20]
        rates = np.full(PODS, 0.005)
        rates[0] *= self.factor
        total = rng.poisson(10, shape)
        errors = rng.binomial(total, np.where(ill > 0, 0.3, rates))
        return total.astype(np.float64), errors.astype(np.float64)


def alarms(rng: Generator, world: Pods, runs: int, alpha: float = 0.01) -> tuple[Floats, Floats]:
    """The seconds of the first alarm of T1 and of T9, infinity for none, shape (runs,) each."""
    total, errors = world.seconds(rng, runs, HALF_HOUR_S)
    return _by_requests(total, errors, alpha), _by_ranks(rng, total, errors, alpha)


def _by_requests(total: Floats, errors: Floats, alpha: float) -> Floats:
    grid = grid_of(OddsTest())
    total, errors = _summed(total, T1_BLOCK_S), _summed(errors, T1_BLOCK_S)
    logs = np.zeros((total.shape[1], grid.size))
    first = np.full(total.shape[1], np.inf)
    for index, (n, x) in enumerate(zip(total, errors, strict=True), 1):
        counts = np.array([x[:, 0], x.sum(axis=1), n[:, 0], n[:, 1:].sum(axis=1)])
        logs += exact_ratios(counts, grid, 1.0)
        over = log_sum_exp(logs) - np.log(grid.size) >= threshold(alpha)
        first = np.where(np.isinf(first) & over, index * T1_BLOCK_S, first)
    return first


def _by_ranks(rng: Generator, total: Floats, errors: Floats, alpha: float) -> Floats:
    length = int(BLOCK_S)
    rates = _summed(errors, length) / np.maximum(_summed(total, length), 1)
    first = np.full(total.shape[1], np.inf)
    for run in range(total.shape[1]):
        state = Replicas()
        for index, row in enumerate(rates[:, run].tolist(), 1):
            state = state.add(row[:1], row[1:], rng.random())
            if state.log_e >= threshold(alpha):
                first[run] = index * length
                break
    return first


def _summed(counts: Floats, length: int) -> Floats:
    return np.asarray(counts.reshape(-1, length, *counts.shape[1:]).sum(axis=1), dtype=np.float64)
