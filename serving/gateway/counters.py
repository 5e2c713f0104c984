"""What became of every attempt at a model: running totals per replica and role, and how long each took.

Plain integers in plain containers, for the hot path adds to them. First attempts are kept apart from repeats: verdicts
count first attempts only. An attempt that got no answer (broken, late, given up) has no latency, only a duration after
which it still had none, so those are kept apart as well: after τ it counts as slower than τ, before it as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Role(IntEnum):
    """What an attempt was for."""

    FIRST = 0
    REPEAT = 1
    """Another replica of the same version, after a failure."""
    FALLBACK = 2
    """Stable, in the place of a candidate."""
    SHADOW = 3
    SYNTHETIC = 4
    """Any attempt at a request that is marked as a load test's: it enters no verdict."""


class Outcome(IntEnum):
    """How an attempt ended."""

    OK = 0
    CLIENT_ERROR = 1
    """The model answered 4xx."""
    SERVER_ERROR = 2
    UNAVAILABLE = 3
    """The model answered 503."""
    REFUSED = 4
    """No connection came to stand: no model has seen it."""
    BROKEN = 5
    """The connection broke before the answer was complete."""
    LATE = 6
    CANCELLED = 7
    """The client went away, or the gateway gave the request up."""


ANSWERED = frozenset((Outcome.OK, Outcome.CLIENT_ERROR, Outcome.SERVER_ERROR, Outcome.UNAVAILABLE))
_MICROSECONDS = 1_000_000
_SUB_BUCKETS = 16
_SHIFTED = _SUB_BUCKETS.bit_length()
_OUTCOME_OF = (Outcome.OK, Outcome.OK, Outcome.OK, Outcome.OK, Outcome.CLIENT_ERROR, Outcome.SERVER_ERROR)
_UNAVAILABLE = 503


def outcome_of(code: int) -> Outcome:
    """How an attempt ended that was answered with this status code."""
    if code == _UNAVAILABLE:
        return Outcome.UNAVAILABLE
    return _OUTCOME_OF[min(code // 100, len(_OUTCOME_OF) - 1)]


def bucket_of(seconds: float) -> int:
    """The log-linear bucket of a duration: 16 to each power of two microseconds, so at most 6.25 % wide.

    As in HdrHistogram (Tene 2012): exact below 32 µs, then the leading five bits.
    """
    micros = int(seconds * _MICROSECONDS)
    shift = micros.bit_length() - _SHIFTED
    return micros if shift <= 0 else shift * _SUB_BUCKETS + (micros >> shift)


def lower_edge_us(bucket: int) -> int:
    """The shortest duration of a bucket, in microseconds; its longest is one less than the next bucket's."""
    if bucket < 2 * _SUB_BUCKETS:
        return bucket
    shift = bucket // _SUB_BUCKETS - 1
    return (bucket - shift * _SUB_BUCKETS) << shift


class Series:
    """One role's attempts at one replica."""

    __slots__ = ("answered", "outcomes", "unanswered")

    def __init__(self) -> None:
        self.outcomes = [0] * len(Outcome)
        """How many, by `Outcome`."""
        self.answered: dict[int, int] = {}
        """How many by bucket of latency, of those that were answered."""
        self.unanswered: dict[int, int] = {}
        """How many by bucket of the time after which there was still no answer."""

    def add(self, outcome: Outcome, seconds: float) -> None:
        """One more attempt."""
        self.outcomes[outcome] += 1
        buckets = self.answered if outcome in ANSWERED else self.unanswered
        bucket = bucket_of(seconds)
        buckets[bucket] = buckets.get(bucket, 0) + 1

    def merge(self, other: Series) -> None:
        """Adds everything that another counted."""
        for outcome, count in enumerate(other.outcomes):
            self.outcomes[outcome] += count
        for ours, theirs in ((self.answered, other.answered), (self.unanswered, other.unanswered)):
            for bucket, count in theirs.items():
                ours[bucket] = ours.get(bucket, 0) + count

    def as_dict(self) -> Mapping[str, object]:
        """For JSON: outcomes by name without the zeros, and (bucket, count) pairs."""
        return {
            "outcomes": {o.name.lower(): self.outcomes[o] for o in Outcome if self.outcomes[o]},
            "answered": sorted(self.answered.items()),
            "unanswered": sorted(self.unanswered.items()),
        }
