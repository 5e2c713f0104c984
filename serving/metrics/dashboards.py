"""Grafana's dashboards: rollouts, gateways, drift, pools. Between them they show every figure that there is.

Written to helm/sluice/files/dashboards by `make metrics-files`.
"""

from __future__ import annotations

from typing import Final

from serving.metrics.alerts import RECEIVED
from serving.metrics.panels import MODEL, Dashboard, Line, Panel, now, quantiles, rate

_VERSION: Final = "{{model}} {{version}}"
_BY_VERSION: Final = "model, version"
_LAYER: Final = f"{_VERSION} {{{{layer}}}}"
_BY_LAYER: Final = f"{_BY_VERSION}, layer"
_FIRST: Final = 'role="first"'

ROLLOUTS: Final = Dashboard(
    "rollouts",
    "Sluice: rollouts",
    (
        Panel(
            "Shares: desired, effective, received",
            (
                now("sluice_share_desired_ratio", _BY_VERSION, f"{_VERSION} desired", "max"),
                now("sluice_share_effective_ratio", _BY_VERSION, f"{_VERSION} effective", "max"),
                Line(f"max by ({_BY_VERSION}) ({RECEIVED}{{{MODEL}}})", f"{_VERSION} received"),
            ),
        ),
        Panel(
            "Phase of the rollout in progress",
            (Line(f"max by (model, phase) (sluice_rollout_phase{{{MODEL}}}) == 1", "{{model}} {{phase}}"),),
        ),
        Panel(
            "Since when the shares are as they are",
            (Line(f"max by (model) (sluice_rollout_step_timestamp_seconds{{{MODEL}}}) * 1000", "{{model}}"),),
        ),
        Panel(
            "Evidence, as a power of ten, and what is enough",
            (
                now("sluice_verdict_evidence", f"{_BY_VERSION}, test", f"{_VERSION} {{{{test}}}}", "max"),
                now(
                    "sluice_verdict_evidence_needed", f"{_BY_VERSION}, test", f"{_VERSION} {{{{test}}}}: needed", "max"
                ),
            ),
        ),
        Panel(
            "Odds of the candidate to stable, with bounds",
            (
                now(
                    "sluice_verdict_odds_ratio",
                    f"{_BY_VERSION}, guardrail, bound",
                    f"{_VERSION} {{{{guardrail}}}} {{{{bound}}}}",
                    "max",
                ),
            ),
            "short",
        ),
        Panel(
            "Copies sent",
            (rate("sluice_shadow_copies_total", _BY_VERSION, f"{_VERSION} sent"),),
        ),
        Panel(
            "Copies shed",
            (rate("sluice_shadow_copies_shed_total", f"{_BY_VERSION}, reason", f"{_VERSION} {{{{reason}}}}"),),
        ),
        Panel(
            "Answers of shadows beside the client's",
            (rate("sluice_shadow_pairs_total", f"{_BY_VERSION}, found", f"{_VERSION} {{{{found}}}}"),),
        ),
        Panel(
            "How long changes take to reach every gateway",
            quantiles("sluice_change_propagation_seconds", "changed", "{{changed}}"),
        ),
        Panel(
            "Rollbacks: how long harm was done, and how long going back took",
            (
                *quantiles("sluice_rollback_detection_seconds", "", "detection"),
                *quantiles("sluice_rollback_propagation_seconds", "", "propagation"),
            ),
        ),
        Panel(
            "Feedback: the mean of what was said",
            (
                Line(
                    f"sum by ({_BY_VERSION}, metric) (sluice_feedback_values_amount{{{MODEL}}})"
                    f" / sum by ({_BY_VERSION}, metric) (sluice_feedback_values_total{{{MODEL}}})",
                    f"{_VERSION} {{{{metric}}}}",
                ),
            ),
            "short",
        ),
        Panel("Feedback by what became of it", (rate("sluice_feedback_total", "model, kind", "{{model}} {{kind}}"),)),
    ),
)

