"""What is asked of the case: every row on which `make proof-verdicts` stands or falls.

A null asks for no more false rollbacks than the level; a harm for a median time to detect within 1.25 times of
STATS.md's. Harm that is found soon is cheap to simulate, so there is more of it: a median has to be known better than
by the distance to its bar, whatever the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from router.evidence.special import Floats
from router.verdicts.guardrails import USUAL
from tests.router.evidence.rows import Row, detection, false_alarms
from tests.router.evidence.worlds import HARMS, NULLS
from tests.router.verdicts.protocol.rollouts import REWARDS
from tests.router.verdicts.protocol.scenes import PACE_HARMS, PACE_NULLS

_SIMULATED_S = 250_000
_MOST = 800


class Claim(NamedTuple):
    """One row to be.

    Attributes:
        title: as it is printed.
        kind: of rollouts, as `rollouts.alarms` knows them.
        name: of the world in which they take place.
        figure: the seconds to detect that STATS.md gives; None on a null.
        late_s: when the harm begins.
    """

    title: str
    kind: str
    name: str
    figure: float | None = None
    late_s: float = 0.0

    def rollouts(self, runs: int) -> int:
        """How many it takes, where a null takes so many."""
        if self.figure is None:
            return runs
        return max(runs // 2, min(_MOST, round(_SIMULATED_S / (self.late_s + self.figure))))

    def row(self, found: Floats) -> Row:
        """What became of it.

        Args:
            found: the second of each rollout's rollback, infinity for none.
        """
        if self.figure is None:
            return false_alarms(self.title, int(np.sum(np.isfinite(found))), len(found), USUAL.harm)
        return detection(self.title, found - self.late_s, self.figure)


def fast() -> Iterator[Claim]:
    """By T1 alone."""
    yield from (Claim(f"fast, {name}", "errors", name) for name in NULLS)
    yield from (Claim(f"fast, latency {name}", "pace", name) for name in PACE_NULLS)
    yield from (Claim(f"fast, mean {name}", "rewards", name) for name, one in REWARDS.items() if not one.loss)
    yield Claim("fast, sticky users, some of them poison", "users", "sticky")
    for name, (_, figure) in HARMS.items():
        yield Claim(f"fast, {name}", "errors", name, figure, 600.0 if "minute" in name else 0.0)
    yield from (Claim(f"fast, latency {name}", "pace", name, figure) for name, (_, figure) in PACE_HARMS.items())
    yield Claim("fast, mean -4 %", "rewards", "-4 %", 120)


def burst_proof() -> Iterator[Claim]:
    """By T1 and T9 together."""
    yield Claim("burst_proof, bursts", "pods", "bursts")
    yield from (Claim(f"burst_proof, {name}", "pods", name, figure) for name, figure in (("5x", 90), ("2x", 660)))


CLAIMS = (*fast(), *burst_proof())
