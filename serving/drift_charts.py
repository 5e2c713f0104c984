"""Drift as pictures: histograms before and after, and evidence over time, as SVG in an HTML page.

Plain SVG and no script, so that the page opens anywhere and shows nothing that it does not bring along. Whatever text
comes from elsewhere (names of columns, levels) is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

BEFORE: Final = "#8a94a6"
AFTER: Final = "#c2410c"

_WIDTH: Final = 720
_BAR: Final = 15
_NAME: Final = 190
_CHART: Final = (_WIDTH, 220)
_LEFT: Final = 52
_BOTTOM: Final = 26
_TOP: Final = 12
_LONGEST_NAME: Final = 28
_COLOURS: Final = ("#1d4ed8", "#15803d", "#7e22ce", "#b45309", "#be185d", "#0f766e")


def histogram(bars: Sequence[Mapping[str, Any]]) -> str:
    """Two bars for each interval or level: its share before, and after."""
    most = max((max(bar["before"], bar["after"]) for bar in bars), default=0.0) or 1.0
    scale = (_WIDTH - _NAME - 60) / most
    height = len(bars) * (2 * _BAR + 6)
    parts = [part for nth, bar in enumerate(bars) for part in _pair(bar, nth * (2 * _BAR + 6), scale)]
    return _svg(_WIDTH, height, parts)


def evidence(windows: Sequence[Mapping[str, Any]]) -> str:
    """The log of the evidence that each layer has added up, window by window, and what it takes to alarm."""
    if not windows:
        return ""
    moments = [_seconds(window["last"]) for window in windows]
    alarm = max(float(window["log_alarm"]) for window in windows)
    layers = sorted({name for window in windows for name in window["layers"]})
    sums = [one["log_sum"] for window in windows for one in window["layers"].values()]
    top = 1.1 * max([alarm, *(value for value in sums if _is_finite(value))], default=1.0) or 1.0
    place = _Place(moments[0], moments[-1], top)
    parts = [*_alarmed(windows, moments, place), *_frame(place, alarm)]
    for nth, layer in enumerate(layers):
        points = [
            (place.x(at), place.y(window["layers"][layer]["log_sum"]))
            for at, window in zip(moments, windows, strict=True)
            if layer in window["layers"] and _is_finite(window["layers"][layer]["log_sum"])
        ]
        parts += _line(points, _COLOURS[nth % len(_COLOURS)])
    legend = "".join(
        f'<span style="color:{_COLOURS[nth % len(_COLOURS)]}">&#9632; {escape(layer)}</span> '
        for nth, layer in enumerate(layers)
    )
    return f"{_svg(*_CHART, parts)}<p>{legend}</p>"


class _Place:
    """Where a moment and a value lie in the chart."""

    def __init__(self, first_s: float, last_s: float, top: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._top = top

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last moment, seconds since 1970."""
        return self._first_s, self._last_s

    def x(self, at_s: float) -> float:
        """Of a moment."""
        span = self._last_s - self._first_s
        return _LEFT + (_CHART[0] - _LEFT - 10) * ((at_s - self._first_s) / span if span > 0 else 0.5)

    def y(self, value: float) -> float:
        """Of a value."""
        height = _CHART[1] - _BOTTOM - _TOP
        return _TOP + height * (1 - min(max(value, 0.0), self._top) / self._top)


def _pair(bar: Mapping[str, Any], top: int, scale: float) -> Iterable[str]:
    yield _text(_NAME - 8, top + _BAR + 4, _short(bar["name"] or "all other levels"), anchor="end")
    for nth, (share, colour) in enumerate(((bar["before"], BEFORE), (bar["after"], AFTER))):
        width = max(share * scale, 0.0)
        yield f'<rect x="{_NAME}" y="{top + nth * _BAR}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>'
        yield _text(_NAME + width + 5, top + nth * _BAR + 11, f"{share:.1%}")


def _alarmed(windows: Sequence[Mapping[str, Any]], moments: Sequence[float], place: _Place) -> Iterable[str]:
    """A shade behind each window after which an episode was open."""
    for window, at in zip(windows, moments, strict=True):
        if window["alarmed"]:
            left = place.x(max(_seconds(window["first"]), place.span[0]))
            width = max(place.x(at) - left, 2.0)
            height = _CHART[1] - _BOTTOM - _TOP
            yield f'<rect x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{height}" fill="#fee2e2"/>'


def _frame(place: _Place, alarm: float) -> Iterable[str]:
    bottom, right = place.y(0.0), _CHART[0] - 10
    yield f'<line x1="{_LEFT}" y1="{bottom:.1f}" x2="{right}" y2="{bottom:.1f}" stroke="#333"/>'
    yield (
        f'<line x1="{_LEFT}" y1="{place.y(alarm):.1f}" x2="{right}" y2="{place.y(alarm):.1f}" '
        'stroke="#b91c1c" stroke-dasharray="5 4"/>'
    )
    yield _text(_LEFT - 6, place.y(alarm) + 4, f"{alarm:.1f}", anchor="end")
    yield _text(_LEFT - 6, bottom + 4, "0", anchor="end")
    first_s, last_s = place.span
    yield _text(_LEFT, _CHART[1] - 6, _moment(first_s))
    yield _text(right, _CHART[1] - 6, _moment(last_s), anchor="end")


def _line(points: Sequence[tuple[float, float]], colour: str) -> Iterable[str]:
    said = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{said}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
    if len(points) == 1:
        yield f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(width: int, height: int, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">{"".join(parts)}</svg>'


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST_NAME else f"{words[: _LONGEST_NAME - 1]}…"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
