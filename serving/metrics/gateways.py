"""The figures that gateways say of themselves in their leases: what they run, what they answered, how long it took."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from serving.control.rolling.spreads import Spread
from serving.figures import Figures, width_of
from serving.leases import GatewayLease
from serving.metrics.figure import Facts, Figure, Kind, Row
from serving.stream_counts import BOUNDS_S, StreamCounts

_MICROSECONDS: Final = 1_000_000
_OF_VERSIONS: Final = ("gateway", "model", "version")
_OF_STREAMS: Final = (*_OF_VERSIONS, "role")


def _counts(counted: Callable[[GatewayLease], Mapping[str, int]], after: int = 0) -> Callable[[Facts], Iterator[Row]]:
    """Of every gateway, what it counted by 'model/version', and that many further labels with a slash before each."""

    def rows(facts: Facts) -> Iterator[Row]:
        for lease in facts.status.gateways:
            for name, count in sorted(counted(lease).items()):
                of, *more = name.rsplit("/", after)
                yield (lease.id, *_model_and_version(of), *more), count

    return rows


def _of_gateways(said: Callable[[GatewayLease], float]) -> Callable[[Facts], Iterator[Row]]:
    """Of every gateway, one number."""
    return lambda facts: (((lease.id,), said(lease)) for lease in facts.status.gateways)


def _in_flight(lease: GatewayLease) -> Mapping[str, int]:
    """Zeros too, for every version that it has answered for: a series that goes away is not a series of 0."""
    return {**dict.fromkeys(lease.requests, 0), **lease.in_flight_by}


def _not_captured(facts: Facts) -> Iterator[Row]:
    for lease in facts.status.gateways:
        for name, count in sorted(lease.not_captured.items()):
            kind, _, reason = name.rpartition("_")
            yield (lease.id, kind, reason), count


def _notes_lost(facts: Facts) -> Iterator[Row]:
    for lease in facts.status.gateways:
        for name, count in sorted(lease.notes_lost.items()):
            kind, _, reason = name.rpartition("_")
            yield (lease.id, kind, reason), count


def _durations(facts: Facts) -> Iterator[Row]:
    for lease in facts.status.gateways:
        for name, one in sorted(lease.figures.items()):
            yield (lease.id, *_model_and_version(name)), spread_of(one)


def spread_of(figures: Figures) -> Spread:
    """In our buckets: what lies across a bound counts as above it, and each as if it took as long as its middle."""
    counts, total_us = [0] * (len(BOUNDS_S) + 1), 0.0
    for first_us, count in figures.took.items():
        width = width_of(first_us)
        counts[bisect_left(BOUNDS_S, (first_us + width) / _MICROSECONDS)] += count
        total_us += (first_us + width / 2) * count
    return Spread(tuple(counts), total_us / _MICROSECONDS)


def _streams(facts: Facts) -> Iterator[tuple[tuple[str, ...], StreamCounts]]:
    for lease in facts.status.gateways:
        for one in lease.streams:
            yield (lease.id, *_model_and_version(one.of), one.role), one


def _streams_ended(facts: Facts) -> Iterator[Row]:
    for labels, one in _streams(facts):
        for end, count in sorted(one.ended.items()):
            yield (*labels, end), count


def _of_streams(said: Callable[[StreamCounts], float | Spread]) -> Callable[[Facts], Iterator[Row]]:
    return lambda facts: ((labels, said(one)) for labels, one in _streams(facts))


def _model_and_version(name: str) -> tuple[str, str]:
    model, _, version = name.rpartition("/")
    return model, version


GATEWAYS: Final = (
    Figure(
        "sluice_gateway_epoch",
        Kind.GAUGE,
        ("gateway",),
        "The epoch that a gateway worker runs.",
        _of_gateways(lambda lease: lease.epoch),
    ),
    Figure(
        "sluice_gateway_held",
        Kind.GAUGE,
        ("gateway",),
        "Whether a gateway worker refuses the store's newest epoch, because it does not descend from what it runs.",
        _of_gateways(lambda lease: lease.held is not None),
    ),
    Figure(
        "sluice_gateway_connections",
        Kind.GAUGE,
        ("gateway",),
        "Connections of clients that a gateway worker holds.",
        _of_gateways(lambda lease: lease.connections),
    ),
    Figure(
        "sluice_requests_total",
        Kind.COUNTER,
        _OF_VERSIONS,
        "Requests that a gateway worker has answered since it began, by the version that they were assigned to.",
        _counts(lambda lease: lease.requests),
    ),
    Figure(
        "sluice_requests_in_flight",
        Kind.GAUGE,
        _OF_VERSIONS,
        "Requests that a gateway worker is answering, by the version that they were assigned to.",
        _counts(_in_flight),
    ),
    Figure(
        "sluice_attempts_total",
        Kind.COUNTER,
        (*_OF_VERSIONS, "role", "outcome"),
        "Attempts at a version's servers that are over, by what they were for and how they ended.",
        _counts(lambda lease: lease.endings, after=2),
    ),
    Figure(
        "sluice_attempt_duration_seconds",
        Kind.HISTOGRAM,
        _OF_VERSIONS,
        "How long answers to first attempts and copies took; the sum is made of the buckets' middles.",
        _durations,
    ),
    Figure(
        "sluice_replicas_ejected",
        Kind.GAUGE,
        _OF_VERSIONS,
        "Servers of a version that a gateway worker leaves alone for a while, because they keep failing.",
        _counts(lambda lease: lease.ejected),
    ),
    Figure(
        "sluice_version_braked",
        Kind.GAUGE,
        _OF_VERSIONS,
        "Whether a gateway worker has stable answer in a version's place, because it keeps failing; until it is asked "
        "again and answers, which it is not once it gets no requests.",
        _counts(lambda lease: lease.braked),
    ),
    Figure(
        "sluice_shadow_copies_total",
        Kind.COUNTER,
        _OF_VERSIONS,
        "Copies of requests that a shadow has answered, or failed to.",
        _counts(lambda lease: lease.copied),
    ),
    Figure(
        "sluice_shadow_copies_shed_total",
        Kind.COUNTER,
        (*_OF_VERSIONS, "reason"),
        "Copies that were due to a shadow and not made, or that its server gave up unseen, by the reason.",
        _counts(lambda lease: lease.shed, after=1),
    ),
    Figure(
        "sluice_not_captured_total",
        Kind.COUNTER,
        ("gateway", "kind", "reason"),
        "Pairs of answers and single requests that a gateway worker could not hand to its keeper.",
        _not_captured,
    ),
    Figure(
        "sluice_notes_lost_total",
        Kind.COUNTER,
        ("gateway", "kind", "reason"),
        "What a gateway worker was to write down of requests and did not: trace and error (too many a second), note "
        "(not handed to its keeper), span (not sent to the collector), line (in no file).",
        _notes_lost,
    ),
    Figure(
        "sluice_streams_total",
        Kind.COUNTER,
        (*_OF_STREAMS, "end"),
        "Streams of events that are over: complete, error (an event carried one), cancelled (by the client), "
        "broken, late, drained.",
        _streams_ended,
    ),
    Figure(
        "sluice_stream_events_total",
        Kind.COUNTER,
        _OF_STREAMS,
        "Events of the streams that are over.",
        _of_streams(lambda one: one.events),
    ),
    Figure(
        "sluice_stream_errors_total",
        Kind.COUNTER,
        _OF_STREAMS,
        "Of these, the ones that carry an error.",
        _of_streams(lambda one: one.errors),
    ),
    Figure(
        "sluice_stream_first_event_seconds",
        Kind.HISTOGRAM,
        _OF_STREAMS,
        "How long after the model was asked the first event of a stream came.",
        _of_streams(lambda one: Spread(one.first, one.first_us / _MICROSECONDS)),
    ),
    Figure(
        "sluice_stream_event_gap_seconds",
        Kind.HISTOGRAM,
        _OF_STREAMS,
        "How long after the event before an event of a stream came.",
        _of_streams(lambda one: Spread(one.gaps, one.gaps_us / _MICROSECONDS)),
    ),
)
"""In the order of the answer."""
