"""The table of all figures, and their text: computed from what the control room knows.

`TABLE` is what there is: `docs/metrics.md`, dashboards and alert rules are made of it or held against it. Labels take
their values from models, versions, gateways and states, and of feedback from what its metrics are called, never from a
request; no figure has more than `MOST_SERIES` series: what is over that is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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

from serving.control.rolling.spreads import Spread
from serving.metrics.drift import DRIFT
from serving.metrics.episodes import EPISODES
from serving.metrics.figure import Facts, Figure, Kind, Row, Source
from serving.metrics.gateways import GATEWAYS
from serving.metrics.installation import DOORS, LEFT_OUT, POOLS, STANDING
from serving.metrics.rollouts import ROLLOUTS
from serving.metrics.webhooks import WEBHOOKS
from serving.stream_counts import BOUNDS_S

MOST_SERIES: Final = 10_000
"""Of one figure."""

TABLE: Final[Mapping[str, Figure]] = MappingProxyType(
    {one.name: one for one in (*STANDING, *GATEWAYS, *POOLS, *ROLLOUTS, *DOORS, *EPISODES, *WEBHOOKS, *DRIFT)}
)
"""Every figure by its name, in the order of the answer."""

_BESIDE_BUCKETS: Final = 3
"""Series of a histogram beside its bounds: what took longer, all of them, and their sum."""
_KINDS: Final[Mapping[Kind, type[CounterMetricFamily | GaugeMetricFamily]]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
}


def render(facts: Facts, most: int = MOST_SERIES) -> bytes:
    """All figures of the control room in Prometheus' text form.

    Args:
        facts: what is known.
        most: series of one figure.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(_families(facts, most)))
    return generate_latest(registry)


def series_of(name: str) -> tuple[str, ...]:
    """Under which names Prometheus keeps the figure of that name: a histogram has three."""
    if TABLE[name].kind is Kind.HISTOGRAM:
        return f"{name}_bucket", f"{name}_count", f"{name}_sum"
    return (name,)


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
        if figure.source is not Source.CONTROL:
            continue
        rows = left_out if name == LEFT_OUT else list(figure.rows(facts))
        each = len(BOUNDS_S) + _BESIDE_BUCKETS if figure.kind is Kind.HISTOGRAM else 1
        kept = rows[: most // each]
        if len(rows) > len(kept):
            left_out.append(((name,), each * (len(rows) - len(kept))))
        yield _family(figure, kept)


def _family(figure: Figure, rows: Iterable[Row]) -> Metric:
    if figure.kind is Kind.INFO:
        return _info(figure, rows)
    if figure.kind is Kind.HISTOGRAM:
        return _histogram(figure, rows)
    family = _KINDS[figure.kind](figure.name, figure.words, labels=figure.labels)
    for values, count in rows:
        if not isinstance(count, Spread):
            family.add_metric(values, float(count))
    return family


def _info(figure: Figure, rows: Iterable[Row]) -> Metric:
    family = InfoMetricFamily(figure.name.removesuffix("_info"), figure.words)
    for values, _ in rows:
        family.add_metric((), dict(zip(figure.labels, values, strict=True)))
    return family


def _histogram(figure: Figure, rows: Iterable[Row]) -> Metric:
    family = HistogramMetricFamily(figure.name, figure.words, labels=figure.labels)
    for values, spread in rows:
        if isinstance(spread, Spread):
            counts = zip((*map(str, BOUNDS_S), "+Inf"), accumulate(spread.counts), strict=True)
            family.add_metric(values, list(counts), spread.total_s)
    return family
