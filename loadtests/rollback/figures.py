"""What is measured of a scenario, each figure with whether it is good; times come from the ledger and the versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.rollback.heard import Heard
from loadtests.rollback.operator import Entry, Standing, told
from loadtests.rollback.switch import Noted

BACK, PROMOTED, EVERYWHERE = "rolled_back", "promoted", "acknowledged"
"""What the ledger calls what happened."""
_BY_EVIDENCE = "breach"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line.

    Attributes:
        name: what was measured, and what it has to be.
        value: as it is shown.
        good: whether it is.
    """

    name: str
    value: str
    good: bool = True


def rolled_back(there: Standing, story: Sequence[Entry], noted: Sequence[Noted], heard: Heard) -> tuple[Figure, ...]:
    """Of a rollout that had to go back by itself.

    Args:
        there: how it stands in the end.
        story: what the ledger says of it.
        noted: what its candidate noted from when it was told to turn bad.
        heard: what clients heard all the while.
    """
    back = entry_of(story, BACK)
    by_itself = back is not None and back["facts"]["what"] == _BY_EVIDENCE
    return (
        Figure("it goes back by itself", told(there), by_itself),
        reached(noted),
        Figure("seconds from its first failure to the verdict", _detected(back, noted)),
        *_everywhere(back, story, noted),
        seen_by_clients(heard, there["candidate"]),
    )


def reached(noted: Sequence[Noted]) -> Figure:
    """How many requests came to the version while it was bad."""
    fates = Counter(one.fate for one in noted)
    said = ", ".join(f"{count:,} {fate}" for fate, count in sorted(fates.items()))
    return Figure("requests that reached the bad version", f"{len(noted):,} ({said or 'none'})", bool(noted))


def seen_by_clients(heard: Heard, candidate: int) -> Figure:
    """Errors of the candidate's that its clients saw, where repeats are allowed."""
    count = heard.errors_of(candidate)
    return Figure(
        f"errors of the candidate's that clients saw, of {heard.answers:,} requests (none)", f"{count}", not count
    )


def entry_of(story: Sequence[Entry], event: str) -> Entry | None:
    """The last entry that says that this happened."""
    return next((one for one in reversed(story) if one["facts"].get("event") == event), None)


def _detected(back: Entry | None, noted: Sequence[Noted]) -> str:
    first_s = next((one.at_s for one in noted if one.bad), None)
    return "never" if back is None or first_s is None else f"{back['facts']['at_s'] - first_s:.1f} s"


def _everywhere(back: Entry | None, story: Sequence[Entry], noted: Sequence[Noted]) -> tuple[Figure, ...]:
    name = "milliseconds from the verdict to the last gateway"
    seen = entry_of(story, EVERYWHERE)
    if back is None or seen is None:
        return (Figure(name, "not every gateway has said that it runs the rollback", good=False),)
    verdict_s = back["facts"]["at_s"]
    last_ms = max((one.at_s - verdict_s for one in noted), default=0.0) * 1_000
    return (
        Figure(name, f"{(seen['facts']['at_s'] - verdict_s) * 1_000:.0f} ms"),
        Figure("the last request that reached it, after the verdict", f"{max(0.0, last_ms):.0f} ms"),
    )
