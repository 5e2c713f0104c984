"""What the streams of one version and role were like, as a gateway tells it in its lease and Prometheus reads it.

Durations stand in the few buckets of a histogram with fixed bounds, so that those of all gateways can be added up; a
gateway's own are sixteen times as fine (`serving.gateway.counters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
"""Of the buckets, upper and inclusive, in seconds; what takes longer than the last has one more."""


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """Streams that are over.

    Attributes:
        of: "model/version".
        role: what the attempt was for (`serving.gateway.counters.Role`), in lower case.
        ended: how many, by how they ended, in lower case; those that there were none of are left out.
        events: all of them.
        errors: events that carry an error.
        first: how many by the time to their first event, a number for each of `BOUNDS_S` and one for what took longer.
        first_us: these times together, in microseconds.
        gaps: how many events by the time since the one before, likewise.
        gaps_us: these times together, in microseconds.
    """

    of: str
    role: str
    ended: Mapping[str, int]
    events: int
    errors: int
    first: tuple[int, ...]
    first_us: int
    gaps: tuple[int, ...]
    gaps_us: int

    def __post_init__(self) -> None:
        for name in ("of", "role"):
            if type(getattr(self, name)) is not str:
                raise ValueError(f"what is said of streams names {getattr(self, name)!r} as {name}: it is text")
        ended = dict(self.ended)
        numbers = (*ended.values(), self.events, self.errors, self.first_us, self.gaps_us, *self.first, *self.gaps)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError(f"the streams of {self.of} are counted in whole numbers, 0 or more")
        if any(len(buckets) != len(BOUNDS_S) + 1 for buckets in (self.first, self.gaps)):
            raise ValueError(f"the streams of {self.of} are told in {len(BOUNDS_S) + 1} buckets")
        object.__setattr__(self, "ended", MappingProxyType(ended))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `stream_counts_from` reads it."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"ended": dict(self.ended)}


def stream_counts_from(said: Mapping[str, Any]) -> StreamCounts:
    """What `as_dict` wrote. Fields of a newer release are passed over.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    plain = {one.name: said[one.name] for one in fields(StreamCounts)}
    return StreamCounts(**plain | {"first": tuple(said["first"]), "gaps": tuple(said["gaps"])})
