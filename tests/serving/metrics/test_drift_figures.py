"""What the table says of the drift sidecar is what the sidecar exports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from drift.findings import Finding
from drift.metrics import DriftMetrics, registry_of
from drift.reading import Layer
from drift.status import LayerStatus, Status
from serving.metrics.drift import DRIFT
from serving.metrics.figure import Kind
from tests.serving.metrics.promtool import promtool


class Found:
    """As much of a finding as is counted."""

    model, version, layer = "digits", 2, next(iter(Layer))


def metrics() -> DriftMetrics:
    """Of a sidecar that watches one version, with one layer, and found something."""
    layer = LayerStatus("univariate", "distance", 0.3, 0.2, 0.01, 1.0, 2.0, 9.0)
    status = Status("digits", 2, "sidecar", "It is watched.", 1.0, last_s=1.0, layers=(layer,))
    made = DriftMetrics(lambda: (status,))
    made.found(cast("Iterable[Finding]", [Found()]))
    return made


def described(family: Metric) -> tuple[str, str, frozenset[str], str]:
    """Name, kind, labels and words."""
    name = f"{family.name}_total" if family.type == Kind.COUNTER else family.name
    return name, family.type, frozenset().union(*(sample.labels for sample in family.samples)), family.documentation


def test_the_table_says_what_the_sidecar_exports() -> None:
    """Every family, in its order, under its name, with its kind, labels and words."""
    said = [(one.name, one.kind.value, frozenset(one.labels), one.words) for one in DRIFT]
    assert [described(family) for family in metrics().collect()] == said


def test_promtool_has_nothing_to_say_of_the_sidecar() -> None:
    """`promtool check metrics` reads its scrape as well."""
    assert promtool("check", "metrics", given=generate_latest(registry_of(metrics()))) == ""
