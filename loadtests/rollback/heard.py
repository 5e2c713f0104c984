"""What clients heard while a candidate went bad: how many answers of each version, and whose errors they saw."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from loadtests.steady import Answer

_OK = 200
_NOBODY = 0


@dataclass(slots=True)
class Heard:
    """All answers so far.

    Attributes:
        answers: how many there were.
        good: 200s by the version that gave them.
        errors: all others by the version that they name, 0 where they name none.
        told: the first few of those, in words.
    """

    answers: int = 0
    good: Counter[int] = field(default_factory=Counter)
    errors: Counter[int] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def hear(self, answer: Answer) -> None:
        """Notes one answer."""
        self.answers += 1
        version = int(answer.headers.get("sluice-version", _NOBODY))
        if answer.status == _OK:
            self.good[version] += 1
            return
        self.errors[version] += 1
        if len(self.told) < _MOST_TOLD:
            self.told.append(f"request {answer.number}: {answer.status} {answer.error or answer.body[:200]!r}")

    def errors_of(self, candidate: int) -> int:
        """Errors of the candidate's that clients saw; what names no version is taken for its, too."""
        return self.errors[candidate] + self.errors[_NOBODY]


_MOST_TOLD = 5
