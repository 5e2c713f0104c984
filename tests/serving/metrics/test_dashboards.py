"""Dashboards draw figures that there are, all of them, in their units; and files are what the code writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from scripts.make_metrics_files import DOCUMENT, FILES, files
from serving.metrics.dashboards import DASHBOARDS, GATEWAYS
from serving.metrics.documents import with_table
from serving.metrics.families import TABLE
from serving.metrics.panels import Dashboard, figures_in, unit_of
from tests.serving.metrics.promtool import promtool

LINES = [line for page in DASHBOARDS for panel in page.panels for line in panel.lines]


def test_files_are_what_the_code_writes() -> None:
    """After a change that was meant, `make metrics-files` writes them anew."""
    assert {path: path.read_text() for path in files()} == files()


def test_no_file_is_left_over() -> None:
    """In the chart's folder there is nothing else."""
    assert {path for path in FILES.rglob("*") if path.is_file()} == set(files()) - {DOCUMENT}


def test_every_figure_is_shown() -> None:
    """On some page."""
    assert {name for line in LINES for name in figures_in(line.expr)} == set(TABLE)


def test_prometheus_understands_every_line(tmp_path: Path) -> None:
    """`promtool` reads each expression as a rule's."""
    rules = [
        {"record": f"checked:{number}", "expr": line.expr.replace("$model", ".*")} for number, line in enumerate(LINES)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "lines", "rules": rules}]}))
    assert promtool("check", "rules", file) == ""


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_lines_are_called_by_labels_that_they_have(line: object) -> None:
    """What stands in braces in a legend is what the expression keeps, and the figure has."""
    expr, legend = line.expr, line.legend  # type: ignore[attr-defined]
    kept = {label for labels in re.findall(r"by \(([^)]*)\)", expr) for label in labels.split(", ")}
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept - {"le", ""}
    for figure in figures_in(expr):
        histogram = {"le"} if TABLE[figure].kind == "histogram" else set()
        assert kept - {"", "instance"} <= {*TABLE[figure].labels} | histogram


@pytest.mark.parametrize("page", DASHBOARDS, ids=[one.name for one in DASHBOARDS])
def test_a_page_is_laid_out(page: Dashboard) -> None:
    """Panels stand beside and below each other, and none lies on another; addresses and ids are its own."""
    said = page.json()
    places = [tuple(panel["gridPos"].values()) for panel in said["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in said["panels"]}) == len(places)
    assert said["uid"] == f"sluice-{page.name}"
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in said["panels"])


def test_units_come_from_the_table() -> None:
    """Seconds are seconds, parts of a whole are percents, what counters count is so many in a second."""
    units = {panel.title: panel.json(0)["fieldConfig"]["defaults"]["unit"] for panel in GATEWAYS.panels}
    assert units["How long answers take"] == "s"
    assert units["First attempts that did not end well"] == "ops"
    assert units["Connections"] == "short"
    assert unit_of("sluice_share_desired_ratio") == "percentunit"


def test_what_is_no_figure_is_refused() -> None:
    """So that no page asks for something that is called otherwise by now."""
    with pytest.raises(ValueError, match="sluice_nonsense_total"):
        list(figures_in("sum(rate(sluice_nonsense_total[5m]))"))


def test_a_document_without_a_table_is_refused() -> None:
    """Rather than left as it is."""
    with pytest.raises(ValueError, match="no table"):
        with_table("# Metrics\n")
