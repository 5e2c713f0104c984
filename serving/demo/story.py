"""The drift demo as values: what was seen at a look, what is new in it, and what the screen says. Pure.

Looks come about once a second. What is told is what the control API, the trainer and the people said by then; nothing
here is worked out but shares and differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from router.policy import format_share
from serving.demo.people import Answered
from serving.trainer.diary import ENDS, Step

LATELY_S: Final = 15.0
"""Over how many seconds right answers are counted."""

_BAR: Final = 24
_MOST_LINES: Final = 16
_PARTS: Final = ("calm", "the camera is knocked over: digits are askew from now on")


@dataclass(frozen=True, slots=True)
class Arm:
    """One version at a look.

    Attributes:
        version: its number.
        share_ppm: of the traffic, by the policy.
        right: right answers lately.
        of: all of its answers lately.
    """

    version: int
    share_ppm: int
    right: int
    of: int

    @property
    def rate(self) -> float | None:
        """The share of right answers; None where there is none."""
        return self.right / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at one moment.

    Attributes:
        at_s: when, seconds since 1970.
        turned: whether people ask digits that are askew.
        asked: answers so far.
        arms: versions that have traffic, or had answers lately, by number.
        evidence: of the stable version's layers, the log of what was added up and of what it takes, by name.
        windows: of the stable version, so far.
        findings: in words, by id.
        episodes: as the trainer tells them.
        rollout: where the rollout stands; empty for none.
        results: what feedback says of it, in words.
        trouble: what went wrong last; empty for nothing.
    """

    at_s: float
    turned: bool
    asked: int = 0
    arms: tuple[Arm, ...] = ()
    evidence: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    windows: int = 0
    findings: Mapping[str, str] = field(default_factory=dict)
    episodes: tuple[Mapping[str, Any], ...] = ()
    rollout: str = ""
    results: tuple[str, ...] = ()
    trouble: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))
        object.__setattr__(self, "findings", MappingProxyType(dict(self.findings)))

    @property
    def episode(self) -> Mapping[str, Any] | None:
        """The first that asked for retraining; None before."""
        return self.episodes[0] if self.episodes else None

    @property
    def is_over(self) -> bool:
        """Whether the trainer has come to an end with it."""
        return self.episode is not None and self.episode["step"] in ENDS

    @property
    def is_promoted(self) -> bool:
        """Whether that is the good one."""
        return self.episode is not None and self.episode["step"] == Step.PROMOTED


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        at_s: when, seconds since 1970.
        words: what.
        mark: a word or two for the picture; empty where it is not drawn.
    """

    at_s: float
    words: str
    mark: str = ""


def arms_of(shares: Mapping[int, int], answered: Iterable[Answered]) -> tuple[Arm, ...]:
    """Versions with their shares of the policy, in parts per million, and what came of them lately."""
    counts: dict[int, list[bool]] = {version: [] for version, share in shares.items() if share}
    for one in answered:
        counts.setdefault(one.version, []).append(one.right)
    return tuple(
        Arm(version, shares.get(version, 0), sum(rights), len(rights)) for version, rights in sorted(counts.items())
    )


def events_of(before: Look | None, after: Look) -> Iterator[Event]:
    """What is new since the look before."""
    at_s = after.at_s
    if before is None or before.turned is not after.turned:
        yield Event(at_s, _PARTS[after.turned], "digits askew" if after.turned else "")
    for finding, words in after.findings.items():
        if before is None or finding not in before.findings:
            first = before is not None and not before.findings
            yield Event(at_s, f"found: {words}", "drift found" if first else "")
    yield from _moved(before, after)
    if after.rollout and (before is None or before.rollout != after.rollout):
        yield Event(at_s, f"rollout: {after.rollout}")
    if after.trouble and (before is None or before.trouble != after.trouble):
        yield Event(at_s, f"trouble: {after.trouble}")


def _moved(before: Look | None, after: Look) -> Iterator[Event]:
    """Steps of the trainer's episodes; what one waits for is told by its rollout."""
    known = {one["id"]: one for one in before.episodes} if before is not None else {}
    for one in after.episodes:
        was = known.get(one["id"])
        if was is None:
            yield Event(after.at_s, f"the trainer has heard drift.retrain, episode {one['id'][:12]}", "webhook")
        before_step = Step.RECEIVED if was is None else Step(was["step"])
        if one["step"] != before_step:
            words = f"trainer: {one['step']}: {one['words']}"
            yield Event(after.at_s, words, _mark(before_step, Step(one["step"])))


_WAY: Final = tuple(Step)
_MARKS: Final[Mapping[Step, str]] = MappingProxyType({
    Step.TRAINED: "trained", Step.REGISTERED: "registered", Step.ROLLING: "rollout", Step.PROMOTED: "promoted",
})  # fmt: skip


def _mark(before: Step, after: Step) -> str:
    """What is drawn: the last that was passed of what is marked, for a look may miss a step."""
    if after in ENDS and after is not Step.PROMOTED:
        return ""
    passed = _WAY[_WAY.index(before) + 1 : _WAY.index(after) + 1]
    return next((_MARKS[one] for one in reversed(passed) if one in _MARKS), "")


def screen(look: Look, events: Sequence[Event], began_s: float) -> RenderableType:
    """What a terminal shows."""
    head = Text(f"{_clock(look.at_s - began_s)}  {look.asked:,} requests  ", style="bold")
    head.append("digits askew" if look.turned else "calm", style="bold red" if look.turned else "green")
    past = Text("\n".join(line(one, began_s) for one in events[-_MOST_LINES:]))
    said = Text("\n".join(look.results), style="dim")
    return Group(head, _versions(look), _evidence(look), past, said)


def line(event: Event, began_s: float) -> str:
    """'1:05  found: …'."""
    return f"{_clock(event.at_s - began_s):>5}  {event.words}"


def progress_line(look: Look, began_s: float) -> str:
    """The same as the screen in one line, for where there is none."""
    arms = ", ".join(f"version {arm.version} {format_share(arm.share_ppm)}: {_rate(arm)}" for arm in look.arms)
    highest = max((have / wanted for have, wanted in look.evidence.values() if wanted > 0), default=0.0)
    asked = f"{look.asked:,} requests, {look.windows:,} windows, evidence {max(highest, 0.0):.0%} of an alarm"
    return f"{_clock(look.at_s - began_s):>5}  {asked}; right lately: {arms}"


def _versions(look: Look) -> Table:
    table = Table(title=f"who answers, and how often they are right (labels of the last {LATELY_S:.0f} s)")
    for name in ("version", "traffic", "answers", "right"):
        table.add_column(name, justify="right")
    for arm in look.arms:
        table.add_row(str(arm.version), format_share(arm.share_ppm), str(arm.of), _rate(arm))
    return table


def _evidence(look: Look) -> Table:
    table = Table(title="evidence against the stable version's baseline (log; full is an alarm)")
    table.add_column("layer")
    table.add_column("", width=_BAR)
    table.add_column("of", justify="right")
    for layer, (have, wanted) in look.evidence.items():
        part = min(max(have / wanted, 0.0), 1.0) if wanted > 0 else 0.0
        bar = Text("█" * round(part * _BAR), style="red" if part >= 1 else "yellow")
        table.add_row(layer, bar, f"{max(have, 0.0):.1f} / {wanted:.1f}")
    return table


def _rate(arm: Arm) -> str:
    return "-" if arm.rate is None else f"{arm.rate:.1%}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02d}"
