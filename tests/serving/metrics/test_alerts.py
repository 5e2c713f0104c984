"""Each alert fires in its incident and in no other, and nothing fires in calm; each has its section in the run-book."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.phases import Phase
from scripts.make_metrics_files import ROOT, RULES
from serving.control.rolling.kept import Over
from serving.gateway.counters import Ended, Outcome, Role
from serving.metrics.alerts import ALERTS, RECEIVED, RECORDED, RUN_BOOK
from serving.metrics.families import TABLE
from serving.metrics.panels import figures_in
from serving.stream_counts import BOUNDS_S
from tests.serving.metrics.promtool import promtool
from tests.serving.metrics.recordings import BEGINS, CALM, ENDS, FIRING, INCIDENTS, Series, grows, recorded, turns

_SCRAPED = {"job", "instance", "le"}
_VALUES: Mapping[str, set[str]] = {
    "outcome": {one.name.lower() for one in Outcome},
    "role": {one.name.lower() for one in Role},
    "end": {one.name.lower() for one in Ended},
    "phase": {one.value.replace(" ", "_") for one in Phase},
    "result": {*Over._fields},
    "le": {str(bound) for bound in BOUNDS_S},
}
_BRAKED = "sluice_requests_total", "sluice_version_braked"
REAL = ("serving/metrics/test_incidents.py", "serving/metrics/test_incidents_elsewhere.py", "e2e/test_incidents.py")
"""Where something real is brought into the state that an alert is about."""
EXPRESSIONS = {**{one.name: one.expr for one in ALERTS}, **RECORDED}


def labels_of(figure: str) -> set[str]:
    """Those that a series of it has, once it is scraped."""
    return {*TABLE[figure].labels, *_SCRAPED}


def test_promtool_reads_the_rules() -> None:
    """`promtool check rules`, with all of its lint."""
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", RULES) == ""


def test_alerts_fire_in_their_incidents_alone(tmp_path: Path) -> None:
    """`promtool test rules`: before an incident nothing, in it its own alert and no other, in calm nothing."""
    cases = [_case("calm", CALM, None), *(_case(name, {**CALM, **more}, name) for name, more in INCIDENTS.items())]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    assert promtool("test", "rules", file) == ""
    assert list(INCIDENTS) == [one.name for one in ALERTS]


def test_every_alert_is_set_off_by_something_real() -> None:
    """By a worker, a conductor, a sidecar or a whole installation; no incident is about an alert that there is not."""
    named = {name for file in REAL for name in re.findall(r'"(Sluice\w+)"', (ROOT / "tests" / file).read_text())}
    assert named == {one.name for one in ALERTS}


def test_a_version_that_nobody_asks_is_not_braked(tmp_path: Path) -> None:
    """A brake is let go by an answer, and after a rollback there is none: whoever is called then is called for ever."""
    asked, braked = (f'{name}{{gateway="g1", model="digits", version="2"}}' for name in _BRAKED)
    file = tmp_path / "tests.yaml"
    case = _case("nobody asks", {**CALM, asked: grows(600, 0), braked: turns(0, 1)}, None)
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
    assert promtool("test", "rules", file) == ""


def _case(name: str, series: Series, alert: str | None) -> dict[str, Any]:
    fires = [] if alert is None else [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
    return {
        "name": name,
        "interval": "1m",
        "input_series": recorded(series),
        "promql_expr_test": [
            {"expr": FIRING, "eval_time": f"{BEGINS - 1}m", "exp_samples": []},
            {"expr": FIRING, "eval_time": f"{ENDS}m", "exp_samples": fires},
        ],
    }


def test_the_share_that_is_received_is_computed(tmp_path: Path) -> None:
    """Of two versions of a model, over all gateways; another model is none of its business."""
    counted = {
        'sluice_requests_total{gateway="g1", model="m", version="1"}': "0+120x10",
        'sluice_requests_total{gateway="g2", model="m", version="1"}': "0+60x10",
        'sluice_requests_total{gateway="g1", model="m", version="2"}': "0+60x10",
        'sluice_requests_total{gateway="g1", model="n", version="1"}': "0+30x10",
    }
    shares = {("m", 1): 0.75, ("m", 2): 0.25, ("n", 1): 1}
    expected = [
        {"labels": f'{RECEIVED}{{job="sluice", model="{model}", version="{version}"}}', "value": share}
        for (model, version), share in shares.items()
    ]
    asked = {"expr": RECEIVED, "eval_time": "10m", "exp_samples": expected}
    case = {"interval": "1m", "input_series": recorded(counted), "promql_expr_test": [asked]}
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
    assert promtool("test", "rules", file) == ""


def test_recordings_are_of_figures_that_there_are() -> None:
    """By name and labels, so that no rule is tested on a series that nobody exports."""
    for series in (CALM, *INCIDENTS.values()):
        for name in series:
            figure, _, labels = name.partition("{")
            [known] = figures_in(figure)
            assert {*re.findall(r"(\w+)=", labels)} - {"le"} == {*TABLE[known].labels}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_rules_ask_for_what_is_exported(name: str) -> None:
    """Figures of the table, labels that they have, and values that those can have."""
    expr = EXPRESSIONS[name]
    figures = list(figures_in(expr))
    known = set.union(*(labels_of(figure) for figure in figures))
    assert {*_grouped(expr)} <= known
    for selector, matchers in re.findall(r"(sluice_\w+)\{([^}]*)\}", expr):
        [figure] = figures_in(selector)
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert label in labels_of(figure)
            assert {*values.split("|")} <= _VALUES[label]


def _grouped(expr: str) -> Iterator[str]:
    for labels in re.findall(r"(?:by|on|ignoring|group_left) \(([^)]*)\)", expr):
        yield from filter(None, labels.split(", "))


@pytest.mark.parametrize("alert", ALERTS, ids=[one.name for one in ALERTS])
def test_every_alert_has_its_section(alert: Any) -> None:  # noqa: ANN401 - pytest's
    """What it means, what to look at, what to do; and its annotation leads there."""
    assert alert.rule["annotations"]["runbook"] == f"{RUN_BOOK}#{alert.name.lower()}"
    sections = _sections()
    assert re.findall(r"^\*\*(.+?)\*\*", sections[alert.name], re.MULTILINE) == ["Means.", "Look at.", "Do."]


def test_no_section_is_left_over() -> None:
    """Every section is about an alert that there is, in the order of the rules."""
    assert list(_sections()) == [one.name for one in ALERTS]


def _sections() -> dict[str, str]:
    parts = re.split(r"^### (\w+)$", (ROOT / RUN_BOOK).read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))
