"""The alert rules: what is worth calling somebody for, each with how urgent it is and after how long.

`docs/operations.md` has a section for each by its name: what it means, what to look at, what to do. Where an expression
adds up over gateways, it keeps `job`, so that installations that one Prometheus reads are told apart. Written to
helm/sluice/files/rules.yaml by `make metrics-files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

RUN_BOOK: Final = "docs/operations.md"
RECEIVED: Final = "sluice:share_received:ratio_rate5m"
"""The part of a model's requests that a version really got, which no gateway counts by itself."""

_FAILED: Final = 'outcome=~"server_error|unavailable|refused|broken|late"'
_OF_VERSION: Final = "sum by (job, model, version)"
_FORTNIGHT_S: Final = 14 * 86_400
_SLOW_S: Final = 5.0
"""A bound of the histogram of rollbacks' propagation."""


class Severity(StrEnum):
    """How urgent it is."""

    PAGE = "page"
    """Clients notice, or will within minutes."""
    TICKET = "ticket"
    """Somebody should look today."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule.

    Attributes:
        name: as it is called, and as its section in the run-book is.
        severity: how urgent it is.
        after: for how long the expression must hold, as Prometheus writes durations.
        summary: in a sentence, with the labels of what it is about.
        expr: in Prometheus' language.
    """

    name: str
    severity: Severity
    after: str
    summary: str
    expr: str

    @property
    def rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.after,
            "labels": {"severity": self.severity.value},
            "annotations": {"summary": self.summary, "runbook": f"{RUN_BOOK}#{self.name.lower()}"},
        }


_WHOSE: Final = "{{ $labels.model }} version {{ $labels.version }}"

