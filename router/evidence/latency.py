"""T3: is the candidate slower? Asked as "how often is a request slower than the fleet's quantile of a minute ago".

τ_q is the q-quantile of both arms' latencies over the previous 60 seconds. It is known before the block begins, so
"slower than τ_q" is an event like any other and T1 judges it: an incident, a trend or a ramp moves both arms' counts
and no odds ratio. Three quantiles see three kinds of harm: everything a little slower, the slow tenth slower, a rare
stall. Latencies come as histograms over common buckets, and τ_q is a bucket's upper edge, so counting is exact.

A failed, timed-out or cancelled attempt is slower than any τ it outlived: put it in the last bucket, in both arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.sequential import log_average
from router.evidence.two_arm import Form, OddsTest, TwoArm, refuse_other

QUANTILES = (0.5, 0.9, 0.99)
_EXACT_UP_TO = 0.9  # above it events are rare, where the fast form gives the same


@dataclass(frozen=True, slots=True)
class Latency:
    """The evidence so far, one T1 state per quantile.

    Hypothesis: in every block and at every quantile, the odds that a candidate's request is slower than τ_q are at
    most θ0 times those of stable's. Formula: log E = ln of the mean of the tests' e-values (T8), each as in `TwoArm`.
    Rejected at level alpha when log E ≥ ln(1/alpha).

    Not valid where τ_q was taken from the block that it judges, and where T1 is not.

    Attributes:
        quantiles: q, ascending.
        tests: one state per quantile.
    """

    quantiles: tuple[float, ...]
    tests: tuple[TwoArm, ...]

    def __post_init__(self) -> None:
        """Refuse quantiles that are none, or a test too many or too few."""
        if not self.quantiles or any(not 0 < q < 1 for q in self.quantiles) or len(self.quantiles) != len(self.tests):
            raise EvidenceError(f"a latency test has one state for each quantile between 0 and 1: {self.quantiles}")

    @classmethod
    def against(cls, test: OddsTest, quantiles: Sequence[float] = QUANTILES) -> Latency:
        """No evidence yet against this hypothesis at these quantiles."""
        return cls(tuple(quantiles), tuple(TwoArm(test) for _ in quantiles))

    def add(self, blocks: Sequence[Block]) -> Latency:
        """The evidence after one block of time: its exceedances, one `Block` per quantile (`exceedances`)."""
        scored = zip(self.quantiles, self.tests, blocks, strict=True)
        return Latency(self.quantiles, tuple(test.add([block], _form(q, test.test)) for q, test, block in scored))

    def merge(self, other: Latency) -> Latency:
        """Both states' blocks as one state."""
        refuse_other(self.quantiles, other.quantiles)
        return Latency(self.quantiles, tuple(a.merge(b) for a, b in zip(self.tests, other.tests, strict=True)))

    @property
    def log_e(self) -> float:
        """The log e-value; 0 without data."""
        return log_average({f"{q}": test.log_e for q, test in zip(self.quantiles, self.tests, strict=True)}).log_e


def edges(pooled: Sequence[int], quantiles: Sequence[float] = QUANTILES) -> tuple[int, ...] | None:
    """The buckets whose upper edge is τ_q: the first that leaves at most (1 - q) n of the n latencies above it.

    Args:
        pooled: both arms' histogram of the previous 60 s, shape (buckets,).
        quantiles: q, each between 0 and 1.

    Returns:
        One bucket index per quantile, or None where the minute before was empty: that block is then not judged.
    """
    below = list(accumulate(pooled))
    total = below[-1] if below else 0
    if total == 0:
        return None
    return tuple(next(i for i, seen in enumerate(below) if seen >= q * total) for q in quantiles)


def exceedances(candidate: Sequence[int], stable: Sequence[int], taus: Sequence[int]) -> tuple[Block, ...]:
    """How many of each arm's latencies in a block were slower than each τ.

    Args:
        candidate: histogram of the block, shape (buckets,).
        stable: the same of stable.
        taus: bucket indices from `edges`.
    """
    if len(candidate) != len(stable):
        raise EvidenceError(f"histograms of {len(candidate)} and of {len(stable)} buckets have no common edges")
    n_c, n_b = sum(candidate), sum(stable)
    return tuple(
        Block.of(candidate=(sum(candidate[tau + 1 :]), n_c), stable=(sum(stable[tau + 1 :]), n_b)) for tau in taus
    )


def _form(quantile: float, test: OddsTest) -> Form:
    return Form.FAST if quantile > _EXACT_UP_TO and test.allows(Form.FAST) else Form.EXACT
