"""Drift on a page and at a terminal: what moved is there, and nothing that a stranger wrote is obeyed."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.control.api.drift_shapes import finding_out, seen_out, status_out
from serving.control.drift_client import FindingAnswer, SeenAnswer, StatusAnswer
from serving.control.watched import Seen, ToldFinding
from serving.drift_charts import evidence, histogram
from serving.drift_report import page
from serving.drift_tables import line_of, show_finding, show_seen, show_statuses
from tests.examples import examples
from tests.serving.drifting import BROKEN, FINDING, STATUS, WINDOW

TOLD = ToldFinding("1700000290000-0", FINDING)
SEEN: SeenAnswer = seen_out(
    "digits", 2, Seen(STATUS, None, [WINDOW], [TOLD, ToldFinding("1700000300000-0", BROKEN)])
).model_dump(mode="json")  # type: ignore[assignment]
ONE: FindingAnswer = finding_out(TOLD).model_dump(mode="json")  # type: ignore[assignment]


class Reader(HTMLParser):
    """What is in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element."""
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        """A text."""
        self.text += data


def read(html: str) -> Reader:
    """The page, read."""
    reader = Reader()
    reader.feed(html)
    return reader


def test_the_report_holds_what_was_found_and_loads_nothing() -> None:
    """Evidence over time, each finding with histograms; names of columns are text, whatever they look like."""
    reader = read(page(SEEN))
    for words in ("Drift of digits version 2", "price", "below 3", "90.0%", "country is nl", "'colour' is in no row"):
        assert words in reader.text
    assert "<b>x" in reader.text
    assert not {"script", "b", "i", "img", "link"} & set(reader.tags)
    assert reader.tags.count("svg") == 3


def test_a_version_at_which_nobody_has_looked_has_a_report() -> None:
    """It says so."""
    empty: SeenAnswer = {**SEEN, "status": None, "windows": [], "findings": []}
    text = read(page(empty)).text
    for words in ("No sidecar has looked at it yet.", "No window has been heard yet.", "Nothing was found."):
        assert words in text


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(-50, 1e6), st.booleans()), max_size=8),
    st.text(max_size=20),
)
@settings(max_examples=examples(80), deadline=None)
def test_any_windows_make_a_chart(windows: list[tuple[float, float, bool]], layer: str) -> None:
    """One, many, out of order, without evidence: a picture, or nothing where there is nothing."""
    said: list[dict[str, Any]] = [
        {
            "first": "2026-01-01T00:00:00Z", "last": f"2026-01-01T00:{int(at) % 60:02d}:00Z", "log_alarm": 14.0,
            "alarmed": alarmed, "layers": {layer: {"log_sum": log_sum}},
        }
        for at, log_sum, alarmed in windows
    ]  # fmt: skip
    assert read(evidence(said)).tags.count("svg") == bool(said)
    assert "nan" not in evidence(said).lower().replace(layer.lower(), "")


def test_a_histogram_of_nothing_is_empty() -> None:
    """And does not divide by it."""
    assert "rect" not in histogram([])
    assert histogram([{"name": "", "before": 0.0, "after": 0.0}]).count("<rect") == 2


def test_a_terminal_shows_it_and_obeys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Statuses, a version, a finding: the numbers are there, and no escape sequence of a column's name."""
    status: StatusAnswer = status_out(STATUS).model_dump(mode="json")  # type: ignore[assignment]
    show_statuses([status], [])
    show_seen(SEEN)
    show_finding(ONE)
    out = capsys.readouterr().out + line_of(ONE)
    for words in (
        "digits",
        "15.2",
        "14.5",
        "price",
        "7 samples dropped",
        "1 rows lost",
        "below 3",
        "It has too few",
    ):
        assert words in out
    assert "\x1b" not in out
    show_statuses([], [])
    assert "No version is watched" in capsys.readouterr().out
