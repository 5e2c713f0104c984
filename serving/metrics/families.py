"""The figures, each with its name, its labels and what it means: computed from what the control room knows.

`TABLE` is what there is; `docs/metrics.md` says the same and a test compares the two. Labels take their values from
models, versions, gateways and states alone, never from a request, and no figure has more than `MOST_SERIES` series:
what is over that is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from serving.control.views import Status
from serving.stream_counts import BOUNDS_S, StreamCounts

MOST_SERIES: Final = 10_000
"""Of one figure."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How many took how long.

    Attributes:
        counts: for each of `BOUNDS_S`, and for what took longer.
        total_s: all of them together.
    """

    counts: tuple[int, ...]
    total_s: float


Row = tuple[tuple[str, ...], float | Spread]
"""The values of the labels, and the figure."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at one moment.

    Attributes:
        version: of this release.
        status: as `sluice status` has it.
        refused: refused attempts since the control room began, by (door, kind).
        certificate_ends_s: when the listeners' certificate ends, seconds since 1970; None without one.
    """

    version: str
    status: Status
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    certificate_ends_s: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        kind: `gauge`, `counter`, `histogram` or `info`.
        labels: names.
        words: what it means.
        rows: its series.
    """

    kind: str
    labels: tuple[str, ...]
    words: str
    rows: Callable[[Facts], Iterable[Row]]


def _pools(facts: Facts) -> Iterator[Row]:
    for state, count in sorted(Counter(pool.state for pool in facts.status.pools).items()):
        yield (state,), count


def _endpoints(facts: Facts) -> Iterator[Row]:
    for model in facts.status.models:
        for one in model.versions:
            yield (model.name, str(one.version)), one.ready


def _requests(facts: Facts) -> Iterator[Row]:
    for lease in facts.status.gateways:
        for name, count in sorted(lease.requests.items()):
            yield (lease.id, *_model_and_version(name)), count


def _in_flight(facts: Facts) -> Iterator[Row]:
    """Zeros too, for every version that a gateway has answered for: a series that goes away is not a series of 0."""
    for lease in facts.status.gateways:
        for name in sorted({*lease.requests, *lease.in_flight_by}):
            yield (lease.id, *_model_and_version(name)), lease.in_flight_by.get(name, 0)


def _streams(facts: Facts) -> Iterator[tuple[tuple[str, ...], StreamCounts]]:
    for lease in facts.status.gateways:
        for one in lease.streams:
            yield (lease.id, *_model_and_version(one.of), one.role), one


def _streams_ended(facts: Facts) -> Iterator[Row]:
    for labels, one in _streams(facts):
        for end, count in sorted(one.ended.items()):
            yield (*labels, end), count


def _spread(counts: tuple[int, ...], total_us: int) -> Spread:
    return Spread(counts, total_us / _MICROSECONDS)


def _model_and_version(name: str) -> tuple[str, str]:
    model, _, version = name.rpartition("/")
    return model, version


def _certificate(facts: Facts) -> Iterator[Row]:
    if facts.certificate_ends_s is not None:
        yield (), facts.certificate_ends_s


_OF_STREAMS: Final = ("gateway", "model", "version", "role")
_MICROSECONDS: Final = 1_000_000

