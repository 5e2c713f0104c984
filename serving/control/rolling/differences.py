"""What is found in the answers to a rollout's copies, as it is told to operators. Pure, but for what it is read from.

Keepers leave their findings beside each other (`serving.diffs`); here they are added up, every rate gets an interval
that is right at every look, and what stands out is said in sentences: the output, the segment, and whether what was
compared stands for what was asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from router.evidence.judge import MOST_LEFT_OUT
from router.evidence.one_arm import rate_interval
from router.evidence.pairs import Pairs
from router.evidence.sequential import threshold
from router.verdicts.shown import CONFIDENCE
from serving.control.rolling.records import Record
from serving.diffs import OTHER, Diff, SegmentDiff, diff_from, merged

_log = logging.getLogger(__name__)
_TUNED_FOR: Final = 1_000.0
"""Pairs at which intervals are narrowest."""


class Leaves(Protocol):
    """Where keepers leave what they found."""

    async def diffs(self, model: str, candidate: int, salt: str) -> Sequence[bytes]:
        """What each keeper left of these pairs."""


class Rate(NamedTuple):
    """How often it happened, and what its rate may be: right at every look at level 5 %."""

    events: int
    total: int
    lower: float
    upper: float

    @property
    def rate(self) -> float | None:
        """Of those that there were; None where there was none."""
        return self.events / self.total if self.total else None

    def words(self) -> str:
        """'2.1 % (1.6 to 2.8 %) of 5,000'."""
        if not self.total:
            return "none of 0"
        return (
            f"{_percent(self.events / self.total)} ({_percent(self.lower)} to {_percent(self.upper)}) of {self.total:,}"
        )


def rate_of(events: int, total: int) -> Rate:
    """The rate with its interval."""
    return Rate(events, total, *rate_interval(events, total, alpha=CONFIDENCE, total_opt=_TUNED_FOR))


async def differences(store: Leaves, record: Record) -> tuple[Diff, ...]:
    """What was found of each of its candidates that got copies, in the order of its plan; nothing where nothing was."""
    found = []
    for candidate, salt in shadows_of(record):
        diffs = list(_read(await store.diffs(record.model, candidate, salt)))
        if diffs:
            found.append(merged(diffs))
    return tuple(found)


def shadows_of(record: Record) -> tuple[tuple[int, str], ...]:
    """Version and salt of each of its plan's shadows but stable's own."""
    shadows = (shadow for stage in record.rollout.plan.stages for shadow in stage.shadows)
    stable = record.rollout.base.stable
    return tuple(dict.fromkeys((one.version, one.salt) for one in shadows if one.version != stable))


def _read(raws: Sequence[bytes]) -> Iterator[Diff]:
    for raw in raws:
        try:
            yield diff_from(raw)
        except ValueError as error:
            _log.warning("what a keeper has left is not shown: %s", str(error)[:200])


def shown_share(diff: Diff) -> float | None:
    """Which part of the requests in the sample was compared, or failed on the way; None where nobody told of them."""
    totals = diff.totals
    if not totals.offered:
        return None
    lost = max(0, totals.sent - sum(totals.errors))
    left_out = sum(totals.shed.values()) + totals.unread + lost
    return max(0.0, 1 - left_out / totals.offered)


def is_representative(diff: Diff) -> bool | None:
    """Whether what was compared stands for what was asked; None where that is not known."""
    share = shown_share(diff)
    return None if share is None else 1 - share <= MOST_LEFT_OUT


def by_rate(by: Mapping[str, SegmentDiff]) -> list[tuple[str, Rate]]:
    """The values of a header, by how often answers surely differ there, the most often first."""
    rates = [(value, rate_of(of.disagreed, of.compared)) for value, of in by.items()]
    return sorted(rates, key=lambda one: (one[0] == OTHER, -one[1].lower, -(one[1].rate or 0.0), one[0]))


def words_of(diff: Diff) -> Iterator[str]:
    """What stands out, in sentences."""
    totals = diff.totals
    whose = f"the answers of versions {totals.candidate} and {totals.stable}"
    yield f"{whose} differ in {rate_of(totals.disagreed, totals.compared).words()} pairs"
    if totals.noise_compared:
        own = rate_of(totals.noise_disagreed, totals.noise_compared).words()
        more = Pairs(*totals.noise).log_e >= threshold(CONFIDENCE)
        what = "the candidate differs more often than that" if more else "nothing shows that the candidate differs more"
        yield f"version {totals.stable} differs from itself in {own} pairs, and {what}"
    yield from _where(diff)
    share = shown_share(diff)
    if share is not None and not is_representative(diff):
        yield f"only {share * 100:.0f} % of the copies were compared: not representative"


def _where(diff: Diff) -> Iterator[str]:
    """The output that differs most, and each segment that differs more often than all the rest."""
    name, output = max(diff.outputs.items(), key=lambda one: one[1].disagreed, default=("", None))
    if output is not None and output.disagreed:
        confused = next(iter(output.confused.items()), None)
        said = f": {confused[0][1]!r} in place of {confused[0][0]!r} {confused[1]:,} times" if confused else ""
        yield f"output {name!r} differs in {output.disagreed:,} of {diff.totals.disagreed:,} of them{said}"
    for header, by in diff.segments.items():
        for value, rate in by_rate(by):
            compared, disagreed = (sum(counts) for counts in zip(*by.values(), strict=True))
            rest = rate_of(disagreed - rate.events, compared - rate.total)
            if rest.total and rate.lower > rest.upper:
                yield f"where {header} is {value!r} it is {rate.words()}, elsewhere {rest.words()}"


def _percent(rate: float) -> str:
    return f"{rate * 100:.3g} %"
