"""Replicas ranked: whatever shares of the traffic they get, each is equally likely to be the worst one by chance."""

from __future__ import annotations

import numpy as np
import pytest

from router.evidence.replicas import BLOCK_S
from router.evidence.sequential import threshold
from router.verdicts.ranks import Ranks
from router.verdicts.tallies import Moment, Tally


def moment(
    at_s: float, candidate: dict[str, tuple[int, int]], stable: dict[str, tuple[int, int]], draw: float
) -> Moment:
    """A block of (failed, all) requests by replica."""
    first, second = (
        {name: Tally({"ok": total - failed, "server_error": failed}) for name, (failed, total) in arm.items()}
        for arm in (candidate, stable)
    )
    return Moment(at_s, first, second, draw)


def watched(
    seed: int, blocks: int, loads: tuple[float, float], rates: tuple[float, float], *, replicas: int = 2
) -> Ranks:
    """So many blocks of thirty seconds of a candidate's and of stable's replicas, at these loads and error rates."""
    rng, ranks = np.random.default_rng(seed), Ranks()
    for block in range(blocks + 1):
        first, second = (
            {f"{arm}{index}": (int(rng.binomial(n := int(rng.poisson(load)), rate)), n) for index in range(replicas)}
            for arm, load, rate in zip("cs", loads, rates, strict=True)
        )
        ranks = ranks.heard(moment(1 + block * BLOCK_S, first, second, float(rng.random())))
    return ranks


def test_a_block_of_ranks_is_half_a_minute() -> None:
    """Whatever is heard meanwhile is put together; the first moment begins the first block."""
    ranks = Ranks()
    for second in range(1, 92):
        ranks = ranks.heard(moment(float(second), {"c": (1, 10)}, {"s": (0, 10)}, 0.5))
    assert ranks.errors.blocks == 3
    assert ranks.errors.wins == 3
    assert ranks.replicas == (1, 1)


def test_unlike_loads_make_nobody_the_worst() -> None:
    """A candidate with a twentieth of stable's traffic wins as often as its replicas are many, to within chance."""
    wins = sum(watched(seed, 100, (50.0, 1_000.0), (0.005, 0.005)).errors.wins for seed in range(4))
    assert 155 <= wins <= 245  # of 400 at one half: 4.5 standard deviations


def test_rates_alone_would_blame_the_one_with_less_traffic() -> None:
    """The reason for ranking by surprise: by plain rates the same candidate is worst in most blocks."""
    rng = np.random.default_rng(5)
    wins = 0
    for _ in range(400):
        candidate = max(rng.binomial(300, 0.005) / 300 for _ in range(2))
        wins += candidate > max(rng.binomial(6_000, 0.005) / 6_000 for _ in range(2))
    assert wins > 235


def test_a_candidate_that_fails_is_found_whatever_its_load() -> None:
    """Five times the errors, in ten minutes of blocks."""
    assert watched(1, 20, (300.0, 3_000.0), (0.025, 0.005)).errors.log_e > threshold(0.01)


def test_without_a_replica_of_either_arm_nothing_is_ranked() -> None:
    """One version alone, or one without requests."""
    ranks = Ranks()
    for second in (1.0, 40.0, 80.0):
        ranks = ranks.heard(moment(second, {"c": (0, 0)}, {"s": (1, 10)}, 0.1))
    assert not ranks.heard_any
    assert ranks.log_e == pytest.approx(0.0)


def test_a_slow_replica_is_worst_by_latency() -> None:
    """Though all quantiles are those of the fleet, the slow ones among them: one of the quantiles tells."""
    ranks = Ranks()
    for block in range(31):
        stable = {f"s{index}": Tally({"ok": 200}, {10: 198, 15: 2}) for index in range(4)}
        candidate = {"c0": Tally({"ok": 40}, {10: 30, 20: 10})}
        ranks = ranks.heard(Moment(1 + block * BLOCK_S, candidate, stable, block / 40))
    assert max(one.wins for one in ranks.latency) == 30
    assert ranks.log_e > threshold(0.01)
    assert ranks.errors.wins < 30
