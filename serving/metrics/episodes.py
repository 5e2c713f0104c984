"""The figures of drift that the control room knows: what a model's drift is put down to, and what waits for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from serving.metrics.figure import Facts, Figure, Kind, Row

NOT_YET: Final = "not_yet"
"""In the place of a cause, while all versions are being looked at."""


def _open(facts: Facts) -> Iterator[Row]:
    for one in facts.episodes:
        yield (one.model, NOT_YET if one.decided is None else one.decided.cause.value), one.closed_s is None


def _pending(facts: Facts) -> Iterator[Row]:
    for one in facts.episodes:
        if one.pending.acts:
            yield (one.model, one.pending.value), 1


EPISODES: Final = (
    Figure(
        "sluice_drift_episode_open",
        Kind.GAUGE,
        ("model", "cause"),
        "1 while any version of a model drifts, by what that is put down to; 0 until its cool-down is over.",
        _open,
    ),
    Figure(
        "sluice_drift_approval_pending",
        Kind.GAUGE,
        ("model", "action"),
        "1 while what is to be done about a model's drift waits for an operator's approval.",
        _pending,
    ),
)
"""In the order of the answer."""
