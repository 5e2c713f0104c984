"""Writes what follows from the table of figures: its page in the docs, the rules and the dashboards of the chart.

Run as `make metrics-files` after a change of `serving.metrics`; a test compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from serving.metrics.alerts import groups
from serving.metrics.dashboards import DASHBOARDS
from serving.metrics.documents import with_table

ROOT: Final = Path(__file__).parents[1]
DOCUMENT: Final = ROOT / "docs" / "metrics.md"
FILES: Final = ROOT / "helm" / "sluice" / "files"
RULES: Final = FILES / "rules.yaml"
PAGES: Final = FILES / "dashboards"
_WRITTEN: Final = "# Written by `make metrics-files`, from serving/metrics/alerts.py.\n"


def rules() -> str:
    """All rules, as Prometheus and `promtool` read them."""
    return _WRITTEN + yaml.safe_dump({"groups": groups()}, sort_keys=False, width=1_000)


def files() -> Mapping[Path, str]:
    """What each file is to hold."""
    return dict(_files())


def _files() -> Iterator[tuple[Path, str]]:
    yield DOCUMENT, with_table(DOCUMENT.read_text())
    yield RULES, rules()
    for one in DASHBOARDS:
        yield PAGES / f"{one.name}.json", json.dumps(one.json(), indent=2) + "\n"


def main() -> None:
    """Writes them."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
