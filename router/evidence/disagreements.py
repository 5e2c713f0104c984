"""Does the candidate answer otherwise than stable more often than it may? Against stable's own noise, or a limit.

Where stable is asked a second time, its own two answers differ now and then as well: that is the floor, and only
triples in which one of both differs from the client's answer speak (T7). Where it is asked once there is no floor to be
held against, and the part of the pairs that differ is held against a limit (T2).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from router.evidence.one_arm import OneArm
from router.evidence.pairs import Pairs


@dataclass(frozen=True, slots=True)
class Disagreements:
    """The evidence so far.

    Hypothesis: of triples, given that exactly one of the candidate's answer and stable's second one differs from the
    client's, it is the candidate's with probability ½ at most (a candidate that only has stable's noise is
    exchangeable with stable's second answer); of pairs without a second answer, the rate of those that differ is within
    the limit. Formula: log E = log E of T7 + log E of T2, of which each sees blocks of its own: the plan says which,
    before they are seen, so that the product of both is an e-process. Rejected at level alpha when log E ≥ ln(1/alpha).

    Not valid where T7 or T2 is not: for answers that change together in bursts (a cache that goes cold, a feature store
    that moves between the two questions).

    Attributes:
        rate: T2, of pairs where stable is asked once.
        noise: T7, of triples.
    """

    rate: OneArm
    noise: Pairs = field(default_factory=Pairs)

    def merge(self, other: Disagreements) -> Disagreements:
        """Both states' blocks as one state: exactly associative and commutative."""
        return Disagreements(self.rate.merge(other.rate), self.noise.merge(other.noise))

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return self.rate.log_e + self.noise.log_e
