"""The figures of the drift sidecar, which exports them itself (`drift.metrics`): a test holds the two together.

They stand here for who reads all figures in one table, and for the dashboards and rules that are made of it.
"""

from __future__ import annotations

from typing import Final

from serving.metrics.figure import Figure, Kind, Source

_OF_MODELS: Final = ("model",)
_OF_VERSIONS: Final = ("model", "version")
_OF_LAYERS: Final = (*_OF_VERSIONS, "layer")


def _figure(name: str, kind: Kind, labels: tuple[str, ...], words: str) -> Figure:
    """One that the control room knows no series of."""
    return Figure(name, kind, labels, words, lambda _: (), Source.DRIFT)


DRIFT: Final = (
    _figure("sluice_drift_rows_total", Kind.COUNTER, _OF_VERSIONS, "Rows that were folded in."),
    _figure("sluice_drift_windows_total", Kind.COUNTER, _OF_VERSIONS, "Windows that were heard."),
    _figure("sluice_drift_watched", Kind.GAUGE, _OF_VERSIONS, "1 where there is a baseline."),
    _figure("sluice_drift_drifting", Kind.GAUGE, _OF_VERSIONS, "1 while an episode is open."),
    _figure("sluice_drift_last_row_timestamp_seconds", Kind.GAUGE, _OF_VERSIONS, "When the newest row came."),
    _figure("sluice_drift_value", Kind.GAUGE, _OF_LAYERS, "The statistic of the last window, by layer."),
    _figure("sluice_drift_threshold", Kind.GAUGE, _OF_LAYERS, "What one calm window in twenty exceeds."),
    _figure("sluice_drift_p_value", Kind.GAUGE, _OF_LAYERS, "Of the last window alone."),
    _figure("sluice_drift_log_e", Kind.GAUGE, _OF_LAYERS, "The log e-value of the last window."),
    _figure("sluice_drift_log_evidence", Kind.GAUGE, _OF_LAYERS, "The log of the evidence that was added up."),
    _figure("sluice_drift_log_alarm", Kind.GAUGE, _OF_LAYERS, "The log of the evidence that it takes to alarm."),
    *(
        _figure(f"sluice_drift_samples_{name}_total", Kind.COUNTER, _OF_MODELS, f"Samples that were {name}.")
        for name in ("offered", "dropped", "lost", "unreadable")
    ),
    _figure("sluice_drift_samples_pending", Kind.GAUGE, _OF_MODELS, "Entries that wait to be read."),
    _figure("sluice_drift_findings_total", Kind.COUNTER, _OF_LAYERS, "Findings."),
    _figure("sluice_drift_store_failures_total", Kind.COUNTER, (), "Times that the store was away."),
)
"""In the order of the sidecar's answer."""