GATEWAYS: Final = Dashboard(
    "gateways",
    "Sluice: gateways",
    (
        Panel("Requests", (rate("sluice_requests_total", _BY_VERSION, _VERSION),), "reqps"),
        Panel("Requests in flight", (now("sluice_requests_in_flight", _BY_VERSION, _VERSION),)),
        Panel(
            "First attempts that did not end well",
            (
                rate(
                    "sluice_attempts_total",
                    f"{_BY_VERSION}, outcome",
                    f"{_VERSION} {{{{outcome}}}}",
                    f'{_FIRST}, outcome!="ok"',
                ),
            ),
        ),
        Panel(
            "Attempts that were not the first: repeats, fallbacks, load tests",
            (
                rate(
                    "sluice_attempts_total",
                    f"{_BY_VERSION}, role",
                    f"{_VERSION} {{{{role}}}}",
                    'role=~"repeat|fallback|synthetic"',
                ),
            ),
        ),
        Panel("How long answers take", quantiles("sluice_attempt_duration_seconds", _BY_VERSION, _VERSION)),
        Panel(
            "Epochs",
            (
                Line("max(sluice_epoch)", "store"),
                now("sluice_gateway_epoch", "gateway", "{{gateway}}", "max"),
            ),
        ),
        Panel("Connections", (now("sluice_gateway_connections", "gateway", "{{gateway}}"),)),
        Panel(
            "What keeps a gateway from its work",
            (
                now("sluice_gateway_held", "gateway", "{{gateway}} refuses the store's epoch", "max"),
                now("sluice_replicas_ejected", _BY_VERSION, f"{_VERSION}: servers left alone", "max"),
                now("sluice_version_braked", _BY_VERSION, f"{_VERSION}: braked", "max"),
                Line("1 - min(sluice_store_reachable)", "the store is away"),
            ),
            "short",
        ),
        Panel(
            "Streams by how they ended",
            (rate("sluice_streams_total", f"{_BY_VERSION}, end", f"{_VERSION} {{{{end}}}}", _FIRST),),
        ),
        Panel(
            "Events of streams",
            (
                rate("sluice_stream_events_total", _BY_VERSION, _VERSION, _FIRST),
                rate("sluice_stream_errors_total", _BY_VERSION, f"{_VERSION} errors", _FIRST),
            ),
        ),
        Panel(
            "Streams: time to the first event",
            quantiles("sluice_stream_first_event_seconds", _BY_VERSION, _VERSION, _FIRST),
        ),
        Panel(
            "Streams: time between events",
            quantiles("sluice_stream_event_gap_seconds", _BY_VERSION, _VERSION, _FIRST),
        ),
        Panel("Refused at the doors", (rate("sluice_refused_attempts_total", "door, kind", "{{door}} {{kind}}"),)),
        Panel(
            "When the certificate ends",
            (Line("min(sluice_certificate_expiry_timestamp_seconds) * 1000", "certificate"),),
        ),
        Panel("Series that are left out", (now("sluice_series_left_out", "figure", "{{figure}}"),)),
        Panel("Releases", (now("sluice_build_info", "version", "{{version}}", "count"),)),
    ),
)

