"""What many simulated rollouts have in common: how often they go back, how soon, and how long each step takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from router.errors import PlanError
from router.evidence.special import binomial_bounds
from router.verdicts.simulating import Outcome, Run

LEVEL: Final = 0.95
"""Of the bounds that are shown with a rate."""


class Rate(NamedTuple):
    """How many of how many, and what that leaves possible (Clopper and Pearson, 95 %)."""

    came: int
    total: int
    lower: float
    upper: float


class Spread(NamedTuple):
    """The middle of several values, and what nine of ten of them are below; infinity where that many never came."""

    median: float
    most: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What became of many rollouts in one traffic. Times are seconds.

    Attributes:
        rates: how often each outcome came.
        back_s: of those that went back, from when the candidate was as described and had a share; None where none did.
        back_share: what it had then, from 0 to 1, in the middle.
        requests: what the candidate had of requests in all of those, and `failed` how many of them failed.
        failed: see there.
        promoted_s: of those that were promoted, from its first share; None where none were.
        stages_s: how long each stage took in those that left it, by name.
        left: how many rollouts left each stage forward, by name.
        words: why, for one of those that are neither back nor promoted; empty where there are none.
    """

    rates: Mapping[Outcome, Rate]
    back_s: Spread | None = None
    back_share: float = 0.0
    requests: Spread | None = None
    failed: Spread | None = None
    promoted_s: Spread | None = None
    stages_s: Mapping[str, Spread] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    words: str = ""

    def __post_init__(self) -> None:
        for name in ("rates", "stages_s", "left"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


def forecast(runs: Sequence[Run], onset_s: float = 0.0) -> Forecast:
    """All of them together.

    Args:
        runs: one at least.
        onset_s: when the candidate turned, seconds after the rollout began; what went back before took no time.
    """
    if not runs:
        raise PlanError("nothing can be said of no rollout: simulate one at least")
    back = [run for run in runs if run.outcome is Outcome.BACK]
    promoted = [run.at_s for run in runs if run.outcome is Outcome.PROMOTED]
    times = _times(runs)
    others = [run.words for run in runs if run.outcome in {Outcome.PAUSED, Outcome.OPEN}]
    return Forecast(
        rates={one: _rate(sum(run.outcome is one for run in runs), len(runs)) for one in Outcome},
        back_s=spread([max(0.0, run.first_s + run.at_s - max(onset_s, run.first_s)) for run in back]),
        back_share=sorted(run.share for run in back)[(len(back) - 1) // 2] if back else 0.0,
        requests=spread([float(run.requests) for run in back]),
        failed=spread([float(run.failed) for run in back]),
        promoted_s=spread(promoted),
        stages_s={name: middle for name, spent in times.items() if (middle := spread(spent))},
        left={name: len(spent) for name, spent in times.items()},
        words=others[0] if others else "",
    )


def spread(values: Sequence[float]) -> Spread | None:
    """The middle and nine tenths; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return Spread(ordered[(len(ordered) - 1) // 2], ordered[math.ceil(0.9 * len(ordered)) - 1])


def _times(runs: Sequence[Run]) -> dict[str, list[float]]:
    """How long each stage took, in those rollouts that left it forward."""
    found: dict[str, list[float]] = {}
    for run in runs:
        left = len(run.stages_s) if run.outcome is Outcome.PROMOTED else len(run.stages_s) - 1
        for nth, (name, spent) in enumerate(run.stages_s):
            found.setdefault(name, []).extend([spent] if nth < left else [])
    return found


def _rate(came: int, total: int) -> Rate:
    return Rate(came, total, *binomial_bounds(came, total, LEVEL))
