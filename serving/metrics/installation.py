"""The figures of the installation itself: its release, its store, its pools, its doors, what it keeps of payloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from serving.control.views import PoolView
from serving.metrics.figure import Facts, Figure, Kind, Row

LEFT_OUT: Final = "sluice_series_left_out"
"""What counts the series that are missing; it is known last."""
_OF_VERSIONS: Final = ("model", "version")


def _pools(facts: Facts) -> Iterator[Row]:
    for state, count in sorted(Counter(pool.state for pool in facts.status.pools).items()):
        yield (state,), count


def _of_pools(said: Callable[[PoolView], int]) -> Callable[[Facts], Iterator[Row]]:
    """By version: two pools of one are together."""

    def rows(facts: Facts) -> Iterator[Row]:
        sums: Counter[tuple[str, ...]] = Counter()
        for pool in facts.status.pools:
            sums[pool.model, str(pool.version)] += said(pool)
        yield from sorted(sums.items())

    return rows


def _endpoints(facts: Facts) -> Iterator[Row]:
    for model in facts.status.models:
        for one in model.versions:
            yield (model.name, str(one.version)), one.ready


def _certificate(facts: Facts) -> Iterator[Row]:
    if facts.certificate_ends_s is not None:
        yield (), facts.certificate_ends_s


def _kept(facts: Facts) -> Iterator[Row]:
    for why, count in sorted(facts.payloads.kept.items()):
        yield (why,), count


def _dropped(facts: Facts) -> Iterator[Row]:
    for why, count in sorted(facts.payloads.dropped.items()):
        yield (why,), count


STANDING: Final = (
    Figure(
        "sluice_build_info",
        Kind.INFO,
        ("version",),
        "The release that runs; always 1.",
        lambda facts: [((facts.version,), 1)],
    ),
    Figure(
        "sluice_store_reachable",
        Kind.GAUGE,
        (),
        "Whether Redis answers; while it does not, most other figures are missing.",
        lambda facts: [((), facts.status.reachable)],
    ),
    Figure(
        "sluice_epoch",
        Kind.GAUGE,
        (),
        "The newest epoch of policies in the store.",
        lambda facts: [((), facts.status.head.epoch)],
    ),
)
"""What comes first."""

POOLS: Final = (
    Figure(
        "sluice_endpoints_ready",
        Kind.GAUGE,
        _OF_VERSIONS,
        "Servers of a version that are ready for requests.",
        _endpoints,
    ),
    Figure(
        "sluice_pools",
        Kind.GAUGE,
        ("state",),
        "Pools of servers, by their state in Ray Serve's words.",
        _pools,
    ),
    Figure(
        "sluice_pool_replicas_ready",
        Kind.GAUGE,
        _OF_VERSIONS,
        "Replicas of a version's pools that have started.",
        _of_pools(lambda pool: pool.ready),
    ),
    Figure(
        "sluice_pool_replicas_wanted",
        Kind.GAUGE,
        _OF_VERSIONS,
        "Replicas of a version's pools that there are to be.",
        _of_pools(lambda pool: pool.wanted),
    ),
    Figure(
        "sluice_pool_crashes",
        Kind.GAUGE,
        _OF_VERSIONS,
        "Servers of a version that died, and were started again, within the last hour.",
        _of_pools(lambda pool: pool.crashes),
    ),
)
"""What versions run on."""

DOORS: Final = (
    Figure(
        "sluice_payloads_kept_total",
        Kind.COUNTER,
        ("reason",),
        "Rows that the payload logs on the control room's disk took, by why.",
        _kept,
    ),
    Figure(
        "sluice_payloads_dropped_total",
        Kind.COUNTER,
        ("reason",),
        "Requests and rows that are in no file of these logs, by why.",
        _dropped,
    ),
    Figure(
        "sluice_refused_attempts_total",
        Kind.COUNTER,
        ("door", "kind"),
        "Attempts that were refused at the control API and at this listener since the control room began.",
        lambda facts: sorted(facts.refused.items()),
    ),
    Figure(
        "sluice_certificate_expiry_timestamp_seconds",
        Kind.GAUGE,
        (),
        "When the certificate of the listeners ends, seconds since 1970.",
        _certificate,
    ),
    Figure(
        LEFT_OUT,
        Kind.GAUGE,
        ("figure",),
        "Series that this answer lacks, because a figure had too many.",
        lambda _: (),
    ),
)
"""What comes last."""
