"""From single measurements to the table's rows: medians over the rounds, their spread, and ratios. All pure.

A ratio is one of medians, so it can be checked against the rows; the peers take turns within each round, so that what
else the machine does falls on all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from loadtests.compare.plan import DIRECT, ENVOY, REFERENCE

LEAST_OF_DIRECT = 0.4
"""An Envoy that makes less of what Triton makes alone is set up or disturbed in a way that says nothing about it."""

_SMALL = frozenset({"json", "grpc"})

Key = tuple[str, str, int]
"""A row's path, payload, and how many were in flight."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One path at one point in one round.

    Attributes:
        path: what the requests went through.
        payload: what was sent.
        in_flight: how many at once; over HTTP/1 each has a connection of its own.
        rps: requests, or calls, in a second.
        p50_ms: the median latency.
        p99_ms: the 99th percentile of the latency.
        cpu_s: CPU seconds of what is between client and Triton, for 1,000 requests; None where nothing is.
        resident_mb: its resident memory afterwards; None as above.
    """

    path: str
    payload: str
    in_flight: int
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_s: float | None = None
    resident_mb: float | None = None

    @property
    def key(self) -> Key:
        """The row that it belongs to."""
        return self.path, self.payload, self.in_flight


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds; a spread is (highest - lowest) / median."""

    path: str
    payload: str
    in_flight: int
    rounds: int
    rps: float
    rps_spread: float
    p50_ms: float
    p50_spread: float
    p99_ms: float
    p99_spread: float
    rps_to_envoy: float | None = None
    rps_to_direct: float | None = None
    cpu_s_per_1000: float | None = None
    resident_mb: float | None = None


Rows = Mapping[Key, Row]


def rows(samples: Iterable[Sample]) -> Rows:
    """One row for each path, payload and number in flight, in the order in which they first came."""
    grouped: dict[Key, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.key, []).append(sample)
    rates = {key: median(sample.rps for sample in group) for key, group in grouped.items()}
    return {key: _row(key, group, rates) for key, group in grouped.items()}


def spread(values: Sequence[float]) -> float:
    """How far the values lie apart, in medians."""
    return (max(values) - min(values)) / median(values)


def added(pairs: Iterable[tuple[float, float]]) -> float:
    """The median over the pairs of how much more the second is than the first, as a share of the first."""
    return median(with_it / without - 1.0 for without, with_it in pairs)


def void(table: Rows) -> str | None:
    """Why the run counts for nothing; None where it counts. Held to the small requests, where a proxy costs most."""
    for (path, payload, in_flight), row in table.items():
        if (
            path == ENVOY
            and payload in _SMALL
            and row.rps_to_direct is not None
            and row.rps_to_direct < LEAST_OF_DIRECT
        ):
            return (
                f"{payload}, {in_flight} in flight: Envoy made {row.rps_to_direct:.2f} of what Triton made alone, less "
                f"than {LEAST_OF_DIRECT}: something is wrong with it or with this machine"
            )
    return None


def _row(key: Key, group: Sequence[Sample], rates: Mapping[Key, float]) -> Row:
    path, payload, in_flight = key
    rps, p50, p99 = ([pick(sample) for sample in group] for pick in _LATENCIES)
    envoys = rates.get((REFERENCE.get(path, ENVOY), payload, in_flight))
    directs = rates.get((DIRECT, payload, in_flight))
    return Row(
        path,
        payload,
        in_flight,
        len(group),
        *(median(rps), spread(rps)),
        *(median(p50), spread(p50)),
        *(median(p99), spread(p99)),
        None if envoys is None else median(rps) / envoys,
        None if directs is None else median(rps) / directs,
        _known(sample.cpu_s for sample in group),
        _known(sample.resident_mb for sample in group),
    )


_LATENCIES: tuple[Callable[[Sample], float], ...] = (
    lambda sample: sample.rps,
    lambda sample: sample.p50_ms,
    lambda sample: sample.p99_ms,
)


def _known(values: Iterable[float | None]) -> float | None:
    """The median of those that there are."""
    known = [value for value in values if value is not None]
    return median(known) if known else None
