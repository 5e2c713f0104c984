"""Figures and reports from rows: what was never sent, what has no answer, and what a page is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.load import summary
from loadtests.load.busy import Moment
from loadtests.load.objectives import judged
from loadtests.load.objectives import read as objectives
from loadtests.load.plots import Axis, Series, lines, stacked
from loadtests.load.records import Error, Kind, Records, Row, Said, Writer, kind_of, numbered, read
from loadtests.load.report import page
from loadtests.load.results import Latencies, results_of
from loadtests.load.running import Died
from loadtests.load.shapes import steady
from loadtests.load.spec import Place, Spec
from loadtests.load.summary import Outcome
from loadtests.load.verified import Event, events, verified
from router.choose import drawn
from router.codec import policy_as_dict
from tests.examples import examples
from tests.loadtests.load.places import EPOCH, MODEL, SPLIT

SPEC = Spec(MODEL, Place("http://h", key="hidden-key"), steady(10, 2), {Kind.JSON: 1.0}, Path())


def row(nth: int, *, took_s: float = 0.01, error: Error = Error.NONE, late_s: float = 0.0, version: int = 1) -> Row:
    """The nth of 20 requests."""
    due_s = (nth + 0.5) / 10
    said = Said(str(version), "stable", str(EPOCH)) if error is Error.NONE else Said()
    status = 200 if error is Error.NONE else 503
    return Row(numbered(Kind.JSON, nth), due_s, due_s + late_s, took_s, status, error, ready=not late_s, said=said)


def rows_of(folder: Path, rows: Iterable[Row]) -> Records:
    """What a worker's file holds."""
    folder.mkdir(exist_ok=True)
    with closing(Writer(folder / "rows")) as writer:
        for one in rows:
            writer.note(one)
    return read([folder / "rows"])


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Of several files, in the order of when they were due; half a row at an end is none."""
    rows_of(tmp_path, [row(3), row(1, error=Error.LOST)])
    (tmp_path / "rows").rename(tmp_path / "first")
    rows_of(tmp_path, [row(2, version=7)])
    with (tmp_path / "rows").open("ab") as file:
        file.write(b"half a row")
    rows = read([tmp_path / "first", tmp_path / "rows"])
    assert rows["number"].tolist() == [numbered(Kind.JSON, nth) for nth in (1, 2, 3)]
    assert rows["version"].tolist() == [0, 7, 1]
    assert rows["error"].tolist() == [Error.LOST, Error.NONE, Error.NONE]


def test_a_header_that_says_nonsense_says_nothing(tmp_path: Path) -> None:
    """A version that is no number, or too large, and an unknown reason are unknown, and the row fits."""
    strange = row(0)._replace(said=Said("9" * 30, "because", "-1"))
    [found] = rows_of(tmp_path, [strange])
    assert (found["version"], found["reason"], found["epoch"]) == (0, 0, 0)


def test_what_was_never_sent_is_a_failure_without_an_answer(tmp_path: Path) -> None:
    """Fifteen of twenty rows: five errors, and a quarter of the requests is slower than any latency."""
    results = results_of(SPEC, rows_of(tmp_path, map(row, range(15))))
    assert (results.due, results.good, results.errors) == (20, 15, {Error.UNSENT: 5})
    assert results.error_share == 0.25
    assert results.latencies.quantile(0.7) == pytest.approx(0.01)
    assert results.latencies.quantile(0.8) == math.inf
    assert results.timeline.due.sum() * results.timeline.width_s == pytest.approx(20)
    assert results.timeline.errors.sum() * results.timeline.width_s == pytest.approx(5)


def test_a_generator_that_is_never_idle_says_so(tmp_path: Path) -> None:
    """Its users are all behind then, and no request tells how late it was itself."""
    results = results_of(SPEC, rows_of(tmp_path, [row(nth, took_s=1.01, late_s=1.0) for nth in range(20)]))
    idle, busy = Outcome(SPEC, 0.0, results, busy_s=0.4), Outcome(SPEC, 0.0, results, busy_s=1.5)
    assert (idle.generator_late, busy.generator_late) == (False, True)
    assert any("never idle for 1.5 s" in note for note in summary.notes(busy))
    assert not any("never idle" in note for note in summary.notes(idle))


def test_busy_is_who_has_no_time_to_spare() -> None:
    """Whoever ran or waited for a processor all the time; a tenth of idleness is enough to be none."""
    begin = Moment(10.0, 3.0)
    assert begin.busy_until(Moment(11.0, 3.95)) == 1.0
    assert begin.busy_until(Moment(11.0, 3.85)) == 0.0
    first = Moment.now()
    assert Moment.now().worked_s >= first.worked_s


def test_no_stretch_of_a_long_run_loses_a_failure(tmp_path: Path) -> None:
    """Of 109 requests in five minutes 54 were answered: the median had no answer, whatever 55 / 300 * 300 comes to."""
    spec = replace(SPEC, shape=steady(109 / 300, 60 * 300))
    due_s = [(nth, (nth + 0.5) * 300 / 109) for nth in range(54)]
    rows = rows_of(tmp_path, [row(nth)._replace(due_s=due, sent_s=due) for nth, due in due_s])
    line = results_of(spec, rows).timeline
    assert line.width_s == 300
    assert line.errors[0] * 300 == pytest.approx(55)
    assert line.quantiles_s[0.5][0] == math.inf


def test_latencies_count_from_when_requests_were_due(tmp_path: Path) -> None:
    """One that waited a second for a connection took 1.01 s, 10 ms of it from its sending, by no fault of ours."""
    results = results_of(SPEC, rows_of(tmp_path, [row(nth, took_s=1.01, late_s=1.0) for nth in range(20)]))
    assert results.latencies.quantile(0.5) == pytest.approx(1.01)
    assert results.sending.quantile(0.5) == pytest.approx(0.01)
    assert results.waited == 20
    assert math.isnan(results.lateness.quantile(0.99))


def test_an_error_that_came_fast_makes_no_latency_better(tmp_path: Path) -> None:
    """A refusal is in no latency; a request without an answer is above all of them."""
    rows = [row(nth, took_s=0.1) for nth in range(10)] + [
        row(nth, took_s=0.001, error=Error.SERVER if nth < 15 else Error.TIMEOUT) for nth in range(10, 20)
    ]
    took = results_of(SPEC, rows_of(tmp_path, rows)).latencies
    assert (len(took.answered_s), took.unanswered) == (10, 5)
    assert took.quantile(0.5) == pytest.approx(0.1)
    assert took.quantile(0.9) == math.inf


@settings(max_examples=examples(60))
@given(st.lists(st.floats(0, 10), max_size=50), st.integers(0, 20), st.floats(0.001, 1))
def test_a_quantile_is_not_exceeded_by_its_share(values: list[float], unanswered: int, share: float) -> None:
    """At least that share of the requests took no longer, and it is one of their latencies."""
    found = Latencies(np.sort(np.array(values)), unanswered).quantile(share)
    if not values and not unanswered:
        assert math.isnan(found)
        return
    everything = [*values, *[math.inf] * unanswered]
    assert found in everything
    assert sum(value <= found for value in everything) >= share * len(everything) - 1e-9


def test_numbers_say_their_kind() -> None:
    """And no two requests have one number."""
    numbers = {numbered(kind, nth) for kind in Kind for nth in range(10)}
    assert len(numbers) == 30
    assert all(kind_of(numbered(kind, nth)) is kind for kind in Kind for nth in range(10))


def outcome(tmp_path: Path) -> Outcome:
    """A run in which much went wrong."""
    entries = [
        {"at_ms": 1_000, "kind": "rollout",
         "facts": {"model": MODEL, "epoch": EPOCH, "what": "started <now>", "policy": policy_as_dict(SPLIT)}},
    ]  # fmt: skip
    rows = rows_of(tmp_path, map(row, range(15)))
    results = results_of(SPEC, rows)
    return Outcome(
        SPEC, 0.0, results, judged(objectives("p99=1ms,errors=50%"), results.latencies.quantile, results.error_share),
        verified(SPEC, rows, entries), events(entries, MODEL, 0.0, 2.0), [Died(1, 0.5, "SIGKILL")],
        {"503 <script>": 3}, {"accepted": 2}, ["a mistake"],
    )  # fmt: skip


def well_formed(svg: str) -> None:
    """Fails where it is no XML."""
    ET.fromstring(svg)  # noqa: S314 - our own


class Outline(HTMLParser):
    """The tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes a tag down; none of them may fetch or run anything."""
        self.tags.append(tag)
        assert tag not in {"script", "link", "img", "iframe"}
        assert not {"src", "href"} & dict(attrs).keys()


def test_a_report_is_one_page_that_shows_everything(tmp_path: Path) -> None:
    """Four plots that are good XML, what was missed, who died, what happened; texts are escaped, no key is there."""
    told = outcome(tmp_path)
    text = page(told)
    outline = Outline()
    outline.feed(text)
    assert outline.tags.count("svg") == 4
    for part in text.split("<svg")[1:]:
        well_formed("<svg" + part.split("</svg>")[0] + "</svg>")
    for words in ("SIGKILL", "An objective was missed: p99", "started &lt;now&gt;", "503 &lt;script&gt;", "misplaced"):
        assert words in text
    assert "hidden-key" not in text + json.dumps(summary.plain(told), allow_nan=False)
    assert text.count('class="event"') == 4  # the one event, in every plot


def test_what_is_wrong_is_a_problem_each(tmp_path: Path) -> None:
    """A missed objective, misplaced units, a dead worker, a mistake; none where all is good."""
    told = outcome(tmp_path)
    assert told.verified is not None
    strays = [nth for nth in range(15) if drawn(SPLIT, SPEC.unit(numbered(Kind.JSON, nth)).encode()).version != 1]
    assert strays
    assert set(told.verified.misplaced) == {SPEC.unit(numbered(Kind.JSON, nth)) for nth in strays}
    assert len(told.problems) == 5
    good = results_of(SPEC, rows_of(tmp_path / "good", [row(nth) for nth in range(20)]))
    assert replace(told, results=good, kept=(), verified=None, died=(), mistakes=()).problems == ()
    assert any("p99" in line for line in summary.lines(told))


def test_only_what_happened_to_the_model_within_the_run_is_shown() -> None:
    """Other models, and what was before or after, are not."""
    entry = {"at_ms": 10_000, "kind": "policy", "facts": {"model": MODEL}}
    others = [{**entry, "facts": {"model": "n"}}, {**entry, "at_ms": 30_000}, {**entry, "facts": {}}]
    assert events([entry, *others], MODEL, 5.0, 10.0) == (Event(5.0, "policy"),)


def test_plots_leave_gaps_and_mark_what_has_no_answer() -> None:
    """No number breaks the line, an infinite one is a cross, and layers stand on each other."""
    axis = Axis([0.0, 1.0, 2.0, 3.0], 4.0)
    plot = lines("t", "u", [Series("a", [1.0, math.nan, math.inf, 2.0])], axis)
    assert plot.count("M") == 3  # two pieces of a line and a cross
    assert "l6 6" in plot
    layers = stacked("t", "u", [Series("a", [1.0] * 4), Series("b", [1.0] * 4)], axis, top=2.0)
    assert layers.count("Z") == 2
    well_formed(layers)
    well_formed(lines("<&>", "u", [Series("none", [math.nan] * 4)], axis))
