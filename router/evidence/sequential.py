"""What every test here shares: log e-values, the threshold, the peak, the p-value, the average.

An e-process is a non-negative process whose expectation is at most one at every stopping time while the hypothesis
holds. By Ville's inequality (Ville 1939) it ever reaches 1/alpha with probability alpha at most, so one may look after
every block and stop when one likes. Its logarithm starts at 0, and that is also what silence says: no data, no
evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from router.evidence.errors import EvidenceError
from router.evidence.special import log_sum_exp

_LARGEST = 700.0  # e^700 is the last power of e that a float still holds with room to spare


class Evidence(Protocol):
    """A state of one test: a small frozen value that adds up over blocks and gateways."""

    @property
    def log_e(self) -> float:
        """The log e-value against the hypothesis; 0 without data."""

    def merge(self, other: Self) -> Self:
        """Both states' blocks as one state; refused where the hypotheses differ."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest log e-value that one process has shown so far; 0 at the start."""

    log_e: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no process shows."""
        if not 0 <= self.log_e < math.inf:
            raise EvidenceError(f"a peak is at least 0, where every process starts, and finite; not {self.log_e!r}")

    def seen(self, log_e: float) -> Peak:
        """The peak after one more look."""
        return self if log_e <= self.log_e else Peak(log_e)

    def merge(self, other: Peak) -> Peak:
        """The higher of two, for two looks at the same process."""
        return self.seen(other.log_e)

    @property
    def p_value(self) -> float:
        """min(1, 1 / max E): an anytime-valid p-value. 0 only where it is below the smallest float."""
        return math.exp(-self.log_e)


class Combined(NamedTuple):
    """The average of several e-values, and the one that gave most to it."""

    log_e: float
    foremost: str


def e_value(log_e: float) -> float:
    """The e-value itself, for people: held at e^700 where a float would overflow."""
    return math.exp(min(log_e, _LARGEST))


def threshold(alpha: float) -> float:
    """The log e-value at which a test of level alpha rejects."""
    if not 0 < alpha < 1:
        raise EvidenceError(f"a level is above 0 and below 1, not {alpha!r}")
    return -math.log(alpha)


def log_average(log_es: Mapping[str, float], weights: Mapping[str, float] | None = None) -> Combined:
    """T8: several tests as one, Σ π_i E_i.

    Hypothesis: all of theirs. Valid under any dependence of the tests, because expectations add whatever the
    dependence (Vovk and Wang 2021, E-values: calibration, combination and applications, Ann. Statist. 49).
    Not valid for p-values, nor when a weight is chosen after a look, nor for the peaks of the tests: average first,
    then keep the peak of the average.

    Args:
        log_es: the log e-value of each test by its name.
        weights: one per name, not negative, in any unit; equal ones where left out.

    Raises:
        EvidenceError: no test, or weights that do not fit the tests.
    """
    names = sorted(log_es)
    given = dict.fromkeys(names, 1.0) if weights is None else weights
    if not names or set(given) != set(names):
        raise EvidenceError(f"to average {names} takes one weight for each and at least one test, not {sorted(given)}")
    if any(not 0 <= w < math.inf for w in given.values()) or not any(given.values()):
        raise EvidenceError(f"weights are finite, not negative and not all zero; not {dict(given)}")
    total = math.fsum(given.values())
    parts = {name: math.log(given[name] / total) + log_es[name] for name in names if given[name] > 0}
    return Combined(float(log_sum_exp(np.array(list(parts.values())))), max(parts, key=lambda name: parts[name]))
