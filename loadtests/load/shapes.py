"""How the rate goes over a run, and when each of its requests is due. Pure: values in, values out.

A shape is a rate that goes in straight lines from point to point, so the number of requests up to a moment is known in
closed form, and so is the moment of the nth request. Nothing is accumulated: any worker can say when any request is
due, and a worker that was late for one is late for no other.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise

_SPIKE_AT, _SPIKE_FOR = 0.4, 0.2
_FEWEST_POINTS = 2
MOST_POINTS = 10_000
LONGEST_S = 7 * 86_400.0
HIGHEST = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A rate over time.

    Attributes:
        points: (seconds from the begin, requests a second), the first at 0; two at one moment are a jump.
    """

    points: tuple[tuple[float, float], ...]
    _sums: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """How many requests there are up to each point."""

    def __post_init__(self) -> None:
        if not _FEWEST_POINTS <= len(self.points) <= MOST_POINTS:
            raise ValueError(
                f"a shape has {_FEWEST_POINTS} to {MOST_POINTS:,} points, and this one {len(self.points):,}"
            )
        times, rates = [at for at, _ in self.points], [rate for _, rate in self.points]
        if times[0] != 0 or sorted(times) != times or not 0 < times[-1] <= LONGEST_S:
            raise ValueError(f"a shape begins at 0, goes on in time and lasts {LONGEST_S:,.0f} seconds at most")
        if not all(math.isfinite(rate) and 0 <= rate <= HIGHEST for rate in rates) or not any(rates):
            raise ValueError(f"a rate is 0 to {HIGHEST:,.0f} requests a second, and not always 0")
        sums = [0.0]
        for (start, first), (end, last) in pairwise(self.points):
            sums.append(sums[-1] + (end - start) * (first + last) / 2)
        object.__setattr__(self, "_sums", tuple(sums))

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.points[-1][0]

    @property
    def total(self) -> float:
        """How many requests there are in all of it."""
        return self._sums[-1]

    @property
    def peak(self) -> float:
        """The highest rate, requests a second."""
        return max(rate for _, rate in self.points)

    def rate(self, at_s: float) -> float:
        """Requests a second at that moment; 0 before and after."""
        if not 0 <= at_s <= self.seconds:
            return 0.0
        nth = min(bisect_right(self.points, (at_s, math.inf)), len(self.points) - 1)
        (start, first), (end, last) = self.points[nth - 1], self.points[nth]
        return last if end == start else first + (last - first) * (at_s - start) / (end - start)

    def due(self, number: float) -> float:
        """When so many requests have been sent, seconds from the begin.

        Raises:
            ValueError: there are not so many.
        """
        if not 0 <= number <= self.total:
            raise ValueError(f"request {number:g} of {self.total:g} is in no part of this shape")
        nth = max(1, bisect_left(self._sums, number))
        (start, first), (end, last) = self.points[nth - 1], self.points[nth]
        more = number - self._sums[nth - 1]
        if more <= 0:
            return start
        slope = (last - first) / (end - start)
        # The root of first*t + slope*t*t/2 = more, in the form that does not cancel where the slope is nearly 0.
        root = math.sqrt(max(0.0, first * first + 2 * slope * more))
        return min(end, start + 2 * more / (first + root))


def steady(rate: float, seconds: float) -> Shape:
    """One rate all the time; a soak is a long one."""
    return Shape(((0.0, rate), (seconds, rate)))


def ramp(rate: float, seconds: float) -> Shape:
    """From nothing to the rate."""
    return Shape(((0.0, 0.0), (seconds, rate)))


def spike(rate: float, seconds: float) -> Shape:
    """A tenth of the rate, and the whole of it for a fifth of the time."""
    low, start, end = rate / 10, seconds * _SPIKE_AT, seconds * (_SPIKE_AT + _SPIKE_FOR)
    return Shape(((0.0, low), (start, low), (start, rate), (end, rate), (end, low), (seconds, low)))


def recorded(counts: Sequence[float], rate: float, seconds: float) -> Shape:
    """A day, or whatever was recorded, squeezed into these seconds; its busiest stretch gets the rate.

    Args:
        counts: requests in each of its stretches, all of one length.
        rate: requests a second where they are the most.
        seconds: how long the whole takes here.
    """
    busiest = max(counts, default=0.0)
    if len(counts) < _FEWEST_POINTS or not math.isfinite(busiest) or busiest <= 0:
        raise ValueError("a record has two counts or more, and not only zeros")
    step = seconds / (len(counts) - 1)
    return Shape(tuple((nth * step, each / busiest * rate) for nth, each in enumerate(counts)))


SHAPES = {"steady": steady, "soak": steady, "ramp": ramp, "spike": spike}


def timetable(shape: Shape, share: float, worker: int = 0, workers: int = 1) -> Iterator[tuple[int, float]]:
    """The requests of one worker among several that deal them out in turn: which each is, and when it is due.

    Args:
        shape: of all requests.
        share: how much of them these are, over 0 to 1; the requests are numbered among those.
        worker: which worker, from 0.
        workers: how many there are.
    """
    for number in count(worker, workers):
        place = _place(number, share)
        if place > shape.total:
            return
        yield number, shape.due(place)


def how_many(shape: Shape, share: float) -> int:
    """How many requests all workers' timetables have together."""
    number = max(0, math.floor(shape.total * share))
    while number and _place(number - 1, share) > shape.total:
        number -= 1
    return number + (_place(number, share) <= shape.total)


def _place(number: int, share: float) -> float:
    """Where the nth of that share of the requests is among all of them: in the middle of its stretch."""
    return (number + 0.5) / share
