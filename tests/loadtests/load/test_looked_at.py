"""The report of a load test in a browser, of a run that went well and of one in which much went wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.load import summary
from loadtests.load.report import page
from loadtests.load.results import results_of
from loadtests.load.summary import Outcome
from loadtests.load.verified import Event
from tests.browser import seen
from tests.loadtests.load.looked_at import shows_the_load_test
from tests.loadtests.load.test_results import SPEC, outcome, row, rows_of

pytestmark = pytest.mark.slow


def shown(told: Outcome, folder: Path) -> None:
    """Fails where something of it is not to be seen."""
    file = folder / "loadtest.html"
    file.write_text(page(told), encoding="utf-8")
    shows_the_load_test(seen(file, folder / "loadtest.png"), summary.plain(told))


def test_a_run_that_went_well_is_seen(tmp_path: Path) -> None:
    """Both versions' shares, and two changes of traffic at their times."""
    rows = rows_of(tmp_path, [row(nth, version=1 + nth % 2) for nth in range(20)])
    events = (Event(0.5, "rollout start (1: 50 %, 2: 50 %)"), Event(1.25, "rollout rollback (1: 100 %)"))
    shown(Outcome(SPEC, 0.0, results_of(SPEC, rows), events=events), tmp_path)


def test_a_run_in_which_much_went_wrong_is_seen(tmp_path: Path) -> None:
    """What was missed, who died, whose answers were misplaced; nothing of it is taken for a part of the page."""
    told = outcome(tmp_path)
    shown(told, tmp_path)
    assert "503 <script>" in seen(tmp_path / "loadtest.html", tmp_path / "again.png").text


def test_a_page_that_lacks_an_event_is_caught(tmp_path: Path) -> None:
    """Else the tests above would see whatever there is."""
    told = outcome(tmp_path)
    more = summary.plain(replace(told, events=(*told.events, Event(1.9, "promote"))))
    file = tmp_path / "loadtest.html"
    file.write_text(page(told), encoding="utf-8")
    with pytest.raises(AssertionError):
        shows_the_load_test(seen(file, tmp_path / "loadtest.png"), more)
