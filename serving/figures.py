"""What became of one version's requests, in few numbers: how many, how many failed, how long the others took. Pure.

Running totals, which gateways put into their leases, so that whoever looks twice knows what happened in between. First
attempts and copies count, repeats and what stable answered in a candidate's place do not: a candidate that fails is
seen to fail, though no client is. What a client did wrong, or gave up, is no failure.

How long answers took is kept in buckets, four to each power of two microseconds: an eighth of a figure, more or less.
They are for people who watch; nothing is decided by them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final

_EXACT_BELOW_US: Final = 32
_LONGEST_US: Final = 2**40
_US_IN_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Running totals of one version, or what they grew by.

    Attributes:
        attempts: that came to their end.
        errors: of those: a 5xx, no connection, a broken one, no answer in time.
        took: how many were answered, by the first microsecond of the bucket in which they were.
    """

    attempts: int = 0
    errors: int = 0
    took: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        took = dict(self.took)
        for value in (self.attempts, self.errors, *took.values(), *took):
            if type(value) is not int or value < 0:
                raise ValueError(f"{value!r} is no count of requests: it is a whole number, 0 or more")
        if any(first != bucket_of(first) or first > _LONGEST_US for first in took):
            raise ValueError("a time stands in no bucket that there is")
        object.__setattr__(self, "took", MappingProxyType(took))

    def plus(self, other: Figures) -> Figures:
        """Both together."""
        took = dict(self.took)
        for first, count in other.took.items():
            took[first] = took.get(first, 0) + count
        return Figures(self.attempts + other.attempts, self.errors + other.errors, took)

    def since(self, earlier: Figures) -> Figures:
        """What came since then; all of it where there is less than there was, for that was counted from nothing."""
        if self.attempts < earlier.attempts:
            return self
        took = {first: max(0, count - earlier.took.get(first, 0)) for first, count in self.took.items()}
        grown = {first: count for first, count in took.items() if count}
        return Figures(self.attempts - earlier.attempts, max(0, self.errors - earlier.errors), grown)

    @property
    def error_share(self) -> float | None:
        """How many of those that ended failed, from 0 to 1; None where there were none."""
        return min(1.0, self.errors / self.attempts) if self.attempts else None

    def took_ms(self, quantile: float) -> float | None:
        """Within how many milliseconds that part of the answers came; None where there were none.

        Within a bucket, times are taken to lie evenly.
        """
        firsts = sorted(first for first, count in self.took.items() if count)
        if not firsts:
            return None
        ends = list(accumulate(self.took[first] for first in firsts))
        rank = quantile * ends[-1]
        at = min(bisect_right(ends, rank), len(firsts) - 1)
        first, count = firsts[at], self.took[firsts[at]]
        inside = (rank - (ends[at] - count)) / count
        return (first + inside * width_of(first)) / _US_IN_MS

    def plain(self) -> list[Any]:
        """For JSON: attempts, errors, and pairs of a bucket's first microsecond and its count."""
        return [self.attempts, self.errors, [[first, count] for first, count in sorted(self.took.items())]]


NONE: Final = Figures()


def figures_from(said: Any) -> Figures:  # noqa: ANN401 (any JSON)
    """What `Figures.plain` made.

    Raises:
        ValueError: it is something else.
    """
    try:
        attempts, errors, took = said
        return Figures(attempts, errors, {first: count for first, count in took})  # noqa: C416 (checked pair by pair)
    except TypeError as error:
        raise ValueError(f"these are no figures of a version: {error}") from error


def together(several: Iterable[Figures]) -> Figures:
    """All of them."""
    sums = NONE
    for one in several:
        sums = sums.plus(one)
    return sums


def bucket_of(micros: int) -> int:
    """The first microsecond of the bucket that holds this duration."""
    if micros < _EXACT_BELOW_US:
        return micros & ~3
    shift = micros.bit_length() - 3
    return micros >> shift << shift


def width_of(first_us: int) -> int:
    """How many microseconds a bucket holds."""
    return 4 if first_us < _EXACT_BELOW_US else 1 << (first_us.bit_length() - 3)
