"""T1: does an event happen more often on the candidate than on stable? The engine of the canary.

The event is any outcome of yes and no: an error, a timeout, a disagreement, an answer slower than a limit that was set
before. The state is one number per point of the grid, so it adds up over blocks, gateways, routes: each is a stratum
of its own and the rates may differ between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import add

import numpy as np

from router.evidence.counts import NOTHING, Block, columns
from router.evidence.errors import EvidenceError
from router.evidence.odds import exact_ratios, fast_ratios
from router.evidence.special import Floats, log_mean_exp


class Side(StrEnum):
    """What evidence is collected for."""

    WORSE = "worse"
    NOT_WORSE = "not_worse"
    DIFFERENT = "different"


class Form(StrEnum):
    """How a block is scored."""

    EXACT = "exact"
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class OddsTest:
    """A hypothesis about the odds ratio θ of the candidate against stable, in every block.

    Attributes:
        limit: θ0. Above 1 for a tolerated excess, or for the margin of non-inferiority.
        side: WORSE tests θ ≤ θ0, NOT_WORSE tests θ ≥ θ0 (its rejection certifies non-inferiority and is what a
            promotion rests on), DIFFERENT tests θ = 1 for an A/B of equals.
    """

    limit: float = 1.0
    side: Side = Side.WORSE

    def __post_init__(self) -> None:
        """Refuse limits that no ratio has."""
        if not 0 < self.limit < math.inf:
            raise EvidenceError(f"a limit of an odds ratio is above 0 and finite, not {self.limit!r}")
        if self.side is Side.DIFFERENT and self.limit != 1:
            raise EvidenceError(f"a two-sided test is against equal arms: its limit is 1, not {self.limit!r}")

    @property
    def size(self) -> int:
        """K: how many odds ratios the mixture holds."""
        return grid_of(self).size

    def allows(self, form: Form) -> bool:
        """Whether a block may be scored so: below θ0, and for θ0 < 1, only the exact form is valid."""
        return form is Form.EXACT or (self.side is not Side.NOT_WORSE and self.limit >= 1)


@lru_cache(maxsize=64)
def grid_of(test: OddsTest) -> Floats:
    """The odds ratios that the mixture holds, each with the same weight, shape (K,).

    Above the limit 48 from 1.05 to 100 times, below it 48 from 0.02 to 0.95 times; two-sided the 48 of the first and
    their reciprocals, so that nothing lies within 5 % of equality.
    """
    up = np.geomspace(1.05, 100.0, 48)
    grids = {
        Side.WORSE: up,
        Side.NOT_WORSE: np.geomspace(0.02, 0.95, 48),
        Side.DIFFERENT: np.concatenate((1 / up[::-1], up)),
    }
    grid: Floats = test.limit * grids[test.side]
    grid.flags.writeable = False
    return grid


@dataclass(frozen=True, slots=True)
class TwoArm:
    """The evidence so far.

    Hypothesis: odds(event | candidate) against θ0 times odds(event | stable), in every block; the rates themselves
    are free to move. Formula: log E = ln (1/K) Σ_k exp L_k, with L_k summed over blocks as in `odds.py` (mixture
    likelihood ratio, Robbins 1970; conditional on the margins, Fisher 1935). Rejected at level alpha when
    log E ≥ ln(1/alpha).

    Not valid when requests of a block are not exchangeable given the arms' sizes: bursts that hit one replica (T9 is
    the second opinion), retries that land on one arm, the warm-up of a cold candidate, sticky users counted by
    request, a different mix of requests per route (make each route a stratum), assignment that is not random. Nor
    when a block is used again after a look.

    Attributes:
        test: the hypothesis.
        logs: L_k, shape (K,); all 0 without data.
        seen: totals of all blocks, for people; the test does not use them.
        blocks: how many blocks were added.
    """

    test: OddsTest
    logs: tuple[float, ...] = ()
    seen: Block = NOTHING
    blocks: int = 0

    def __post_init__(self) -> None:
        """An empty state is all zeros; refuse one of another grid's size."""
        if not self.logs:
            object.__setattr__(self, "logs", (0.0,) * self.test.size)
        check_logs(self.logs, self.test.size)

    def add(self, blocks: Iterable[Block], form: Form = Form.EXACT) -> TwoArm:
        """The evidence after these blocks, each added once.

        Args:
            blocks: closed, and never looked at before.
            form: EXACT unless speed matters more than power: both may be mixed, as long as the choice does not look
                at x.

        Raises:
            EvidenceError: the fast form where it is not valid.
        """
        if not self.test.allows(form):
            raise EvidenceError("the fast form is valid only above a limit of 1 or more: use the exact one")
        new = list(blocks)
        ratios = exact_ratios if form is Form.EXACT else fast_ratios
        logs = np.array(self.logs) + ratios(columns(new), grid_of(self.test), self.test.limit).sum(axis=0)
        seen = self.seen
        for block in new:
            seen = seen.merge(block)
        return TwoArm(self.test, tuple(logs.tolist()), seen, self.blocks + len(new))

    def merge(self, other: TwoArm) -> TwoArm:
        """Both states' blocks as one state. Associative and commutative, up to the rounding of float sums."""
        refuse_other(self.test, other.test)
        logs = summed(self.logs, other.logs)
        return TwoArm(self.test, logs, self.seen.merge(other.seen), self.blocks + other.blocks)

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return log_mean_exp(np.array(self.logs)) if any(self.logs) else 0.0

    @property
    def likeliest(self) -> float:
        """The odds ratio of the grid that explains the blocks best: for people, not for a decision."""
        return float(grid_of(self.test)[int(np.argmax(self.logs))])


def form_for(block: Block) -> Form:
    """The form that loses nothing: exact where more than 5 % are events. Looks at the margins only, never at x."""
    return Form.EXACT if 20 * block.m > block.n_c + block.n_b else Form.FAST


def summed(logs: tuple[float, ...], others: tuple[float, ...]) -> tuple[float, ...]:
    """Two grids' log ratios, point by point."""
    return tuple(map(add, logs, others))


def check_logs(logs: tuple[float, ...], size: int) -> None:
    """Refuse log ratios that are not finite or of another grid."""
    if len(logs) != size or not all(map(math.isfinite, logs)):
        raise EvidenceError(f"a state of this test is {size} finite numbers, not {len(logs)} such as {logs[:3]}")


def refuse_other(test: object, other: object) -> None:
    """Refuse to merge evidence against two hypotheses."""
    if test != other:
        raise EvidenceError(f"evidence against {test} and against {other} does not add up to one test")
