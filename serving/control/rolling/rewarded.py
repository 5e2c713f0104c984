"""Feedback as it belongs to a rollout: whose it is, and what each arm's has added up to. Pure.

A request belongs to the rollout of its model whose epochs enclose its own, and within that to the segment that began
with the newest of these epochs: there shares stood still. The rollout's sums are kept by attempt (`scope_of`), for a
retry judges anew. Values are those of the version that was dealt, whoever answered in the end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final

from router.choose import Reason
from router.evidence.errors import EvidenceError
from router.verdicts.guardrails import Terms, Watches
from router.verdicts.rewards import Segment
from router.verdicts.values import FIELDS, Values, values_from
from serving.control.rolling.records import Record

BY_LOT: Final = frozenset({Reason.ARM, Reason.CANARY, Reason.STABLE, Reason.FALLBACK})
"""Whoever was named, or chosen by a rule, was not dealt; a fallback's was, and whoever answered took its place."""

AGAIN: Final = "again"
"""Values of units that had one before."""
BEYOND: Final = "beyond"
"""Values of units beyond those that are remembered."""

Metrics = Mapping[str, Mapping[int, Mapping[int, Values]]]
"""By metric, segment and version."""


def scope_of(record: Record) -> str:
    """The rollout's attempt, as its sums are called."""
    return f"{record.id}:{record.rollout.first_leg}"


def segment_of(record: Record, epoch: int) -> int | None:
    """The segment of a request of that epoch; None where the rollout had not begun, or was over."""
    place = bisect_right(record.epochs, epoch)
    if not place or (record.rollout.over and place == len(record.epochs)):
        return None
    return record.epochs[place - 1]


def metrics_in(sums: Mapping[str, int]) -> Metrics:
    """What the counters of a rollout add up to; those that belong to no value are left out.

    Raises:
        EvidenceError: no values have these counters.
    """
    found: dict[str, dict[int, dict[int, dict[str, int]]]] = {}
    for name, count in sums.items():
        segment, _, rest = name.partition("|")
        version, _, rest = rest.partition("|")
        metric, _, counter = rest.rpartition("|")
        if counter in FIELDS and segment.isdigit() and version.isdigit():
            found.setdefault(metric, {}).setdefault(int(segment), {}).setdefault(int(version), {})[counter] = count
    return {
        metric: {
            begun: {version: values_from(counters) for version, counters in versions.items()}
            for begun, versions in segments.items()
        }
        for metric, segments in found.items()
    }


def told_of(
    metrics: Metrics, versions: tuple[int, int], shares: Mapping[int, tuple[int, int]]
) -> Mapping[str, Mapping[int, Segment]]:
    """What a candidate's case is told: by metric and segment, of the segments in which it had any.

    Args:
        metrics: of the rollout.
        versions: the candidate and stable.
        shares: of both, by segment, as far as they are known.
    """
    candidate, stable = versions
    return {
        metric: {
            begun: Segment(shares.get(begun, (0, 0)), by.get(candidate, Values()), by.get(stable, Values()))
            for begun, by in segments.items()
            if candidate in by
        }
        for metric, segments in metrics.items()
    }


def wants_feedback(terms: Terms) -> bool:
    """Whether a rollout is judged by any."""
    return any(one.watches is Watches.FEEDBACK for one in terms.guardrails)


def together(arms: Iterable[Values]) -> Values:
    """Several as one."""
    whole = Values()
    for one in arms:
        whole = whole.plus(one)
    return whole


__all__ = [
    "AGAIN",
    "BEYOND",
    "BY_LOT",
    "EvidenceError",
    "Metrics",
    "metrics_in",
    "scope_of",
    "segment_of",
    "together",
    "told_of",
    "wants_feedback",
]
