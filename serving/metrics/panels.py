"""What a dashboard of Grafana is made of: pages of graphs, whose lines name figures; the table knows their units.

A page asks a data source that is chosen above it, so that it can be imported anywhere, and is about the models that are
chosen beside that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from serving.metrics.families import TABLE
from serving.metrics.figure import Kind

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 12
_HEIGHT: Final = 8
_COLUMNS: Final = 24
_UNITS: Final = {"seconds": "s", "ratio": "percentunit", "bytes": "bytes"}
_NAME: Final = re.compile(r"sluice_[a-z_]+")
MODEL: Final = 'model=~"$model"'


@dataclass(frozen=True, slots=True)
class Line:
    """What a panel draws.

    Attributes:
        expr: in Prometheus' language.
        legend: how its series are called, with their labels in braces.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph.

    Attributes:
        title: above it.
        lines: what it draws.
        unit: as Grafana calls it; empty for what the figures of its first line are in.
    """

    title: str
    lines: tuple[Line, ...]
    unit: str = ""

    def json(self, number: int) -> dict[str, Any]:
        """As Grafana reads it, in the place of that number, counted from 0."""
        across = _COLUMNS // _WIDTH
        return {
            "id": number + 1,
            "type": "timeseries",
            "title": self.title,
            "datasource": _SOURCE,
            "gridPos": {
                "h": _HEIGHT,
                "w": _WIDTH,
                "x": number % across * _WIDTH,
                "y": number // across * _HEIGHT,
            },
            "fieldConfig": {"defaults": {"unit": self.unit or unit_of(self.lines[0].expr)}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
            "targets": [
                {"refId": chr(ord("A") + place), "expr": one.expr, "legendFormat": one.legend, "datasource": _SOURCE}
                for place, one in enumerate(self.lines)
            ],
        }


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page of panels.

    Attributes:
        name: of its file, and of it in Grafana's addresses.
        title: above it.
        panels: from left to right, from top to bottom.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]

    def json(self) -> dict[str, Any]:
        """As Grafana imports it."""
        return {
            "uid": f"sluice-{self.name}",
            "title": self.title,
            "tags": ["sluice"],
            "schemaVersion": 39,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": [_DATA_SOURCE, _MODELS]},
            "panels": [one.json(number) for number, one in enumerate(self.panels)],
        }


_DATA_SOURCE: Final = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
_MODELS: Final = {
    "name": "model",
    "label": "Model",
    "type": "query",
    "datasource": _SOURCE,
    "query": "label_values(sluice_endpoints_ready, model)",
    "refresh": 2,
    "includeAll": True,
    "allValue": ".*",
    "multi": True,
    "current": {"text": "All", "value": "$__all"},
}


def figures_in(expr: str) -> Iterator[str]:
    """The figures that an expression names, a histogram's parts as the histogram."""
    for name in _NAME.findall(expr):
        if name in TABLE:
            yield name
        elif (whole := re.sub(r"_(bucket|count|sum)$", "", name)) in TABLE:
            yield whole
        else:
            raise ValueError(f"{name} is no figure that there is")


def unit_of(expr: str) -> str:
    """What Grafana calls the unit of an expression that names figures of one unit."""
    if ":ratio" in expr or " / " in expr:
        return "percentunit"
    figure = TABLE[next(figures_in(expr))]
    if "timestamp" in figure.name:
        return "dateTimeAsIso"
    per_s = {Kind.COUNTER: "ops"}.get(figure.kind, "short") if "rate(" in expr else "short"
    return _UNITS.get(figure.unit, per_s)


def _chosen(name: str, extra: str) -> str:
    """What selects series: the models that are chosen, where the figure knows any, and what else is asked for."""
    return ", ".join(filter(None, (MODEL if "model" in TABLE[name].labels else "", extra)))


def rate(name: str, by: str, legend: str, extra: str = "") -> Line:
    """How much of a counter there is in a second, of the models that are chosen where it knows any."""
    chosen = _chosen(name, extra)
    return Line(f"sum by ({by}) (rate({name}{{{chosen}}}[5m]))", legend)


def now(name: str, by: str, legend: str, how: str = "sum", extra: str = "") -> Line:
    """How a gauge stands."""
    chosen = _chosen(name, extra)
    return Line(f"{how} by ({by}) ({name}{{{chosen}}})", legend)


def quantiles(name: str, by: str, legend: str, extra: str = "") -> tuple[Line, ...]:
    """Half, and all but a hundredth, of what a histogram holds."""
    chosen = _chosen(name, extra)
    labels = ", ".join(filter(None, ("le", by)))
    buckets = f"sum by ({labels}) (rate({name}_bucket{{{chosen}}}[5m]))"
    return tuple(
        Line(f"histogram_quantile({q}, {buckets})", f"{legend} p{round(q * 100)}".strip()) for q in (0.5, 0.99)
    )
