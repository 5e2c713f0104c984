"""What the screen says, decided purely: from what was seen, the time and the size of the screen to lines of words.

What must not be missed stands at the top; what there is no room for is left out from the bottom of the events up, so
that a small terminal shows the same as a large one, but for the past. Colours are a matter of `screen`, which is told
here what kind of line each is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from router.evidence.judge import Decision
from router.phases import Phase
from router.policy import format_share
from serving.amounts import time_of
from serving.rollout_standing import Standing, lately_words
from serving.rollout_verdicts import verdict_lines
from serving.watching.seen import Answer, Event, Rate, Seen, rates

_COLUMNS: Final = ("version", "role", "share", "effective", "req/s", "errors", "p50", "p99", "stage")
_CUT_COLUMNS: Final = (*_COLUMNS[:3], "given", *_COLUMNS[3:])
"""Where a version carries less than its share."""
_GAP: Final = "  "
_FEWEST_EVENTS: Final = 2


class Mood(StrEnum):
    """What kind of line it is, for its colour."""

    PLAIN = "plain"
    TITLE = "title"
    GOOD = "good"
    CAREFUL = "careful"
    BAD = "bad"
    FAINT = "faint"


MOODS: Final = MappingProxyType(
    {
        Phase.WARMING: Mood.CAREFUL,
        Phase.RUNNING: Mood.GOOD,
        Phase.BAKING: Mood.GOOD,
        Phase.WAITING: Mood.CAREFUL,
        Phase.PAUSED: Mood.CAREFUL,
        Phase.WATCHING: Mood.GOOD,
        Phase.PROMOTED: Mood.GOOD,
        Phase.ROLLED_BACK: Mood.BAD,
        Phase.FAILED: Mood.BAD,
    }
)

_DECISIONS: Final = MappingProxyType({Decision.PROMOTE.value: Mood.GOOD, Decision.ROLL_BACK.value: Mood.BAD})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen."""

    words: str
    mood: Mood = Mood.PLAIN


@dataclass(frozen=True, slots=True)
class Size:
    """Of the screen, in characters."""

    width: int
    height: int


def frame(seen: Seen, now_s: float, size: Size) -> tuple[Line, ...]:
    """The lines of the screen, at most as many as it has, none longer than it is wide.

    Args:
        seen: what was heard so far.
        now_s: the time, by the clock of what was heard.
        size: of the screen.
    """
    body = _body(seen, seen.last, now_s, size.width) if seen.last else ()
    top = list(_wrapped([*_silence(seen, now_s), *body], size.width))
    foot = Line("q quits; the rollout goes on", Mood.FAINT)
    room = max(0, size.height - len(top) - 1)
    past = _past(seen.last, room) if seen.last else []
    lines = [*top, *past][: max(0, size.height - 1)]
    filler = [Line("")] * (size.height - 1 - len(lines))
    return tuple(Line(_cut(line.words, size.width), line.mood) for line in [*lines, *filler, foot])


def next_words(answer: Answer, now_s: float) -> str:
    """When it goes on: 'next: stage '25 %', in 8m12s', or that nothing follows."""
    standing = answer.standing
    if standing.over:
        return "nothing follows"
    if standing.asks:
        return f"next: {standing.ahead}, when somebody has approved it"
    if standing.stands or standing.next_s is None:
        return f"next: {standing.ahead}, not a matter of time"
    left_s = standing.next_s - (now_s - answer.at_s)
    when = f"in {time_of(left_s)}" if left_s > 0 else "as soon as nothing keeps it"
    return f"next: {standing.ahead}, {when}"


def _silence(seen: Seen, now_s: float) -> Iterator[Line]:
    old_s = seen.old_s(now_s)
    if old_s is not None:
        why = f": {seen.silence}" if seen.silence else ""
        yield Line(f"STALE, {time_of(old_s)} old{why}", Mood.BAD)
    elif seen.last is None:
        yield Line(f"nothing was heard yet{': ' + seen.silence if seen.silence else ''}", Mood.CAREFUL)


