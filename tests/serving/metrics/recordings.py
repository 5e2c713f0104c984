"""Series as Prometheus would have recorded them, one value a minute: of a calm installation, and of each incident.

An incident is what differs from calm, from minute `BEGINS` on: before it nothing fires, at minute `ENDS` one alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BEGINS: Final = 20
ENDS: Final = 60
_AFTER: Final = ENDS - BEGINS

FIRING: Final = 'group by (alertname) (ALERTS{alertstate="firing"})'
"""Asks which alerts fire, each once."""

Series = Mapping[str, str]
"""In promtool's words: a name with labels, and values."""


def steady(value: float) -> str:
    """Always the same."""
    return f"{value}x{ENDS}"


def turns(before: float, after: float, at: int = BEGINS) -> str:
    """One value up to that minute, another from then on."""
    return f"{before}x{at - 1} {after}x{ENDS - at}"


def grows(by: float, later: float | None = None) -> str:
    """A counter, by so many a minute; from `BEGINS` on by others, where that is said."""
    if later is None:
        return f"0+{by}x{ENDS}"
    return f"0+{by}x{BEGINS - 1} {by * BEGINS}+{later}x{_AFTER}"


_OF: Final = 'gateway="g1", model="digits", version="2"'
_VERSION: Final = 'model="digits", version="2"'
_ATTEMPTS: Final = f'sluice_attempts_total{{{_OF}, role="first", outcome='
_STREAMS: Final = f'sluice_streams_total{{{_OF}, role="first", end='
_FINDS: Final = 'sluice_rollback_propagation_seconds_bucket{le="5.0"}'

CALM: Final[Series] = MappingProxyType(
    {
        'sluice_build_info{version="1.2.3"}': steady(1),
        "sluice_store_reachable": steady(1),
        "sluice_epoch": turns(7, 8),
        'sluice_gateway_epoch{gateway="g1"}': turns(7, 8),
        'sluice_gateway_epoch{gateway="g2"}': turns(7, 8),
        'sluice_gateway_held{gateway="g1"}': steady(0),
        f"sluice_requests_total{{{_OF}}}": grows(600),
        f'{_ATTEMPTS}"ok"}}': grows(600),
        f'{_ATTEMPTS}"client_error"}}': grows(300),
        f'{_ATTEMPTS}"server_error"}}': grows(6),
        f'{_STREAMS}"complete"}}': grows(100),
        f'{_STREAMS}"error"}}': grows(1),
        f"sluice_replicas_ejected{{{_OF}}}": steady(0),
        f"sluice_version_braked{{{_OF}}}": steady(0),
        f"sluice_share_desired_ratio{{{_VERSION}}}": turns(0.05, 0.1),
        f"sluice_share_effective_ratio{{{_VERSION}}}": turns(0.05, 0.1),
        'sluice_share_effective_ratio{model="digits", version="3"}': steady(0),
        f"sluice_endpoints_ready{{{_VERSION}}}": steady(2),
        'sluice_endpoints_ready{model="digits", version="3"}': steady(0),
        f"sluice_pool_replicas_ready{{{_VERSION}}}": steady(2),
        f"sluice_pool_replicas_wanted{{{_VERSION}}}": steady(2),
        f"sluice_pool_crashes{{{_VERSION}}}": steady(1),
        "sluice_rollback_detection_seconds_count": steady(3),
        "sluice_rollback_propagation_seconds_count": steady(3),
        _FINDS: steady(3),
        'sluice_rollout_phase{model="digits", phase="running"}': steady(1),
        'sluice_rollout_phase{model="digits", phase="paused"}': steady(0),
        f"sluice_shadow_copies_total{{{_OF}}}": grows(100),
        f'sluice_shadow_copies_shed_total{{{_OF}, reason="queue"}}': grows(1),
        'sluice_not_captured_total{gateway="g1", kind="pair", reason="away"}': steady(5),
        'sluice_payloads_dropped_total{reason="queue"}': steady(5),
        'sluice_payloads_dropped_total{reason="twice"}': grows(60),
        f"sluice_drift_drifting{{{_VERSION}}}": steady(0),
        'sluice_drift_samples_dropped_total{model="digits"}': steady(3),
        'sluice_drift_samples_lost_total{model="digits"}': steady(3),
        "sluice_drift_store_failures_total": steady(1),
        'sluice_webhook_deliveries_total{result="delivered"}': grows(1),
        'sluice_webhook_deliveries_total{result="dead"}': steady(2),
        'sluice_webhook_deliveries_total{result="dropped"}': steady(0),
        'sluice_refused_attempts_total{door="control", kind="wrong"}': grows(2),
        "sluice_certificate_expiry_timestamp_seconds": steady(10_000_000),
    }
)
"""A rollout goes on, a request in a hundred fails, a server died once, and nobody need be called."""