ALERTS: Final = (
    Alert(
        "SluiceAbsent",
        Severity.PAGE,
        "2m",
        "Prometheus has no figures of any control room.",
        "absent(sluice_build_info)",
    ),
    Alert(
        "SluiceStoreUnreachable",
        Severity.PAGE,
        "1m",
        "The store does not answer: gateways go on with what they have, and nothing can be changed.",
        "sluice_store_reachable == 0",
    ),
    Alert(
        "SluiceNoGateway",
        Severity.PAGE,
        "1m",
        "No gateway worker holds a lease.",
        "(sluice_store_reachable == 1) unless on (job, instance) count by (job, instance) (sluice_gateway_epoch)",
    ),
    Alert(
        "SluiceGatewayBehind",
        Severity.TICKET,
        "1m",
        "Gateway {{ $labels.gateway }} does not take up the newest epoch.",
        "sluice_gateway_epoch < on (job, instance) group_left () sluice_epoch",
    ),
    Alert(
        "SluiceGatewayHeld",
        Severity.PAGE,
        "1m",
        "Gateway {{ $labels.gateway }} refuses the store's epoch: the store may have forgotten what was written.",
        "sluice_gateway_held == 1",
    ),
    Alert(
        "SluiceAttemptsFail",
        Severity.PAGE,
        "5m",
        f"Of the first attempts at {_WHOSE}, {{{{ $value | humanizePercentage }}}} fail.",
        f'{_OF_VERSION} (rate(sluice_attempts_total{{role="first", {_FAILED}}}[5m]))'
        f' / {_OF_VERSION} (rate(sluice_attempts_total{{role="first"}}[5m])) > 0.05',
    ),
    Alert(
        "SluiceStreamsFail",
        Severity.PAGE,
        "5m",
        f"Of the streams of {_WHOSE}, {{{{ $value | humanizePercentage }}}} end with an error or are cut.",
        f'{_OF_VERSION} (rate(sluice_streams_total{{role="first", end=~"error|broken|late"}}[5m]))'
        f' / {_OF_VERSION} (rate(sluice_streams_total{{role="first"}}[5m])) > 0.05',
    ),
    Alert(
        "SluiceReplicaEjected",
        Severity.TICKET,
        "5m",
        f"Gateways leave {{{{ $value }}}} servers of {_WHOSE} alone, because they keep failing.",
        "max by (job, model, version) (sluice_replicas_ejected) > 0",
    ),
    Alert(
        "SluiceVersionBraked",
        Severity.TICKET,
        "1m",
        f"Stable answers in the place of {_WHOSE}, which keeps failing.",
        "(max by (job, model, version) (sluice_version_braked) > 0)"
        f" and ({_OF_VERSION} (rate(sluice_requests_total[5m])) > 0)",
    ),
    Alert(
        "SluiceVersionWithoutServers",
        Severity.PAGE,
        "1m",
        f"{_WHOSE} gets a share of the requests and has no server that is ready.",
        "(sluice_share_effective_ratio > 0) and on (job, instance, model, version) (sluice_endpoints_ready == 0)",
    ),
    Alert(
        "SluicePoolShort",
        Severity.TICKET,
        "10m",
        f"Fewer replicas of {_WHOSE} are up than there are to be.",
        "sluice_pool_replicas_ready < sluice_pool_replicas_wanted",
    ),
    Alert(
        "SluicePoolCrashes",
        Severity.TICKET,
        "0m",
        f"{{{{ $value }}}} servers of {_WHOSE} died within an hour.",
        "sluice_pool_crashes > 2",
    ),
    Alert(
        "SluiceRolledBack",
        Severity.TICKET,
        "0m",
        "The evidence took a candidate back within the last quarter of an hour.",
        "increase(sluice_rollback_detection_seconds_count[15m]) > 0",
    ),
    Alert(
        "SluiceRollbackSlow",
        Severity.TICKET,
        "0m",
        f"More than {_SLOW_S:g} s after the decision to go back, a gateway had not done so.",
        "increase(sluice_rollback_propagation_seconds_count[15m])"
        f' - ignoring (le) increase(sluice_rollback_propagation_seconds_bucket{{le="{_SLOW_S}"}}[15m]) > 0',
    ),
    Alert(
        "SluiceRolloutWaits",
        Severity.TICKET,
        "30m",
        "The rollout of {{ $labels.model }} is {{ $labels.phase }} and needs somebody.",
        'sluice_rollout_phase{phase=~"paused|waiting_for_approval"} == 1',
    ),
    Alert(
        "SluiceShareCut",
        Severity.TICKET,
        "10m",
        f"{_WHOSE} gets {{{{ $value | humanizePercentage }}}} of the requests, less than its rollout would give it.",
        "sluice_share_effective_ratio < sluice_share_desired_ratio - 0.0005",
    ),
    Alert(
        "SluiceCopiesShed",
        Severity.TICKET,
        "10m",
        f"{{{{ $value | humanizePercentage }}}} of the copies that {_WHOSE} was due are not made.",
        f"{_OF_VERSION} (rate(sluice_shadow_copies_shed_total[5m])) / ({_OF_VERSION}"
        f" (rate(sluice_shadow_copies_shed_total[5m])) + ({_OF_VERSION} (rate(sluice_shadow_copies_total[5m]))"
        f" or 0 * {_OF_VERSION} (rate(sluice_shadow_copies_shed_total[5m])))) > 0.1",
    ),
    Alert(
        "SluiceNotCaptured",
        Severity.TICKET,
        "10m",
        "Gateways cannot hand what they sampled to their keepers ({{ $labels.kind }}, {{ $labels.reason }}).",
        "sum by (job, kind, reason) (rate(sluice_not_captured_total[5m])) > 0",
    ),
    Alert(
        "SluicePayloadsDropped",
        Severity.TICKET,
        "10m",
        "The payload log drops rows ({{ $labels.reason }}).",
        'rate(sluice_payloads_dropped_total{reason!="twice"}[5m]) > 0',
    ),
    Alert(
        "SluiceDrift",
        Severity.TICKET,
        "0m",
        f"What {_WHOSE} is asked, or answers, is no longer what it was trained on.",
        "max by (job, model, version) (sluice_drift_drifting) == 1",
    ),
    Alert(
        "SluiceDriftSamplesMissing",
        Severity.TICKET,
        "10m",
        "Samples of {{ $labels.model }} are dropped or lost before the drift sidecar has read them.",
        "sum by (job, model) (rate(sluice_drift_samples_dropped_total[5m]))"
        " + sum by (job, model) (rate(sluice_drift_samples_lost_total[5m])) > 0",
    ),
    Alert(
        "SluiceDriftStoreAway",
        Severity.TICKET,
        "10m",
        "A drift sidecar does not reach the store: nothing is watched.",
        "rate(sluice_drift_store_failures_total[5m]) > 0",
    ),
    Alert(
        "SluiceWebhookGivenUp",
        Severity.TICKET,
        "0m",
        "Something that a webhook was to hear was given up within the last quarter of an hour.",
        'sum by (job) (increase(sluice_webhook_deliveries_total{result=~"dead|dropped"}[15m])) > 0',
    ),
    Alert(
        "SluiceAttemptsRefused",
        Severity.TICKET,
        "5m",
        "Somebody is refused again and again at the door {{ $labels.door }} ({{ $labels.kind }}).",
        "rate(sluice_refused_attempts_total[5m]) > 1",
    ),
    Alert(
        "SluiceCertificateEnds",
        Severity.TICKET,
        "10m",
        "The certificate of the listeners ends in {{ $value | humanizeDuration }}.",
        f"sluice_certificate_expiry_timestamp_seconds - time() < {_FORTNIGHT_S}",
    ),
    Alert(
        "SluiceSeriesLeftOut",
        Severity.TICKET,
        "10m",
        "{{ $value }} series of {{ $labels.figure }} are missing, because there are too many.",
        "sluice_series_left_out > 0",
    ),
)
"""All of them, the broadest first."""

RECORDED: Final[Mapping[str, str]] = {
    RECEIVED: f"{_OF_VERSION} (rate(sluice_requests_total[5m]))"
    " / on (job, model) group_left () sum by (job, model) (rate(sluice_requests_total[5m]))",
}
"""What Prometheus computes in advance, by the name that it gets."""


def groups() -> list[dict[str, Any]]:
    """All rules as Prometheus, and a PrometheusRule of Kubernetes, have them."""
    recorded = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    return [{"name": "sluice-shares", "rules": recorded}, {"name": "sluice", "rules": [one.rule for one in ALERTS]}]
