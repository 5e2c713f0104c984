"""Plots as SVG, drawn here so that a report is one file that needs nobody: lines or stacked areas over one time axis.

A value that is not a number leaves a gap; an infinite one (no answer at all) is a mark at the upper edge. What happened
under way is a dashed line with its number, at the same place in every plot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 860, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 34, 30
_TICKS = 5
_MOST_NAMED = 40
"""Events whose numbers have room in a plot; all are in its tooltips."""
# Told apart by people who see few colours as well: Okabe and Ito, Color Universal Design, 2008.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7f7f00", "#333333")


class Series(NamedTuple):
    """One line, or one layer: a name and a value for each moment."""

    name: str
    values: Sequence[float]


class Axis(NamedTuple):
    """The time axis that all plots of a report share, seconds: each stretch's begin, the end, and what happened."""

    at_s: Sequence[float]
    end_s: float
    events: Sequence[tuple[float, str]] = ()

    def x(self, at_s: float) -> float:
        """Where a moment is."""
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(1.0, at_s / self.end_s if self.end_s else 0.0)


def lines(title: str, unit: str, series: Sequence[Series], axis: Axis) -> str:
    """A plot of lines."""
    top = _nice_top([value for one in series for value in one.values])
    drawn = [_line(one, COLOURS[nth % len(COLOURS)], axis, top) for nth, one in enumerate(series)]
    return _plot(_head(title, unit, series), "".join(drawn), axis, top)


def stacked(title: str, unit: str, series: Sequence[Series], axis: Axis, *, top: float | None = None) -> str:
    """A plot of layers, each on those before it."""
    below, drawn = [0.0] * len(axis.at_s), []
    for nth, one in enumerate(series):
        above = [low + (value if math.isfinite(value) else 0.0) for low, value in zip(below, one.values, strict=True)]
        drawn.append((below, above, COLOURS[nth % len(COLOURS)]))
        below = above
    highest = _nice_top(below) if top is None else top
    layers = "".join(_layer(low, high, colour, axis, highest) for low, high, colour in drawn)
    return _plot(_head(title, unit, series), layers, axis, highest)


def _plot(head: str, drawn: str, axis: Axis, top: float) -> str:
    return (
        f'<svg class="plot" role="img" viewBox="0 0 {WIDTH} {HEIGHT}">{head}{_grid(axis, top)}{drawn}'
        f"{''.join(_events(axis))}</svg>"
    )


def _head(title: str, unit: str, series: Sequence[Series]) -> str:
    words = f'{escape(title)} <tspan class="unit">{escape(unit)}</tspan>'
    return f'<text class="title" x="{_LEFT}" y="16">{words}</text>{_legend([one.name for one in series])}'


def _line(series: Series, colour: str, axis: Axis, top: float) -> str:
    path, open_, marks = [], False, []
    for at_s, value in zip(axis.at_s, series.values, strict=True):
        x = axis.x(at_s)
        if math.isfinite(value):
            path.append(f"{'L' if open_ else 'M'}{x:.1f} {_y(value, top):.1f}")
        elif math.isinf(value):
            marks.append(f'<path d="M{x - 3:.1f} {_TOP - 3}l6 6m0 -6l-6 6" stroke="{colour}"/>')
        open_ = math.isfinite(value)
    name = escape(series.name)
    return (
        f'<path d="{"".join(path)}" fill="none" stroke="{colour}" class="line"><title>{name}</title></path>'
        + "".join(marks)
    )


def _layer(low: Sequence[float], high: Sequence[float], colour: str, axis: Axis, top: float) -> str:
    forth = [f"{axis.x(at):.1f} {_y(value, top):.1f}" for at, value in zip(axis.at_s, high, strict=True)]
    back = [f"{axis.x(at):.1f} {_y(value, top):.1f}" for at, value in zip(axis.at_s, low, strict=True)]
    return f'<path d="M{"L".join(forth + back[::-1])}Z" fill="{colour}" fill-opacity="0.75"/>'


def _legend(names: Sequence[str]) -> str:
    parts, x = [], WIDTH - _RIGHT
    for nth, name in reversed(list(enumerate(names))):
        x -= 7 * len(name) + 24
        parts.append(f'<rect x="{x}" y="7" width="10" height="10" fill="{COLOURS[nth % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 14}" y="16">{escape(name)}</text>')
    return "".join(parts)


def _grid(axis: Axis, top: float) -> str:
    parts = []
    for nth in range(_TICKS):
        value = top * nth / (_TICKS - 1)
        y = _y(value, top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.4g}</text>')
        at_s = axis.end_s * nth / (_TICKS - 1)
        place = f'x="{axis.x(at_s):.1f}" y="{HEIGHT - 10}" text-anchor="{"end" if nth == _TICKS - 1 else "middle"}"'
        parts.append(f'<text class="tick" {place}>{_clock(at_s)}</text>')
    return "".join(parts)


def _events(axis: Axis) -> Iterator[str]:
    named = len(axis.events) <= _MOST_NAMED
    for nth, (at_s, words) in enumerate(axis.events, start=1):
        x = axis.x(at_s)
        number = f'<text class="tick" x="{x:.1f}" y="{_TOP - 6}" text-anchor="middle">{nth}</text>' if named else ""
        yield (
            f'<g class="event"><title>{nth}: {escape(words)}</title>{number}'
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{HEIGHT - _BOTTOM}"/></g>'
        )


def _y(value: float, top: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(1.0, value / top)


def _nice_top(values: Sequence[float]) -> float:
    """The next of 1, 2, 2.5, 4, 5 times a power of ten above them."""
    highest = max((value for value in values if math.isfinite(value)), default=0.0)
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(power * step for step in (1, 2, 2.5, 4, 5, 10) if power * step >= highest * (1 - 1e-9))


def _clock(at_s: float) -> str:
    if at_s < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{at_s:.3g} s"
    hours, rest = divmod(round(at_s), 3_600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
