"""What is measured of a soak, each figure with its bound and whether it is good."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.load.objectives import in_ms
from loadtests.load.summary import Outcome
from loadtests.rollback.figures import Figure
from loadtests.soak.growth import Growth, growth
from loadtests.soak.held import STORE, Watch
from loadtests.soak.rolling import CANDIDATE, STABLE, BackAndForth

MIB: Final = 1024 * 1024
WARM_UP: Final = 0.25
"""Of the time: caches fill, connections are made, code is imported where it is first needed."""
MOST_MEMORY: Final = 8 * MIB
MOST_SHARE: Final = 0.03
MOST_STORED: Final = 64 * MIB
"""Of the store: streams of totals and samples fill up to their bounds, and what each rollout rested on is kept."""
MOST_FILES: Final = 8.0
MOST_CONNECTED: Final = 0.15
"""Of its open files: connections to servers are made when many requests come at once, and kept for the next time."""
LEAST_ROLLED: Final = 0.5
"""Of the rollouts that there is time for where no change takes any: each is waited for until all gateways run it."""


@dataclass(frozen=True, slots=True)
class Soak:
    """A run that is over.

    Attributes:
        capacity: of the stable version, requests a second that keep `slo`.
        at_least: whether it may be higher.
        slo: the objectives, as they are typed.
        share: of the capacity that was sent, 0 to 1.
        outcome: of the load test.
        rolled: the rollouts.
        watch: the processes.
    """

    capacity: float
    at_least: bool
    slo: str
    share: float
    outcome: Outcome
    rolled: BackAndForth
    watch: Watch

    @property
    def warm_s(self) -> float:
        """When it was warm, seconds since 1970."""
        return self.outcome.began + WARM_UP * self.outcome.results.seconds

    @property
    def least_rollouts(self) -> int:
        """How many there have to be."""
        return max(1, int(LEAST_ROLLED * self.outcome.results.seconds / self.rolled.cycle_s))

    @property
    def ended_s(self) -> float:
        """When the load was over; what comes after it, while answers are judged, is no part of the soak."""
        return self.outcome.began + self.outcome.results.seconds

    @property
    def rollouts(self) -> int:
        """How many went there and back under load."""
        return sum(at_s <= self.ended_s for at_s in self.rolled.back_s)

    def grown(self, values: Sequence[float]) -> Growth:
        """Of one thing that a process held, from when it was warm to the end of the load."""
        return growth(self.watch.at_s, values, self.warm_s, self.ended_s)


def figures(soak: Soak) -> Sequence[Figure]:
    """All of them."""
    return (*_load(soak), _rolled(soak), *_answers(soak), *_processes(soak))


def _load(soak: Soak) -> Iterator[Figure]:
    results, least = soak.outcome.results, "at least " if soak.at_least else ""
    yield Figure(f"capacity: the highest rate that keeps {soak.slo}", f"{least}{soak.capacity:,.0f} requests a second")
    rate = f"{soak.outcome.spec.shape.peak:,.0f} requests a second for {results.seconds:,.0f} s"
    yield Figure(f"load: {soak.share:.0%} of it", f"{rate}, p99 {in_ms(results.latencies.quantile(0.99))}")


def _rolled(soak: Soak) -> Figure:
    rolled, least = soak.rolled, soak.least_rollouts
    failed = f"; then one failed: {rolled.failed}" if rolled.failed else ""
    return Figure(
        f"rollouts to the candidate and back (at least {least:,})",
        f"{soak.rollouts:,}, with {rolled.changes:,} shares set{failed}",
        soak.rollouts >= least and rolled.changes > 0 and not failed,
    )


def _answers(soak: Soak) -> Iterator[Figure]:
    outcome, found = soak.outcome, soak.outcome.verified
    failed = sum(outcome.results.errors.values())
    words = ", ".join(f"{count:,} {error.words}" for error, count in outcome.results.errors.items())
    yield Figure(f"requests that failed, of {outcome.results.due:,} (none)", words or "0", not failed)
    if found is not None:
        wrong, right = found.judged.wrong + found.unnamed, found.judged.right
        shown = f"{wrong:,}; {right:,} were where one of {found.judged.epochs} epochs puts them"
        yield Figure("answers that the wrong version gave, or nobody named (none)", shown, not wrong and right > 0)
        gave = [found.judged.by_version[version] for version in (STABLE, CANDIDATE)]
        yield Figure("of those, by stable and by the candidate (some each)", "{:,} and {:,}".format(*gave), all(gave))
        fallbacks = found.judged.fallbacks
        yield Figure("answers that stable gave for a failed candidate (none)", f"{fallbacks:,}", not fallbacks)
    yield Figure(
        "what the load test has against the run (nothing)", " ".join(outcome.problems) or "nothing",
        not outcome.problems and found is not None,
    )  # fmt: skip


def _processes(soak: Soak) -> Iterator[Figure]:
    watch = soak.watch
    ended = ", ".join(
        f"{name} after {at_s - soak.outcome.began:,.0f} s" for name, at_s in sorted(watch.ended.items())
    )  # fmt: skip
    yield Figure("processes that ended meanwhile (none)", ended or "none", not ended)
    for name in watch.memory:
        yield memory(name, soak.grown(watch.memory[name]))
        yield files(name, soak.grown(watch.files[name]))


def memory(name: str, found: Growth) -> Figure:
    """Of one process; bytes."""
    most = _at_most(MOST_STORED if name == STORE else MOST_MEMORY, MOST_SHARE, found)
    return Figure(
        f"{name}: memory gained in {found.seconds:,.0f} s, by a line and at the end (at most {most / MIB:.1f} MiB)",
        f"{found.gained / MIB:+.2f} and {found.late / MIB:+.2f} MiB, at {found.level / MIB:,.1f}", found.most <= most,
    )  # fmt: skip


def files(name: str, found: Growth) -> Figure:
    """Of one process; open files."""
    most = _at_most(MOST_FILES, MOST_CONNECTED, found)
    return Figure(
        f"{name}: open files gained in {found.seconds:,.0f} s, by a line and at the end (at most {most:,.0f})",
        f"{found.gained:+.1f} and {found.late:+.1f}, at {found.level:,.0f}", found.most <= most,
    )  # fmt: skip


def _at_most(least: float, share: float, found: Growth) -> float:
    """What may be gained either way: a share of what is held, or so much where that is less."""
    return max(least, share * found.level) if math.isfinite(found.level) else least
