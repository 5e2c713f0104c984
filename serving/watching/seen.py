"""What the live view has seen so far, and what follows from it: rates, silences, what is new. Pure.

Effective shares are counted, not computed from the policy: how many requests of each version the gateways report more
than they did a little earlier. Time is an argument, in seconds of a clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from serving.rollout_standing import Standing

WINDOW_S: Final = 15.0
"""Over how many seconds requests are counted."""

_MOST_EVENTS: Final = 50
_OWN_CLOCK_S: Final = 3.0
"""Answers come about once a second; later than this, what is shown is called old."""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the ledger, as it is shown: its id, when, who and in which words."""

    id: str
    at: str
    who: str
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said at one moment.

    Attributes:
        at_s: when it was heard, by the clock of the caller.
        standing: the rollout.
        requests: running totals by gateway and version.
        gateways: how many there are.
        current: how many of them run the newest epoch.
        epoch: the newest.
        trouble: of the store, in sentences.
        events: of the ledger, oldest first.
    """

    at_s: float
    standing: Standing
    requests: Mapping[tuple[str, int], int] = field(default_factory=dict)
    gateways: int = 0
    current: int = 0
    epoch: int = 0
    trouble: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "requests", MappingProxyType(dict(self.requests)))


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was heard, as far as it is still of use.

    Attributes:
        answers: those within the window, oldest first; the last one is what is shown.
        silence: why the API says nothing, while it does not.
        since_s: since when.
    """

    answers: tuple[Answer, ...] = ()
    silence: str = ""
    since_s: float = 0.0

    @property
    def last(self) -> Answer | None:
        """What is shown."""
        return self.answers[-1] if self.answers else None

    def with_answer(self, answer: Answer) -> Seen:
        """After another answer; those that the window has left behind are forgotten, but for the newest of them."""
        kept = [one for one in self.answers if answer.at_s - one.at_s <= WINDOW_S]
        return Seen((*kept, replace(answer, events=answer.events[-_MOST_EVENTS:])))

    def with_silence(self, why: str, now_s: float) -> Seen:
        """After a call that brought none."""
        return replace(self, silence=why, since_s=self.since_s if self.silence else now_s)

    def old_s(self, now_s: float) -> float | None:
        """How old what is shown is, seconds; None while that is not worth a word."""
        if self.last is None:
            return None
        age_s = max(0.0, now_s - self.last.at_s)
        return age_s if self.silence or age_s > _OWN_CLOCK_S else None


@dataclass(frozen=True, slots=True)
class Rate:
    """What one version was asked within the window."""

    requests: int
    per_s: float


def rates(answers: Sequence[Answer]) -> Mapping[int, Rate]:
    """What each version was asked since the first of these answers; nothing where there is nothing to compare.

    A gateway that is new within the window is left out until it has been seen twice; one that counts fewer than
    before was started anew, and has counted since then.
    """
    if len(answers) < 2 or answers[-1].at_s <= answers[0].at_s:  # noqa: PLR2004 - two make a difference
        return {}
    counted: dict[int, int] = {}
    for before, after in pairwise(answers):
        known = {gateway for gateway, _ in before.requests}
        for (gateway, version), total in after.requests.items():
            grown = total - before.requests.get((gateway, version), 0) if gateway in known else 0
            counted[version] = counted.get(version, 0) + (grown if grown >= 0 else total)
    span_s = answers[-1].at_s - answers[0].at_s
    return {version: Rate(count, count / span_s) for version, count in counted.items()}
