"""Both tables of STATS.md's protocol: what the case did, beside other systems' rules in the same worlds.

In brackets is what STATS.md says of the same rule: of T1 with all of the level for itself, where it is the case's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from router.evidence.special import Floats
from tests.router.evidence import others
from tests.router.evidence.worlds import HARMS, NULLS
from tests.router.verdicts.protocol.rollouts import RATES

_FALSE_OF_T1 = (0.5, 0.5, 0.2, 0.2, 0.4)
_OURS = "Sluice, fast, 1 %"
_WIDTH = 22


def tables(found: Mapping[str, Floats], runs: int, seed: int) -> Iterator[str]:
    """Line by line.

    Args:
        found: by world, the second of each rollout's rollback by the case.
        runs: how many rollouts the other rules are shown of each world.
        seed: of those.
    """
    rng = np.random.default_rng(seed)
    shown = {name: others.looked_at(rng, world, runs) for name, world in RATES.items()}
    yield "\nfalse rollbacks in half an hour, % (STATS.md)"
    yield _line("", (name.partition(" ")[0] for name in NULLS))
    yield _line(_OURS, map(_rate, (found[name] for name in NULLS), _FALSE_OF_T1))
    for name, other in others.OTHERS.items():
        yield _line(name, map(_rate, (other.rule(shown[null]) for null in NULLS), other.false))
    yield "\nmedian time to detect, s (STATS.md)"
    yield _line("", iter(HARMS))
    yield _line(_OURS, _medians(found.__getitem__, tuple(figure for _, figure in HARMS.values())))
    for name, other in others.OTHERS.items():
        yield _line(name, _medians(lambda harm, rule=other.rule: rule(shown[harm]), other.seconds))  # type: ignore[misc]


def _line(name: str, cells: Iterator[str]) -> str:
    return f"{name:24}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _rate(alarms: Floats, figure: float) -> str:
    return f"{np.isfinite(alarms).mean() * 100:.1f} ({figure:g})"


def _medians(alarms: Callable[[str], Floats], figures: tuple[float, ...]) -> Iterator[str]:
    for at, harm in enumerate(HARMS):
        late = 600 if "minute" in harm else 0
        median = float(np.median(alarms(harm))) - late
        yield f"{_seconds(median)} ({_seconds(figures[at]) if figures else '-'})"


def _seconds(value: float) -> str:
    """As it is shown: a rule that takes candidates back before the harm begins has found nothing."""
    if value < 0:
        return "before"
    return "never" if np.isinf(value) else f"{value:.0f}"
