"""What one block counts: events among the completed requests of the two arms.

A block is a stretch of time, summed over the gateways that ran one epoch throughout. It is closed before anyone looks
at it and is never used twice. A request that hits its deadline is an event at the deadline. With sticky routing the
counted thing is the unit of assignment, not the request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.special import Floats


@dataclass(frozen=True, slots=True)
class Block:
    """Counts of one block, in the order of the literature on 2-by-2 tables.

    Attributes:
        x: events of the candidate.
        m: events of both arms.
        n_c: completed requests (or units) of the candidate.
        n_b: completed requests (or units) of stable.
    """

    x: int = 0
    m: int = 0
    n_c: int = 0
    n_b: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that cannot be: negative ones, or more events than requests in either arm."""
        if not (0 <= self.x <= self.n_c and 0 <= self.m - self.x <= self.n_b):
            raise EvidenceError(
                f"{self.x} events among {self.n_c} of the candidate's and {self.m - self.x} among {self.n_b} of "
                "stable's cannot be: an arm has 0 events at least and as many as it has requests at most"
            )

    @classmethod
    def of(cls, *, candidate: tuple[int, int], stable: tuple[int, int]) -> Block:
        """From (events, total) of each arm."""
        return cls(candidate[0], candidate[0] + stable[0], candidate[1], stable[1])

    def merge(self, other: Block) -> Block:
        """Two blocks as one: of the same time from two gateways, or neighbours of one epoch that nobody judged yet.

        Neighbours are worth merging where the candidate has fewer than about five requests, for a request without
        company has little to be compared with: ten times the errors at five requests a second and a share of a tenth
        take 238 s to find in blocks of one second, 190 s in blocks of five. Look at the sizes only, never at events.
        """
        return Block(self.x + other.x, self.m + other.m, self.n_c + other.n_c, self.n_b + other.n_b)


NOTHING = Block()


def columns(blocks: Iterable[Block]) -> Floats:
    """The blocks as an array, shape (4, B): x, m, n_c, n_b."""
    rows = [(block.x, block.m, block.n_c, block.n_b) for block in blocks]
    return np.array(rows, dtype=np.float64).reshape(-1, 4).T
