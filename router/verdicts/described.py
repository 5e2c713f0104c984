"""Traffic as somebody describes it, drawn block by block as gateways would have counted it.

Requests come independently of each other, at a constant rate, and each fails or is slow by itself: the kindest world
that there is. Bursts that hit one replica, an incident that hits everybody and a candidate that turns bad later can be
added, for these are what deceives a rule. The draws are the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from router.errors import PlanError
from router.evidence.special import log_normal_cdf
from router.verdicts.tallies import Moment, Tally

HICCUP_S: Final = 20.0
HICCUP_ERRORS: Final = 0.3
"""What part of a replica's requests fail while it has one."""

_SUB_BUCKETS = 16
_FARTHEST = 5.0
"""Spreads from the median; fewer than one request in a million lies beyond."""
_MOST_REPLICAS = 1_000


class Incident(NamedTuple):
    """A while in which both versions fail alike.

    Attributes:
        errors: the part of all requests that fails in it.
        begins_s: when, seconds after the rollout began.
        lasts_s: for how long, seconds.
    """

    errors: float
    begins_s: float
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Manner:
    """How a version answers.

    Attributes:
        errors: the part of its requests that fails, from 0 to 1.
        median_ms: half of its answers are there within this, milliseconds.
        spread: the standard deviation s of that time's logarithm; p99 is e^(2.33 s) times the median.
    """

    errors: float = 0.005
    median_ms: float = 20.0
    spread: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what no version does."""
        if not 0 <= self.errors <= 1:
            raise PlanError(f"a part of the requests fails, from 0 to 1, not {self.errors:g}")
        if not 0 < self.median_ms <= 1e7 or not 0 < self.spread <= 3:  # noqa: PLR2004 - some hours; a tail of a thousand
            raise PlanError("answers take more than 0 ms, and no more than hours, with a spread above 0 and up to 3")


@dataclass(frozen=True, slots=True)
class Described:
    """A model's traffic while a candidate is tried.

    Attributes:
        rps: requests per second, of all versions together.
        stable: how stable answers.
        candidate: how the candidate answers, from `onset_s` on; before, it answers as stable does.
        replicas: of the candidate and of stable.
        onset_s: when it turns, seconds after the rollout began.
        hiccups_per_hour: of each replica of either version: for twenty seconds 30 % of its requests fail.
        incident: a while in which both fail; None for none.
    """

    rps: float
    stable: Manner = Manner()
    candidate: Manner = Manner()
    replicas: tuple[int, int] = (1, 1)
    onset_s: float = 0.0
    hiccups_per_hour: float = 0.0
    incident: Incident | None = None

    def __post_init__(self) -> None:
        """Refuse what is no traffic."""
        if not 0 < self.rps < 1e7:  # noqa: PLR2004 - more than any gateway
            raise PlanError(f"traffic is described by requests per second, above 0, not {self.rps:g}")
        if not all(1 <= count <= _MOST_REPLICAS for count in self.replicas):
            raise PlanError(f"each version has 1 to {_MOST_REPLICAS:,} replicas")
        if not 0 <= self.onset_s < math.inf or not 0 <= self.hiccups_per_hour <= 3600 / HICCUP_S:
            raise PlanError(
                f"a candidate turns bad at 0 seconds or later; a replica has up to {3600 / HICCUP_S:g} bursts an hour"
            )
        if self.incident is not None and not (0 <= self.incident.errors <= 1 and self.incident.lasts_s > 0):
            raise PlanError("an incident fails a part of all requests, for more than 0 seconds")

    @property
    def good(self) -> Described:
        """The same with a candidate that is as good as stable."""
        return replace(self, candidate=self.stable, onset_s=0.0)

    @property
    def changes_s(self) -> tuple[float, ...]:
        """When something changes, in order; a block does not reach beyond."""
        edges = {self.onset_s}
        if self.incident is not None:
            edges |= {self.incident.begins_s, self.incident.begins_s + self.incident.lasts_s}
        return tuple(sorted(edges - {0.0}))

    def candidate_at(self, second: float) -> Manner:
        """How the candidate answers then."""
        return self.candidate if second >= self.onset_s else self.stable

    def shared_at(self, second: float) -> float:
        """The part of all requests that fails then, whoever answers."""
        one = self.incident
        return one.errors if one is not None and one.begins_s <= second < one.begins_s + one.lasts_s else 0.0


class Shares(NamedTuple):
    """What part of the traffic goes to whom, from 0 to 1 each."""

    candidate: float
    stable: float


class Drawn:
    """The blocks of one rollout, in order; remembers which replicas have a burst.

    Args:
        described: the traffic.
        rng: the draws.
    """

    def __init__(self, described: Described, rng: Generator) -> None:
        self.described = described
        self._rng = rng
        self._ill_until: dict[str, float] = {}

    def moment(self, begins_s: float, ends_s: float, shares: Shares) -> Moment:
        """One closed block; nothing but bursts changes within it (`Described.changes_s`)."""
        one, span = self.described, (begins_s, ends_s)
        candidate = self._arm("c", one.replicas[0], one.candidate_at(begins_s), shares.candidate, span)
        stable = self._arm("s", one.replicas[1], one.stable, shares.stable, span)
        return Moment(ends_s, candidate, stable, float(self._rng.random()))

    def _arm(
        self, letter: str, replicas: int, manner: Manner, share: float, span: tuple[float, float]
    ) -> Mapping[str, Tally]:
        if not share:
            return {}
        rng, (begins_s, ends_s) = self._rng, span
        totals = rng.poisson(self.described.rps * share * (ends_s - begins_s) / replicas, replicas)
        names = [f"{letter}{nth}" for nth in range(replicas)]
        ill = (
            np.array([self._ill(name, begins_s, ends_s) for name in names]) if self.described.hiccups_per_hour else 0.0
        )
        rate = max(manner.errors, self.described.shared_at(begins_s))
        failed = rng.binomial(totals, rate + ill * max(0.0, HICCUP_ERRORS - rate))
        buckets, chances = _latencies(manner.median_ms, manner.spread)
        took = rng.multinomial(totals, chances)
        return {
            name: _tally(int(total), int(bad), buckets, counts)
            for name, total, bad, counts in zip(names, totals, failed, took, strict=True)
        }

    def _ill(self, name: str, begins_s: float, ends_s: float) -> float:
        """What part of this time the replica has a burst."""
        if not self.described.hiccups_per_hour:
            return 0.0
        until = max(self._ill_until.get(name, begins_s), begins_s)
        sick = min(until, ends_s) - begins_s
        length = ends_s - begins_s
        if self._rng.random() < -math.expm1(-self.described.hiccups_per_hour * length / 3600):
            starts = max(until, float(self._rng.uniform(begins_s, ends_s)))
            sick += max(0.0, min(starts + HICCUP_S, ends_s) - starts)
            self._ill_until[name] = starts + HICCUP_S
        return sick / length


def _tally(total: int, failed: int, buckets: NDArray[np.int64], counts: NDArray[np.int64]) -> Tally:
    some = np.flatnonzero(counts)
    answered = dict(zip(buckets[some].tolist(), counts[some].tolist(), strict=True))
    return Tally({"ok": total - failed, "server_error": failed}, answered)


@lru_cache(maxsize=64)
def _latencies(median_ms: float, spread: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The gateways' buckets (16 to each power of two microseconds), and how likely each is."""
    center = math.log(median_ms * 1_000)
    first, last = (_bucket(math.exp(center + side * _FARTHEST * spread)) for side in (-1, 1))
    buckets = np.arange(first, last + 1)
    edges = [-math.inf, *(math.log(_lower_us(bucket)) for bucket in buckets[1:].tolist()), math.inf]
    below = np.array([math.exp(log_normal_cdf((edge - center) / spread)) for edge in edges])
    return buckets, np.diff(below)


def _bucket(micros: float) -> int:
    whole = max(1, int(micros))
    shift = whole.bit_length() - _SUB_BUCKETS.bit_length()
    return whole if shift <= 0 else shift * _SUB_BUCKETS + (whole >> shift)


def _lower_us(bucket: int) -> int:
    if bucket < 2 * _SUB_BUCKETS:
        return bucket
    shift = bucket // _SUB_BUCKETS - 1
    return (bucket - shift * _SUB_BUCKETS) << shift
