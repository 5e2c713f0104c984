"""What became of every attempt at a model: running totals per replica and role, and how long each took.

Plain integers in plain containers, for the hot path adds to them. First attempts are kept apart from repeats: verdicts
count first attempts only. An attempt that got no answer (broken, late, given up) has no latency, only a duration after
which it still had none, so those are kept apart as well: after τ it counts as slower than τ, before it as unknown.

An attempt whose answer was a stream is counted as any other, as a server's error where one of its events said so, and
what its events were like is counted beside that (`Streams`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING

from serving.stream_counts import BOUNDS_S, StreamCounts

if TYPE_CHECKING:
    from serving.gateway.streaming import StreamWatch


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


class Ended(IntEnum):
    """How a stream ended."""

    COMPLETE = 0
    ERROR = 1
    """One of its events carried an error, whatever came afterwards."""
    CANCELLED = 2
    """The client went away, or did not read for too long."""
    BROKEN = 3
    """The model's server broke it off."""
    LATE = 4
    """No event came for too long, or the client's own deadline passed."""
    DRAINED = 5
    """The gateway was stopped, and had waited for it as long as it may."""


MOST_LABELS = 63
OTHER = "other"
"""In the place of a label that came too late to have a place of its own."""
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


class Durations:
    """How many took how long, by bucket, and all of them together."""

    __slots__ = ("buckets", "total_s")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.total_s = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """So many more that took this long each."""
        bucket = bucket_of(seconds)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.total_s += seconds * count

    def told(self) -> tuple[int, ...]:
        """In the buckets of `BOUNDS_S`; one of ours that lies across a bound counts as what it begins with."""
        counts = [0] * (len(BOUNDS_S) + 1)
        for bucket, count in self.buckets.items():
            counts[bisect_left(BOUNDS_S, lower_edge_us(bucket) / _MICROSECONDS)] += count
        return tuple(counts)

    @property
    def total_us(self) -> int:
        """All of them together, in microseconds."""
        return int(self.total_s * _MICROSECONDS)

    def merge(self, other: Durations) -> None:
        """Adds everything that another counted."""
        self.total_s += other.total_s
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count


class Streams:
    """What one role's streams from one replica were like, those that are over."""

    __slots__ = ("ended", "errors", "events", "first", "gaps")

    def __init__(self) -> None:
        self.ended = [0] * len(Ended)
        """How many, by `Ended`."""
        self.events = 0
        self.errors = 0
        """Events that carry an error."""
        self.first = Durations()
        """From asking to the first event; of those that had one."""
        self.gaps = Durations()
        """From one event to the next."""

    def add(self, watch: StreamWatch, how: Ended) -> None:
        """One more stream is over."""
        self.ended[watch.ended(how)] += 1
        self.events += watch.events
        self.errors += watch.errors
        if watch.first_s is not None:
            self.first.add(watch.first_s)
        self.gaps.merge(watch.gaps)

    def merge(self, other: Streams) -> None:
        """Adds everything that another counted."""
        for ended, count in enumerate(other.ended):
            self.ended[ended] += count
        self.events += other.events
        self.errors += other.errors
        self.first.merge(other.first)
        self.gaps.merge(other.gaps)

    def as_dict(self) -> Mapping[str, object]:
        """For JSON: ends by name without the zeros, and (bucket, count) pairs."""
        return {
            "ended": {how.name.lower(): self.ended[how] for how in Ended if self.ended[how]},
            "events": self.events,
            "errors": self.errors,
            "first": sorted(self.first.buckets.items()),
            "gaps": sorted(self.gaps.buckets.items()),
        }

    def told(self, of: str, role: Role) -> StreamCounts:
        """As the lease has it."""
        ended = {how.name.lower(): self.ended[how] for how in Ended if self.ended[how]}
        first, gaps = self.first, self.gaps
        return StreamCounts(
            of, role.name.lower(), ended, self.events, self.errors, first.told(), first.total_us, gaps.told(),
            gaps.total_us,
        )  # fmt: skip


class Series:
    """One role's attempts at one replica."""

    __slots__ = ("answered", "outcomes", "predicted", "streams", "unanswered")

    def __init__(self) -> None:
        self.outcomes = [0] * len(Outcome)
        """How many, by `Outcome`."""
        self.answered: dict[int, int] = {}
        """How many by bucket of latency, of those that were answered."""
        self.unanswered: dict[int, int] = {}
        """How many by bucket of the time after which there was still no answer."""
        self.streams: Streams | None = None
        """Of those whose answer was one; None where there was none."""
        self.predicted: dict[str, int] | None = None
        """How many by what they predicted, of a sample; None where nobody asked for that."""

    def add(self, outcome: Outcome, seconds: float) -> int:
        """One more attempt; the bucket of how long it took."""
        self.outcomes[outcome] += 1
        buckets = self.answered if outcome in ANSWERED else self.unanswered
        bucket = bucket_of(seconds)
        buckets[bucket] = buckets.get(bucket, 0) + 1
        return bucket

    def add_stream(self, watch: StreamWatch, how: Ended) -> None:
        """The answer to one of these attempts was a stream, which is over now."""
        if self.streams is None:
            self.streams = Streams()
        self.streams.add(watch, how)

    def add_prediction(self, label: str, count: int = 1) -> None:
        """So many of these attempts predicted this; further labels than the first `MOST_LABELS` are one."""
        predicted = self.predicted
        if predicted is None:
            predicted = self.predicted = {}
        if label not in predicted and len(predicted) >= MOST_LABELS:
            label = OTHER
        predicted[label] = predicted.get(label, 0) + count

    def merge(self, other: Series) -> None:
        """Adds everything that another counted."""
        if other.predicted is not None:
            for label, count in other.predicted.items():
                self.add_prediction(label, count)
        if other.streams is not None:
            if self.streams is None:
                self.streams = Streams()
            self.streams.merge(other.streams)
        for outcome, count in enumerate(other.outcomes):
            self.outcomes[outcome] += count
        for buckets, theirs in ((self.answered, other.answered), (self.unanswered, other.unanswered)):
            for bucket, count in theirs.items():
                buckets[bucket] = buckets.get(bucket, 0) + count

    def as_dict(self) -> Mapping[str, object]:
        """For JSON: outcomes by name without the zeros, and (bucket, count) pairs; streams where there were any."""
        plain = {
            "outcomes": {o.name.lower(): self.outcomes[o] for o in Outcome if self.outcomes[o]},
            "answered": sorted(self.answered.items()),
            "unanswered": sorted(self.unanswered.items()),
        }
        return plain if self.streams is None else {**plain, "streams": self.streams.as_dict()}


def stream_counts(series: Iterable[tuple[object, str, int, Role, Series]]) -> tuple[StreamCounts, ...]:
    """What streams were like by version and role, over all replicas.

    Args:
        series: with replica, model, version and role, as `Table.series` gives them.
    """
    sums: dict[tuple[str, Role], Streams] = {}
    for _, model, version, role, counted in series:
        if counted.streams is not None:
            sums.setdefault((f"{model}/{version}", role), Streams()).merge(counted.streams)
    return tuple(streams.told(of, role) for (of, role), streams in sorted(sums.items()))
