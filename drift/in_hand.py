"""What is in hand beside a version's rows: how far it has come, what of that the store has, and findings that wait.

A finding is told once the store has it, with the standing that it came of: whoever is killed in between finds it again.
Candidates (`drift.beside`) and labels (`drift.labels`) are such; rows of a version keep more, in `drift.watched`. No
I/O: who stores is `drift.model_watch`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from drift.alarm import Alarm
from drift.findings import Finding
from drift.progress import episode_status
from drift.status import LayerStatus, Status


class HasAlarm(Protocol):
    """How far it has come: a value that another one takes the place of."""

    @property
    def alarm(self) -> Alarm:
        """Over what was looked at."""

    @property
    def layer(self) -> LayerStatus | None:
        """What was said last; None before the first time."""


_Standing = TypeVar("_Standing", bound=HasAlarm)


class InHand(Generic[_Standing]):
    """One of them.

    Args:
        standing: where it goes on from.
        stored: the same value if the store has it; None where it is to be stored first.
    """

    def __init__(self, standing: _Standing, stored: _Standing | None) -> None:
        self.standing = standing
        self._stored = stored
        self._findings: list[Finding] = []

    @property
    def is_stored(self) -> bool:
        """Whether nothing is to be stored."""
        return self.standing is self._stored

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those that are not stored."""
        return tuple(self._findings)

    def stored(self) -> tuple[Finding, ...]:
        """What was to be stored is: the findings among it."""
        told = self.findings
        self._stored, self._findings = self.standing, []
        return told

    def _status(self, about: Status, words: str) -> Status:
        """How it stands beside what is known of the version's rows, whose episode goes first.

        Args:
            about: what is known.
            words: a sentence that is added while the alarm is raised.
        """
        layer, alarm = self.standing.layer, self.standing.alarm
        layers = about.layers if layer is None else (*about.layers, layer)
        if not alarm.is_raised:
            return replace(about, layers=layers, episode=about.episode or episode_status(alarm))
        episode = about.episode if about.is_drifting else episode_status(alarm)
        return replace(about, layers=layers, episode=episode, sentence=f"{about.sentence} {words}")
