"""Many simulated rollouts at once, on every core that is there; the draws do not depend on how many those are."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from typing import Final

from numpy.random import SeedSequence, default_rng

from router.plan import Plan
from router.plan_form import plan_as_dict, plan_from
from router.rollout import Rollout
from router.verdicts.described import Described
from router.verdicts.forecast import Forecast, forecast
from router.verdicts.simulating import LONGEST_S, Run, begun, walked

_PER_TASK: Final = 10
_MOST_PROCESSES: Final = 8
_ALONE: Final = 20
"""So few rollouts are walked here: starting processes takes longer."""


def forecasts(
    plan: Plan, described: Described, *, runs: int, seed: int, longest_s: float = LONGEST_S
) -> tuple[Forecast, Forecast]:
    """What becomes of the candidate that is described, and of one that is as good as stable.

    Args:
        plan: with one candidate.
        described: the traffic.
        runs: rollouts with each of them.
        seed: of all draws.
        longest_s: when a rollout is given up, seconds.

    Raises:
        PlanError: this plan cannot be simulated.
    """
    begun(plan)
    bad, good = SeedSequence(seed).spawn(2)
    walks = [(described, one) for one in bad.spawn(runs)] + [(described.good, one) for one in good.spawn(runs)]
    found = _walked(json.dumps(plan_as_dict(plan)), walks, longest_s)
    return forecast(found[:runs], described.onset_s), forecast(found[runs:])


def _walked(plan: str, walks: Sequence[tuple[Described, SeedSequence]], longest_s: float) -> list[Run]:
    walk = partial(_walk, plan, longest_s)
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    if processes == 1 or len(walks) <= _ALONE:
        return [walk(one) for one in walks]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        return list(pool.map(walk, walks, chunksize=_PER_TASK))


def _walk(plan: str, longest_s: float, one: tuple[Described, SeedSequence]) -> Run:
    described, seed = one
    return walked(_begun(plan), described, default_rng(seed), longest_s=longest_s)


@lru_cache(maxsize=4)
def _begun(plan: str) -> Rollout:
    """The rollout of a plan that another process wrote down."""
    return begun(plan_from(json.loads(plan)))
