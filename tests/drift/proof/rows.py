"""One line of the proof: what was measured, the bar it is held against, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE = 0.99


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        title: what.
        measured: in words and figures.
        bar: what it must be; '' where it is reported only.
        holds: whether it is.
    """

    title: str
    measured: str
    bar: str = ""
    holds: bool = True

    def __str__(self) -> str:
        """A line of the table."""
        verdict = "" if not self.bar else ("holds" if self.holds else "FAILS")
        return f"{verdict:6} {self.title:52} {self.measured:34} {self.bar}"


def lowest(found: int, runs: int) -> float:
    """The lower 99 % Clopper-Pearson bound of a rate."""
    return 0.0 if found == 0 else float(stats.beta.ppf(1 - CONFIDENCE, found, runs - found + 1))


def highest(found: int, runs: int) -> float:
    """The upper 99 % Clopper-Pearson bound of a rate."""
    return 1.0 if found == runs else float(stats.beta.ppf(CONFIDENCE, found + 1, runs - found))