TABLE: Final[Mapping[str, Figure]] = MappingProxyType(
    {
        "sluice_build_info": Figure(
            "info", ("version",), "The release that runs; always 1.", lambda facts: [((facts.version,), 1)]
        ),
        "sluice_store_reachable": Figure(
            "gauge",
            (),
            "Whether Redis answers; while it does not, most other figures are missing.",
            lambda facts: [((), facts.status.reachable)],
        ),
        "sluice_epoch": Figure(
            "gauge", (), "The newest epoch of policies in the store.", lambda facts: [((), facts.status.head.epoch)]
        ),
        "sluice_gateway_epoch": Figure(
            "gauge",
            ("gateway",),
            "The epoch that a gateway worker runs.",
            lambda facts: [((lease.id,), lease.epoch) for lease in facts.status.gateways],
        ),
        "sluice_gateway_connections": Figure(
            "gauge",
            ("gateway",),
            "Connections of clients that a gateway worker holds.",
            lambda facts: [((lease.id,), lease.connections) for lease in facts.status.gateways],
        ),
        "sluice_requests_total": Figure(
            "counter",
            ("gateway", "model", "version"),
            "Requests that a gateway worker has answered since it began, by the version that they were assigned to.",
            _requests,
        ),
        "sluice_requests_in_flight": Figure(
            "gauge",
            ("gateway", "model", "version"),
            "Requests that a gateway worker is answering, by the version that they were assigned to.",
            _in_flight,
        ),
        "sluice_streams_total": Figure(
            "counter",
            (*_OF_STREAMS, "end"),
            "Streams of events that are over: complete, error (an event carried one), cancelled (by the client), "
            "broken, late, drained.",
            _streams_ended,
        ),
        "sluice_stream_events_total": Figure(
            "counter",
            _OF_STREAMS,
            "Events of the streams that are over.",
            lambda facts: [(labels, one.events) for labels, one in _streams(facts)],
        ),
        "sluice_stream_errors_total": Figure(
            "counter",
            _OF_STREAMS,
            "Of these, the ones that carry an error.",
            lambda facts: [(labels, one.errors) for labels, one in _streams(facts)],
        ),
        "sluice_stream_first_event_seconds": Figure(
            "histogram",
            _OF_STREAMS,
            "How long after the model was asked the first event of a stream came.",
            lambda facts: [(labels, _spread(one.first, one.first_us)) for labels, one in _streams(facts)],
        ),
        "sluice_stream_event_gap_seconds": Figure(
            "histogram",
            _OF_STREAMS,
            "How long after the event before an event of a stream came.",
            lambda facts: [(labels, _spread(one.gaps, one.gaps_us)) for labels, one in _streams(facts)],
        ),
        "sluice_endpoints_ready": Figure(
            "gauge", ("model", "version"), "Servers of a version that are ready for requests.", _endpoints
        ),
        "sluice_pools": Figure("gauge", ("state",), "Pools of servers, by their state in Ray Serve's words.", _pools),
        "sluice_refused_attempts_total": Figure(
            "counter",
            ("door", "kind"),
            "Attempts that were refused at the control API and at this listener since the control room began.",
            lambda facts: sorted(facts.refused.items()),
        ),
        "sluice_certificate_expiry_timestamp_seconds": Figure(
            "gauge", (), "When the certificate of the listeners ends, seconds since 1970.", _certificate
        ),
        "sluice_series_left_out": Figure(
            "gauge", ("figure",), "Series that this answer lacks, because a figure had too many.", lambda _: ()
        ),
    }
)
_LEFT_OUT: Final = "sluice_series_left_out"
_BESIDE_BUCKETS: Final = 3
"""Series of a histogram beside its bounds: what took longer, all of them, and their sum."""
_KINDS: Final[Mapping[str, type[CounterMetricFamily | GaugeMetricFamily]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}


def render(facts: Facts, most: int = MOST_SERIES) -> bytes:
    """All figures in Prometheus' text form.

    Args:
        facts: what is known.
        most: series of one figure.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(_families(facts, most)))
    return generate_latest(registry)


class _Once(Collector):
    """Figures that were computed already, in the shape that the client library asks for."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: which figures have series is known when they are collected."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._families


def _families(facts: Facts, most: int) -> Iterator[Metric]:
    left_out: list[Row] = []
    for name, figure in TABLE.items():
        rows = left_out if name == _LEFT_OUT else list(figure.rows(facts))
        each = len(BOUNDS_S) + _BESIDE_BUCKETS if figure.kind == "histogram" else 1
        kept = rows[: most // each]
        if len(rows) > len(kept):
            left_out.append(((name,), each * (len(rows) - len(kept))))
        yield _family(name, figure, kept)


def _family(name: str, figure: Figure, rows: Iterable[Row]) -> Metric:
    if figure.kind == "info":
        info = InfoMetricFamily(name.removesuffix("_info"), figure.words)
        for values, _ in rows:
            info.add_metric((), dict(zip(figure.labels, values, strict=True)))
        return info
    if figure.kind == "histogram":
        return _histogram(name, figure, rows)
    family = _KINDS[figure.kind](name, figure.words, labels=figure.labels)
    for values, count in rows:
        if not isinstance(count, Spread):
            family.add_metric(values, float(count))
    return family


def _histogram(name: str, figure: Figure, rows: Iterable[Row]) -> Metric:
    family = HistogramMetricFamily(name, figure.words, labels=figure.labels)
    for values, spread in rows:
        if isinstance(spread, Spread):
            counts = zip((*map(str, BOUNDS_S), "+Inf"), accumulate(spread.counts), strict=True)
            family.add_metric(values, list(counts), spread.total_s)
    return family