INCIDENTS: Final[Mapping[str, Series]] = MappingProxyType(
    {
        "SluiceAbsent": {'sluice_build_info{version="1.2.3"}': f"1x{BEGINS} _x{_AFTER}"},
        "SluiceStoreUnreachable": {"sluice_store_reachable": turns(1, 0)},
        "SluiceNoGateway": {f'sluice_gateway_epoch{{gateway="g{n}"}}': f"7x{BEGINS - 1} stale" for n in (1, 2)},
        "SluiceGatewayBehind": {'sluice_gateway_epoch{gateway="g2"}': steady(7)},
        "SluiceGatewayHeld": {'sluice_gateway_held{gateway="g1"}': turns(0, 1)},
        "SluiceAttemptsFail": {f'{_ATTEMPTS}"server_error"}}': grows(6, 60)},
        "SluiceStreamsFail": {f'{_STREAMS}"broken"}}': grows(0, 30)},
        "SluiceReplicaEjected": {f"sluice_replicas_ejected{{{_OF}}}": turns(0, 1)},
        "SluiceVersionBraked": {f"sluice_version_braked{{{_OF}}}": turns(0, 1)},
        "SluiceVersionWithoutServers": {f"sluice_endpoints_ready{{{_VERSION}}}": turns(2, 0)},
        "SluicePoolShort": {f"sluice_pool_replicas_ready{{{_VERSION}}}": turns(2, 1)},
        "SluicePoolCrashes": {f"sluice_pool_crashes{{{_VERSION}}}": turns(1, 3)},
        "SluiceRolledBack": {
            "sluice_rollback_detection_seconds_count": turns(3, 4, ENDS - 5),
            "sluice_rollback_propagation_seconds_count": turns(3, 4, ENDS - 5),
            _FINDS: turns(3, 4, ENDS - 5),
        },
        "SluiceRollbackSlow": {"sluice_rollback_propagation_seconds_count": turns(3, 4, ENDS - 5)},
        "SluiceRolloutWaits": {
            'sluice_rollout_phase{model="digits", phase="running"}': turns(1, 0),
            'sluice_rollout_phase{model="digits", phase="paused"}': turns(0, 1),
        },
        "SluiceShareCut": {f"sluice_share_effective_ratio{{{_VERSION}}}": steady(0.05)},
        "SluiceCopiesShed": {f'sluice_shadow_copies_shed_total{{{_OF}, reason="queue"}}': grows(1, 50)},
        "SluiceNotCaptured": {'sluice_not_captured_total{gateway="g1", kind="pair", reason="away"}': grows(0, 1)},
        "SluicePayloadsDropped": {'sluice_payloads_dropped_total{reason="queue"}': grows(0, 1)},
        "SluiceDrift": {f"sluice_drift_drifting{{{_VERSION}}}": turns(0, 1)},
        "SluiceDriftSamplesMissing": {'sluice_drift_samples_lost_total{model="digits"}': grows(0, 1)},
        "SluiceDriftStoreAway": {"sluice_drift_store_failures_total": grows(0, 1)},
        "SluiceWebhookGivenUp": {'sluice_webhook_deliveries_total{result="dead"}': turns(2, 3, ENDS - 5)},
        "SluiceAttemptsRefused": {'sluice_refused_attempts_total{door="control", kind="wrong"}': grows(2, 120)},
        "SluiceCertificateEnds": {"sluice_certificate_expiry_timestamp_seconds": turns(10_000_000, 1_000_000)},
        "SluiceSeriesLeftOut": {'sluice_series_left_out{figure="sluice_requests_total"}': turns(0, 6)},
    }
)
"""By the one alert that it sets off."""


def recorded(series: Series) -> list[dict[str, str]]:
    """As promtool reads it: with the labels that a scrape adds."""
    return [{"series": _scraped(name), "values": values} for name, values in series.items()]


def _scraped(name: str) -> str:
    figure, _, labels = name.partition("{")
    return f'{figure}{{job="sluice", instance="control:8002"{", " + labels if labels else "}"}'
