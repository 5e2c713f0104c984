"""What is known of one version's drift as an HTML page: evidence over time, and each finding with its histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any, Final

from serving.control.drift_client import FindingAnswer, SeenAnswer
from serving.drift_charts import AFTER, BEFORE, evidence, histogram
from serving.tables import moment

_STYLE: Final = """\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 800px; margin: 2em auto; padding: 0 1em; color: #1f2937; }
svg { max-width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #1f2937; }
table { border-collapse: collapse; margin: 0.8em 0; } td, th { text-align: left; padding: 0.15em 1em 0.15em 0; }
h2 { margin-top: 2em; border-top: 1px solid #d1d5db; padding-top: 0.8em; } .note { color: #6b7280; }
"""


def page(seen: SeenAnswer) -> str:
    """The page, complete in itself: no script, and nothing is fetched."""
    name = f"{seen['model']} version {seen['version']}"
    body = "\n".join((*_standing(seen), *_over_time(seen), *_findings(seen["findings"])))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Drift of {escape(name)}</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>\n{_STYLE}</style></head>\n<body><h1>Drift of {escape(name)}</h1>\n{body}\n</body></html>\n"
    )


def _standing(seen: SeenAnswer) -> Iterator[str]:
    status, baseline = seen["status"], seen["baseline"]
    yield f"<p>{escape(status['sentence'] if status else 'No sidecar has looked at it yet.')}</p>"
    if baseline is not None:
        how = "learned from live requests" if baseline["learned"] else f"brought by {baseline['kept_by']}"
        yield (
            f'<p class="note">Held against {baseline["rows"]:,} rows, {escape(how)}, made {moment(baseline["made"])} '
            f"UTC (digest {escape(baseline['digest'][:12])}).</p>"
        )
    if status is not None:
        samples = status["samples"]
        yield (
            f'<p class="note">{status["rows"]:,} rows in {status["windows"]:,} windows; {samples["dropped"]:,} samples '
            f"dropped by gateways, {samples['lost']:,} rows lost, {samples['pending']:,} batches pending.</p>"
        )
        if status["strata"]:
            yield f'<p class="note">The last window was compared with {escape(status["strata"])}.</p>'


def _over_time(seen: SeenAnswer) -> Iterator[str]:
    yield "<h2>Evidence over time</h2>"
    if not seen["windows"]:
        yield "<p>No window has been heard yet.</p>"
        return
    yield (
        f'<p class="note">The log of the evidence against calm, window by window ({len(seen["windows"]):,} of them); '
        "above the dashed line it alarms. Shaded: an episode was open.</p>"
    )
    yield evidence(seen["windows"])


def _findings(findings: Iterable[FindingAnswer]) -> Iterator[str]:
    none = True
    for one in findings:
        none = False
        yield from _finding(one)
    if none:
        yield "<h2>Findings</h2><p>Nothing was found.</p>"


def _finding(one: FindingAnswer) -> Iterator[str]:
    yield f"<h2>{escape(one['layer'])}: {moment(one['at'])} UTC</h2><p>{escape(one['words'])}</p>"
    rows = (
        ("since", f"{moment(one['since'])} UTC"),
        ("rows since then", f"{one['rows']:,}, {moment(one['first'])} to {moment(one['last'])} UTC"),
        (one["statistic"], f"{one['value']:.4g} (one calm window in twenty exceeds {one['threshold']:.4g})"),
        ("evidence", f"log {one['log_sum']:.2f}, alarm at {one['log_alarm']:.2f}"),
        ("episode", one["episode"]),
    )
    yield "<table>" + "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows) + "</table>"
    if one["breaks"]:
        yield "<ul>" + "".join(f"<li>{escape(of['sentence'])}</li>" for of in one["breaks"]) + "</ul>"
    if one["segment"]:
        yield f"<p>{escape(segment_words(one['segment']))}</p>"
    if one["features"]:
        sides = (("before", BEFORE), ("after", AFTER))
        yield "<p>" + " ".join(f'<span style="color:{colour}">&#9632; {of}</span>' for of, colour in sides) + "</p>"
    for feature in one["features"]:
        yield (f"<h3>{escape(feature['name'])}</h3><p>{escape(feature_words(feature))}</p>{histogram(feature['bars'])}")


def segment_words(segment: dict[str, Any]) -> str:
    """Where alone it happened, in a sentence."""
    return (
        f"It happened where {segment['feature']} is {segment['name']} ({segment['share']:.0%} of rows): it moved by "
        f"{segment['inside']:.2f} there, and by {segment['outside']:.2f} elsewhere."
    )


def feature_words(feature: dict[str, Any]) -> str:
    """How far one feature moved, in a sentence."""
    return (
        f"Total variation {feature['variation']:.2f}, population stability index {feature['stability']:.2f}, "
        f"{feature['share']:.0%} of all that moved."
    )
