"""Late regressions: copies of one test, one started at each ramp step, so that a clean hour is no cushion.

A test that has watched a good candidate for an hour starts an afternoon's regression deep in the red. A copy started
at the last ramp step does not. But the copies must be paid for: the plain average over those started so far is no
e-process (copy one is 2 or 0; stop at 2, else start a second at 1: expectation 1.25). The capital is shared out
beforehand, and what no copy has taken yet counts 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.sequential import Evidence
from router.evidence.special import log_sum_exp
from router.evidence.two_arm import refuse_other

E = TypeVar("E", bound=Evidence)

MOST_COPIES = 64
FIRST: Final = 0.75
"""The weight of the first copy, where their number is open."""


@dataclass(frozen=True, slots=True)
class Restarts(Generic[E]):
    """Copies of one test that began at different times.

    Hypothesis: the test's own. Formula: E = Σ π_k E_k + (1 - Σ π_k) over the started copies; π_k = 1/planned for a
    number of copies fixed beforehand, else π_1 = 3/4, since most harm is there from the start, and
    π_k = 1/(4k(k - 1)) from the second on. A sum of e-processes with weights that do not look at
    data (Shin, Ramdas and Rinaldo 2023, E-detectors, has the idea for detectors). Rejected at level
    alpha when log E ≥ ln(1/alpha).

    Not valid when a start is chosen by what was seen; ramp steps and a clock are fine.

    Attributes:
        copies: each copy's state, the oldest first; one at least.
        planned: how many copies there will be, or 0 for an open number.
    """

    copies: tuple[E, ...]
    planned: int = 0

    def __post_init__(self) -> None:
        """Refuse no copy at all, or more than were planned or can be kept."""
        most = self.planned or MOST_COPIES
        if not 1 <= len(self.copies) <= most or not 0 <= self.planned <= MOST_COPIES:
            raise EvidenceError(
                f"{len(self.copies)} copies of a test: 1 at least, and {min(most, MOST_COPIES)} at most"
            )

    @property
    def full(self) -> bool:
        """Whether every copy has been started; the last one then watches to the end."""
        return len(self.copies) == (self.planned or MOST_COPIES)

    def begin(self, empty: E) -> Restarts[E]:
        """One more copy, from `empty`; the same value where all have been started."""
        return self if self.full else Restarts((*self.copies, empty), self.planned)

    def add(self, news: E) -> Restarts[E]:
        """The evidence after `news`, the state of these blocks alone, which every started copy takes in."""
        return Restarts(tuple(copy.merge(news) for copy in self.copies), self.planned)

    def merge(self, other: Restarts[E]) -> Restarts[E]:
        """Both states' blocks as one state, copy by copy; they must have been started together."""
        refuse_other((self.planned, len(self.copies)), (other.planned, len(other.copies)))
        return Restarts(tuple(a.merge(b) for a, b in zip(self.copies, other.copies, strict=True)), self.planned)

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        started = range(1, len(self.copies) + 1)
        shares = [1 / self.planned if self.planned else _share(k) for k in started]
        rest = 0.0 if self.planned == len(self.copies) else 1 - math.fsum(shares)
        parts = [math.log(share) + copy.log_e for share, copy in zip(shares, self.copies, strict=True)]
        return float(log_sum_exp(np.array([*parts, math.log(rest)] if rest > 0 else parts)))


def _share(k: int) -> float:
    return FIRST if k == 1 else (1 - FIRST) / (k * (k - 1))
