"""What a sidecar tells Prometheus: its models' versions as they stand, and what it found since it began.

Only of models that it holds: where several sidecars share them, each tells its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from drift.findings import Finding
from drift.status import LayerStatus, Status

_OF: Final = ("model", "version")
_LAYERS: Final[Mapping[str, tuple[str, Callable[[LayerStatus], float]]]] = {
    "sluice_drift_value": ("The statistic of the last window, by layer.", lambda one: one.value),
    "sluice_drift_threshold": ("What one calm window in twenty exceeds.", lambda one: one.threshold),
    "sluice_drift_p_value": ("Of the last window alone.", lambda one: one.p_value),
    "sluice_drift_log_e": ("The log e-value of the last window.", lambda one: one.log_e),
    "sluice_drift_log_evidence": ("The log of the evidence that was added up.", lambda one: one.log_sum),
    "sluice_drift_log_alarm": ("The log of the evidence that it takes to alarm.", lambda one: one.log_alarm),
}


class DriftMetrics(Collector):
    """Gathered when somebody asks.

    Args:
        statuses: of all versions that are watched now.
    """

    def __init__(self, statuses: Callable[[], Iterable[Status]]) -> None:
        self._statuses = statuses
        self._findings: Counter[tuple[str, str, str]] = Counter()
        self.failures = 0
        """How often the store was away."""

    def found(self, findings: Iterable[Finding]) -> None:
        """Counts these."""
        self._findings.update((one.model, str(one.version), one.layer.value) for one in findings)

    def collect(self) -> Iterator[Metric]:
        """All families."""
        statuses = tuple(self._statuses())
        yield from _versions(statuses)
        yield from _layers(statuses)
        yield from _models(statuses)
        found = CounterMetricFamily("sluice_drift_findings", "Findings.", labels=(*_OF, "layer"))
        for labels, count in sorted(self._findings.items()):
            found.add_metric(labels, count)
        yield found
        yield CounterMetricFamily("sluice_drift_store_failures", "Times that the store was away.", self.failures)


def registry_of(metrics: DriftMetrics) -> CollectorRegistry:
    """A registry with these alone."""
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry


def _versions(statuses: tuple[Status, ...]) -> Iterator[Metric]:
    rows = CounterMetricFamily("sluice_drift_rows", "Rows that were folded in.", labels=_OF)
    windows = CounterMetricFamily("sluice_drift_windows", "Windows that were heard.", labels=_OF)
    watched = GaugeMetricFamily("sluice_drift_watched", "1 where there is a baseline.", labels=_OF)
    drifting = GaugeMetricFamily("sluice_drift_drifting", "1 while an episode is open.", labels=_OF)
    last = GaugeMetricFamily("sluice_drift_last_row_timestamp_seconds", "When the newest row came.", labels=_OF)
    for one in statuses:
        labels = (one.model, str(one.version))
        rows.add_metric(labels, one.rows)
        windows.add_metric(labels, one.windows)
        watched.add_metric(labels, float(bool(one.baseline)))
        drifting.add_metric(labels, float(one.is_drifting))
        if one.last_s is not None:
            last.add_metric(labels, one.last_s)
    yield from (rows, windows, watched, drifting, last)


def _layers(statuses: tuple[Status, ...]) -> Iterator[Metric]:
    for name, (words, value) in _LAYERS.items():
        family = GaugeMetricFamily(name, words, labels=(*_OF, "layer"))
        for one in statuses:
            for layer in one.layers:
                if not layer.waiting:
                    family.add_metric((one.model, str(one.version), layer.layer), value(layer))
        yield family


def _models(statuses: tuple[Status, ...]) -> Iterator[Metric]:
    """Of samples, which are the model's: once for each."""
    models = {one.model: one.samples for one in statuses}
    for name in ("offered", "dropped", "lost", "unreadable"):
        family = CounterMetricFamily(f"sluice_drift_samples_{name}", f"Samples that were {name}.", labels=("model",))
        for model, samples in models.items():
            family.add_metric((model,), getattr(samples, name))
        yield family
    pending = GaugeMetricFamily("sluice_drift_samples_pending", "Entries that wait to be read.", labels=("model",))
    for model, samples in models.items():
        pending.add_metric((model,), samples.pending)
    yield pending
