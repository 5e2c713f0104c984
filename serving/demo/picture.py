"""An episode as a picture: right answers, evidence and traffic over time, with what happened, as one SVG file.

Drawn of looks alone (`serving.demo.story`), so that it shows what the demo has seen and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from router.policy import WHOLE
from serving.demo.story import Event, Look

_WIDTH: Final = 900
_LEFT, _RIGHT = 60, 150
_TOP: Final = 92
_PANEL: Final = 130
_GAP: Final = 46
_COLOURS: Final = ("#1d4ed8", "#15803d", "#7e22ce", "#b45309", "#be185d", "#0f766e")
_TICK_S: Final = 30
_STYLE: Final = "text{font:11px system-ui,sans-serif;fill:#1f2937} .title{font-weight:600} .mark{fill:#b91c1c}"

Point = tuple[float, float]


class _Line(NamedTuple):
    """One line of a panel: its name, and where it is (seconds, 0 to 1)."""

    name: str
    points: list[Point]


class _Panel(NamedTuple):
    """One panel: its title, the words of its ends, and its lines; the height at which it alarms, 0 to 1."""

    title: str
    ends: tuple[str, str]
    lines: list[_Line]
    alarm: float | None = None


def drawn(looks: Sequence[Look], events: Sequence[Event], title: str) -> str:
    """The picture.

    Args:
        looks: one or more, oldest first.
        events: what happened meanwhile; those with a mark are drawn.
        title: of the picture.
    """
    began_s, ended_s = looks[0].at_s, max(looks[-1].at_s, looks[0].at_s + 1.0)

    def x(at_s: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (at_s - began_s) / (ended_s - began_s)

    panels = [_answers(looks), _evidence(looks), _traffic(looks)]
    bottom = _TOP + len(panels) * (_PANEL + _GAP) - _GAP
    parts = [_text(_LEFT, 20, title, kind="title"), *_marks(events, x, bottom)]
    for nth, panel in enumerate(panels):
        parts += _panel(panel, _TOP + nth * (_PANEL + _GAP), x)
    parts += _ticks(began_s, ended_s, x, bottom)
    body = "".join(parts)
    height = bottom + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{body}</svg>\n'
    )


def _answers(looks: Sequence[Look]) -> _Panel:
    versions = sorted({arm.version for look in looks for arm in look.arms if arm.of})
    lines = [
        _Line(
            f"version {version}",
            [
                (look.at_s, arm.rate) for look in looks for arm in look.arms
                if arm.version == version and arm.rate is not None
            ],
        )
        for version in versions
    ]  # fmt: skip
    return _Panel("right answers, by labels that came later", ("0 %", "100 %"), lines)


def _evidence(looks: Sequence[Look]) -> _Panel:
    heard = dict.fromkeys(name for look in looks for name, (have, _) in look.evidence.items() if have > 0)
    alarm = max((wanted for look in looks for _, wanted in look.evidence.values()), default=1.0)
    top = 1.25 * alarm
    lines = [
        _Line(
            name,
            [(look.at_s, min(max(look.evidence[name][0], 0.0) / top, 1.0)) for look in looks if name in look.evidence],
        )
        for name in heard
    ]
    return _Panel(
        f"evidence against the stable version's baseline (log; it alarms at {alarm:.1f})", ("0", ""), lines, alarm / top
    )


def _traffic(looks: Sequence[Look]) -> _Panel:
    versions = sorted({arm.version for look in looks for arm in look.arms})
    lines = [
        _Line(
            f"version {version}",
            [
                (look.at_s, next((arm.share_ppm for arm in look.arms if arm.version == version), 0) / WHOLE)
                for look in looks
            ],
        )
        for version in versions
    ]
    return _Panel("traffic", ("0 %", "100 %"), lines)


def _panel(panel: _Panel, top: float, x: Callable[[float], float]) -> Iterator[str]:
    bottom, right = top + _PANEL, _WIDTH - _RIGHT
    yield _text(_LEFT, top - 8, panel.title, kind="title")
    yield f'<path d="M{_LEFT} {top}V{bottom}H{right}" fill="none" stroke="#6b7280"/>'
    yield _text(_LEFT - 6, bottom, panel.ends[0], anchor="end")
    yield _text(_LEFT - 6, top + 8, panel.ends[1], anchor="end")
    if panel.alarm is not None:
        at = bottom - _PANEL * panel.alarm
        yield f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#b91c1c" stroke-dasharray="5 4"/>'
    for nth, one in enumerate(panel.lines):
        colour = _COLOURS[nth % len(_COLOURS)]
        points = " ".join(f"{x(at_s):.1f},{bottom - _PANEL * value:.1f}" for at_s, value in one.points)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        yield f'<rect x="{right + 12}" y="{top + 16 * nth}" width="10" height="10" fill="{colour}"/>'
        yield _text(right + 27, top + 16 * nth + 9, one.name)


def _marks(events: Iterable[Event], x: Callable[[float], float], bottom: float) -> Iterator[str]:
    """A line down all panels for each, with its words above, on three levels so that they do not cover each other."""
    for nth, event in enumerate(one for one in events if one.mark):
        at, level = x(event.at_s), 36 + 13 * (nth % 3)
        yield f'<path d="M{at:.1f} {level + 4}V{bottom}" stroke="#fca5a5"/>'
        yield _text(at + 3, level, event.mark, kind="mark")


def _ticks(began_s: float, ended_s: float, x: Callable[[float], float], bottom: float) -> Iterator[str]:
    for nth in range(int((ended_s - began_s) // _TICK_S) + 1):
        seconds = nth * _TICK_S
        minutes, rest = divmod(seconds, 60)
        yield _text(x(began_s + seconds), bottom + 18, f"{minutes}:{rest:02d}", anchor="middle")


def _text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(words)}</text>'