def _body(seen: Seen, answer: Answer, now_s: float, width: int) -> Iterator[Line]:
    standing = answer.standing
    yield Line(f"{standing.model}  {_kind(standing)}  {standing.id}", Mood.TITLE)
    by_hand = ", shares set by hand" if standing.by_hand else ""
    yield Line(f"{standing.phase}, {standing.place}{by_hand}, automation {standing.automation}", MOODS[standing.phase])
    if standing.cause:
        yield Line(f"because: {standing.cause}", Mood.CAREFUL)
    yield Line(next_words(answer, now_s))
    if standing.advised:
        yield Line(f"recommended: {standing.advised}")
    yield Line("")
    yield from _table(standing, rates(seen.answers), width)
    yield Line("")
    yield Line("stages: " + ", ".join(_stages(standing)))
    for wait in standing.waits:
        yield Line(f"waits: {wait}", Mood.CAREFUL)
    if standing.asks:
        yield Line(f"approve it with: sluice rollout approve {standing.model}", Mood.CAREFUL)
    behind = answer.current < answer.gateways
    words = f"gateways: {answer.current} of {answer.gateways} run epoch {answer.epoch}"
    yield Line(words, Mood.CAREFUL if behind else Mood.PLAIN)
    yield from (Line(f"store: {one}", Mood.BAD) for one in answer.trouble)
    yield from _verdicts(standing)


def _verdicts(standing: Standing) -> Iterator[Line]:
    """What the evidence says of each version; below what somebody has to act on."""
    for version, verdict in standing.verdicts.items():
        mood = _DECISIONS.get(verdict.decision, Mood.PLAIN)
        words, *rows = verdict_lines(version, verdict)
        yield Line(words, Mood.CAREFUL if verdict.freeze else mood)
        yield from map(Line, rows)


def _table(standing: Standing, counted: Mapping[int, Rate], width: int) -> Iterator[Line]:
    total = sum(rate.requests for rate in counted.values())
    versions = sorted({*standing.shares, *standing.lately, *counted}, key=lambda one: (one != standing.stable, one))
    rows = [_row(standing, version, counted.get(version), total) for version in versions]
    columns = _CUT_COLUMNS if standing.cut else _COLUMNS
    widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]
    gap = _GAP if sum(widths) + len(_GAP) * (len(widths) - 1) <= width else " "
    yield Line(_laid_out(columns, widths, gap), Mood.FAINT)
    yield from (Line(_laid_out(row, widths, gap)) for row in rows)


def _row(standing: Standing, version: int, rate: Rate | None, total: int) -> Sequence[str]:
    given, how = standing.shares.get(version, 0), standing.lately.get(version)
    shares = [format_share(standing.desired.get(version, given)), *([format_share(given)] if standing.cut else [])]
    effective = f"{rate.requests * 100 / total:.2f} %" if rate and total else ""
    per_s, *answered = lately_words(how)
    if rate and (rate.requests or not per_s):  # counted here, and without those that were copied
        per_s = f"{rate.per_s:,.1f}"
    stage = f"{standing.requests[version]:,}" if version in standing.requests else ""
    return (str(version), standing.role_of(version), *shares, effective, per_s, *answered, stage)


def _laid_out(cells: Sequence[str], widths: Sequence[int], gap: str) -> str:
    role = 1
    return gap.join(
        cell.ljust(width) if at == role else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _stages(standing: Standing) -> Iterator[str]:
    for nth, stage in enumerate(standing.stages):
        gate = "?" if stage.approval and nth > standing.stage else ""
        yield f"[{stage.name}]" if nth == standing.stage else f"{stage.name}{gate}"


def _past(answer: Answer, room: int) -> Sequence[Line]:
    """The newest events, oldest of them first, under a heading; none where there is room for hardly any."""
    if room < _FEWEST_EVENTS + 1 or not answer.events:
        return ()
    shown = answer.events[-(room - 1) :] if room > 1 else ()
    return (Line("lately:", Mood.FAINT), *(Line(event_words(event)) for event in shown))


def event_words(event: Event) -> str:
    """'14:03:01  anna  pause: asked by anna'."""
    return _GAP.join(part for part in (event.at, event.who, event.words) if part)


def _kind(standing: Standing) -> str:
    return standing.kind.replace("_", "/" if standing.kind == "ab_test" else "-")


def _wrapped(lines: Iterable[Line], width: int) -> Iterator[Line]:
    """Sentences are never cut: whoever has to act on one needs its end. Rows of the table are."""
    for line in lines:
        sentence = ": " in line.words[:20] and not line.words.startswith(" ")
        parts = textwrap.wrap(line.words, max(20, width), subsequent_indent="  ") if sentence else []
        yield from (Line(part, line.mood) for part in parts or [line.words])


def _cut(words: str, width: int) -> str:
    return words if len(words) <= width else words[: max(0, width - 1)] + "…"