DRIFT: Final = Dashboard(
    "drift",
    "Sluice: drift",
    (
        Panel(
            "Versions that drift, of those that are watched",
            (
                now("sluice_drift_drifting", _BY_VERSION, f"{_VERSION} drifts", "max"),
                now("sluice_drift_watched", _BY_VERSION, f"{_VERSION} is watched", "max"),
            ),
        ),
        Panel(
            "What drift is put down to, and what waits for an approval",
            (
                now("sluice_drift_episode_open", "model, cause", "{{model}} {{cause}}", "max"),
                now("sluice_drift_approval_pending", "model, action", "{{model}} waits to {{action}}", "max"),
            ),
        ),
        Panel(
            "Deliveries to webhooks that are over, also those of rollouts",
            (rate("sluice_webhook_deliveries_total", "result", "{{result}}"),),
        ),
        Panel(
            "Evidence, as a natural logarithm, and what it takes to alarm",
            (
                now("sluice_drift_log_evidence", _BY_LAYER, f"{_LAYER} evidence", "max"),
                now("sluice_drift_log_alarm", _BY_LAYER, f"{_LAYER} alarm", "max"),
                now("sluice_drift_log_e", _BY_LAYER, f"{_LAYER} last window", "max"),
            ),
        ),
        Panel(
            "Statistics of the last window, and what one calm window in twenty exceeds",
            (
                now("sluice_drift_value", _BY_LAYER, _LAYER, "max"),
                now("sluice_drift_threshold", _BY_LAYER, f"{_LAYER} threshold", "max"),
            ),
        ),
        Panel("p-values of the last window", (now("sluice_drift_p_value", _BY_LAYER, _LAYER, "min"),)),
        Panel("Findings", (rate("sluice_drift_findings_total", _BY_LAYER, _LAYER),)),
        Panel(
            "Rows and windows",
            (
                rate("sluice_drift_rows_total", _BY_VERSION, f"{_VERSION} rows"),
                rate("sluice_drift_windows_total", _BY_VERSION, f"{_VERSION} windows"),
            ),
        ),
        Panel(
            "When the newest row came",
            (
                Line(
                    f"max by ({_BY_VERSION}) (sluice_drift_last_row_timestamp_seconds{{{MODEL}}}) * 1000",
                    _VERSION,
                ),
            ),
        ),
        Panel(
            "Samples: offered, and what was missing of them",
            (
                rate("sluice_drift_samples_offered_total", "model", "{{model}} offered"),
                rate("sluice_drift_samples_dropped_total", "model", "{{model}} dropped"),
                rate("sluice_drift_samples_lost_total", "model", "{{model}} lost"),
                rate("sluice_drift_samples_unreadable_total", "model", "{{model}} unreadable"),
            ),
        ),
        Panel("Batches that wait to be read", (now("sluice_drift_samples_pending", "model", "{{model}}", "max"),)),
        Panel(
            "Times that a sidecar did not reach the store",
            (rate("sluice_drift_store_failures_total", "instance", "{{instance}}"),),
        ),
        Panel(
            "Samples that gateways could not hand over",
            (rate("sluice_not_captured_total", "kind, reason", "{{kind}} {{reason}}"),),
        ),
        Panel(
            "Spans and log lines that were lost",
            (rate("sluice_notes_lost_total", "kind, reason", "{{kind}} {{reason}}"),),
        ),
        Panel("Rows that the payload log took", (rate("sluice_payloads_kept_total", "reason", "{{reason}}"),)),
        Panel("Rows that it dropped", (rate("sluice_payloads_dropped_total", "reason", "{{reason}}"),)),
        Panel(
            "Labels and rewards that came",
            (rate("sluice_feedback_values_total", f"{_BY_VERSION}, metric", f"{_VERSION} {{{{metric}}}}"),),
        ),
    ),
)

POOLS: Final = Dashboard(
    "pools",
    "Sluice: pools",
    (
        Panel("Pools by their state", (now("sluice_pools", "state", "{{state}}"),)),
        Panel("Servers that are ready", (now("sluice_endpoints_ready", _BY_VERSION, _VERSION, "max"),)),
        Panel(
            "Replicas: ready and wanted",
            (
                now("sluice_pool_replicas_ready", _BY_VERSION, f"{_VERSION} ready", "max"),
                now("sluice_pool_replicas_wanted", _BY_VERSION, f"{_VERSION} wanted", "max"),
            ),
        ),
        Panel("Servers that died within an hour", (now("sluice_pool_crashes", _BY_VERSION, _VERSION, "max"),)),
        Panel("How long answers take", quantiles("sluice_attempt_duration_seconds", _BY_VERSION, _VERSION)),
        Panel(
            "Servers that gateways leave alone",
            (now("sluice_replicas_ejected", _BY_VERSION, _VERSION, "max"),),
        ),
    ),
)

DASHBOARDS: Final = (ROLLOUTS, GATEWAYS, DRIFT, POOLS)
