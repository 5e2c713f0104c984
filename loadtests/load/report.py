"""The report as one HTML file that asks nobody for anything: figures, plots on one time axis, what happened when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

from loadtests.load import summary
from loadtests.load.plots import Axis, Series, lines, stacked
from loadtests.load.summary import Outcome

_MS = 1_000.0
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1c1c1c;background:#fff;max-width:900px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}.mild{color:#666}
table{border-collapse:collapse;margin:.4rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}th{border-bottom:1px solid #bbb}ul{padding-left:1.2rem}
.good{color:#00694a}.bad{color:#a63c00}.verdict{font-weight:600}.plot{width:100%;height:auto;margin:.6rem 0}
.plot text{font:12px system-ui,sans-serif;fill:#333}.plot .title{font-weight:600;font-size:13px}.plot .unit{fill:#777;
font-weight:400}.plot .tick{fill:#777}.plot .grid{stroke:#e4e4e4}.plot .line{stroke-width:1.6}
.event line{stroke:#555;stroke-dasharray:4 3}.words td{text-align:left;white-space:normal}
"""


class More(NamedTuple):
    """What a page has beside the load test: another title, what else is wrong, a table below that, further plots."""

    title: str = ""
    problems: Sequence[str] = ()
    below: str = ""
    plots: Sequence[str] = ()


def page(outcome: Outcome, more: More = More()) -> str:  # noqa: B008 - a value
    """The whole file."""
    title = more.title or f"Load test of {outcome.spec.model}"
    parts = (
        f"<h1>{escape(title)}</h1>", _asked(outcome), _verdict(outcome, more.problems), more.below,
        _items("Notes", summary.notes(outcome)), "<h2>Latency</h2>", table(summary.table(outcome)),
        _failures(outcome), _plots(outcome), *more.plots, _happened(outcome), _misplaced(outcome),
    )  # fmt: skip
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _asked(outcome: Outcome) -> str:
    spec, results = outcome.spec, outcome.results
    began = datetime.fromtimestamp(outcome.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    what = f"up to {spec.shape.peak:,.6g} {'users' if spec.closed else 'requests a second'}"
    mix = ", ".join(f"{share:.0%} {kind.name}" for kind, share in spec.mix.items())
    marked = "marked synthetic" if spec.synthetic else "not marked synthetic"
    pinned = f", version {spec.version} alone" if spec.version else ""
    words = f"{began}, {results.seconds:g} s, {what}, {mix}, {marked}{pinned}, {spec.workers} processes"
    return f'<p class="mild">{escape(words)}</p>'


def _verdict(outcome: Outcome, further: Sequence[str]) -> str:
    results = outcome.results
    figures = (
        f"{results.due:,} requests, {results.good:,} good answers, {results.rps:,.1f} a second, "
        f"{results.error_share:.3%} failed"
    )
    problems = (*outcome.problems, *further)
    if not problems:
        return f'<p class="verdict good" id="verdict">Good.</p><p>{escape(figures)}</p>' + _objectives(outcome)
    each = "".join(f"<li>{escape(one)}</li>" for one in problems)
    return f'<p class="verdict bad" id="verdict">Not good:</p><ul>{each}</ul><p>{escape(figures)}</p>' + _objectives(
        outcome
    )


def _objectives(outcome: Outcome) -> str:
    return _items("Objectives", (f"{'kept' if one.good else 'missed'}: {one}" for one in outcome.kept))


def _failures(outcome: Outcome) -> str:
    if not outcome.results.errors:
        return ""
    told = [(words, f"{count:,}") for words, count in (outcome.told or {}).items()]
    said = ("<h2>In the servers' words</h2>" + table([("", "times"), *told])) if told else ""
    return "<h2>Failures</h2>" + table([("", "requests"), *summary.error_words(outcome.results.errors)]) + said


def axis_of(outcome: Outcome) -> Axis:
    """The time axis of its plots, with what happened to the traffic."""
    line = outcome.results.timeline
    return Axis(line.at_s.tolist(), float(line.at_s[-1]) + line.width_s, outcome.events)


def _plots(outcome: Outcome) -> str:
    line, axis = outcome.results.timeline, axis_of(outcome)
    answered = line.answered.clip(min=1e-9)
    versions = [(f"version {version}", each) for version, each in line.by_version.items()]
    split = [Series(name, (each / answered * 100).tolist()) for name, each in versions]
    took = [Series(f"p{share * 100:g}", (each * _MS).tolist()) for share, each in line.quantiles_s.items()]
    drawn = (
        lines(
            "Throughput", "requests a second",
            [Series("due", line.due.tolist()), Series("answered", line.answered.tolist())], axis,
        ),
        lines("Latency", "ms, from when requests were due; a cross is no answer", took, axis),
        stacked("Split", "% of the good answers, by version", split, axis, top=100.0),
        lines("Errors", "requests a second", [Series("failed", line.errors.tolist())], axis),
    )  # fmt: skip
    return "<h2>Over time</h2>" + "".join(drawn)


def _happened(outcome: Outcome) -> str:
    if not outcome.events:
        return ""
    rows = [(str(nth), f"{at_s:.2f} s", words) for nth, (at_s, words) in enumerate(outcome.events, start=1)]
    return "<h2>What happened to the traffic</h2>" + table([("", "at", "what"), *rows])


def _misplaced(outcome: Outcome) -> str:
    found = outcome.verified
    if found is None or not found.misplaced:
        return ""
    return _items("Answers in the wrong place", found.judged.told) + _items(
        "Units that were misplaced", found.misplaced
    )


def _items(title: str, words: Iterable[str]) -> str:
    each = "".join(f"<li>{escape(one)}</li>" for one in words)
    return f"<h2>{escape(title)}</h2><ul>{each}</ul>" if each else ""


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table, its head first."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><tr>{head}</tr>{body}</table>"
