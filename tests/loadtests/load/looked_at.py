"""What is to be seen on the report of a load test: its plots, one below the other, with the same events in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from loadtests.load.plots import COLOURS, HEIGHT, WIDTH
from tests import browser
from tests.browser import Box, Seen, coloured, dark, of_each

TITLES = ("Throughput requests a second", "Latency ms,", "Split % of the good answers", "Errors requests a second")
_FIRST, _SECOND = COLOURS[:2]
_A_LINE = 200
"""Pixels, of a line across the page: a quarter of it, for others may lie over it."""


def shows_the_load_test(seen: Seen, report: Mapping[str, Any]) -> None:
    """Fails where a reader of the page would miss something that the report has."""
    assert seen.pixels.shape == (browser.HEIGHT, browser.WIDTH, 3)
    assert seen.body.top + seen.body.height < browser.HEIGHT
    for words in (f"Load test of {report['model']}", "Over time", *TITLES, *_sentences(report)):
        assert words in seen.text, words
    throughput, latency, split, errors = plots_of(seen, 4)
    assert coloured(seen.within(throughput), _SECOND) > _A_LINE
    assert max(coloured(seen.within(latency), colour) for colour in COLOURS[:3]) > _A_LINE
    assert coloured(seen.within(errors), _FIRST) > _A_LINE
    layers = [coloured(seen.within(split), faint(colour), 8) for colour in COLOURS[: len(report["by_version"])]]
    assert all(layers), layers
    assert sum(layers) > 0.5 * split.width * split.height * _DRAWN
    marks_events(seen, [throughput, latency, split, errors], report)


_DRAWN = (WIDTH - 64 - 14) * (HEIGHT - 34 - 30) / WIDTH / HEIGHT
"""Which part of a plot is inside of its axes."""


def plots_of(seen: Seen, count: int) -> Sequence[Box]:
    """So many plots in the order of the page: as wide as it, of the right form, none over another, none blank."""
    assert len(seen.plots) == count
    for one in seen.plots:
        assert one.width > 0.8 * browser.WIDTH
        assert one.height == pytest.approx(one.width * HEIGHT / WIDTH, rel=0.02)
        assert dark(seen.within(one)) > 0.005 * one.width * one.height
    assert all(one.top + one.height <= following.top for one, following in pairwise(seen.plots))
    return seen.plots


def marks_events(seen: Seen, plots: Sequence[Box], report: Mapping[str, Any]) -> None:
    """Each event is a dashed line in each plot, at its own time and so at the same place in all of them."""
    seconds = report["timeline"]["at_s"][-1] + report["timeline"]["width_s"]
    for plot, lines in zip(plots, of_each(seen.events, plots), strict=True):
        scale = plot.width / WIDTH
        left, width = plot.left + 64 * scale, (WIDTH - 64 - 14) * scale
        places = [left + width * one["at_s"] / seconds for one in report["events"]]
        assert [one.left for one in lines] == pytest.approx(places, abs=1.0)
        for line in lines:
            around = Box(line.left - 1, line.top, 3, line.height)
            assert dark(seen.within(around)) > 0.3 * line.height


def faint(colour: str) -> str:
    """A layer's colour on white, through which a quarter of it is seen."""
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(0.75 * part + 0.25 * 255):02x}" for part in parts)


def _sentences(report: Mapping[str, Any]) -> Sequence[str]:
    answers = f"{report['requests']:,} requests, {report['answered']:,} good answers"
    verdict = "Good." if report["good"] else "Not good:"
    return (verdict, answers, *report["notes"], *(one["words"] for one in report["events"]))
