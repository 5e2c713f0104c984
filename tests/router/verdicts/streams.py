"""Streams of requests to two versions, second by second, for the tests of verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from router.verdicts.case import Case
from router.verdicts.tallies import Moment, Tally

_MEDIAN_US = 20_000
_SPREAD = 0.5


def bucket_of(micros: int) -> int:
    """A log-linear bucket: sixteen to each power of two, as gateways count."""
    shift = micros.bit_length() - 5
    return micros if shift <= 0 else shift * 16 + (micros >> shift)


def always(value: float) -> Callable[[int], float]:
    """The same at every second."""
    return lambda _second: value


USUALLY = always(0.005)


@dataclass(frozen=True)
class Stream:
    """What a candidate and stable do.

    Attributes:
        rps: requests per second of both together.
        share: the candidate's part.
        base: stable's error rate, by second.
        candidate: the candidate's, by second.
        slow: how many times longer the candidate takes.
        replicas: of the candidate and of stable.
        hiccups_per_hour: of each replica: for twenty seconds 30 % of its requests fail.
    """

    rps: float = 100.0
    share: float = 0.1
    base: Callable[[int], float] = USUALLY
    candidate: Callable[[int], float] = USUALLY
    slow: float = 1.0
    replicas: tuple[int, int] = (1, 1)
    hiccups_per_hour: float = 0.0

    def moments(self, seed: int, seconds: int) -> Iterator[Moment]:
        """One closed block for each second, the first at second 1."""
        rng = np.random.default_rng(seed)
        ill: Counter[str] = Counter()
        for second in range(1, seconds + 1):
            for name in (*_names("c", self.replicas[0]), *_names("s", self.replicas[1])):
                if rng.random() < self.hiccups_per_hour / 3600:
                    ill[name] = second + 20
            sick = {name for name, until in ill.items() if until > second}
            yield Moment(
                float(second),
                _arm(rng, self._rates("c", second, sick), self.rps * self.share, self.slow),
                _arm(rng, self._rates("s", second, sick), self.rps * (1 - self.share), 1.0),
                float(rng.random()),
            )

    def _rates(self, arm: str, second: int, sick: set[str]) -> Mapping[str, float]:
        rate = (self.candidate if arm == "c" else self.base)(second)
        return {name: 0.3 if name in sick else rate for name in _names(arm, self.replicas[arm == "s"])}

    def until(self, case: Case, seed: int, seconds: int, *, minima_met: bool = False) -> tuple[int, Case]:
        """The case after the first second at which its verdict decides something, and that second."""
        for moment in self.moments(seed, seconds):
            case = case.heard(moment)
            if case.verdict(minima_met=minima_met).decision != "not_yet":
                return int(moment.ended_s), case
        return seconds, case


def ramped(share: float = 0.1) -> Case:
    """A case at the beginning of its first stage."""
    return Case().ramped(round(share * 100), round((1 - share) * 100))


def _names(arm: str, count: int) -> tuple[str, ...]:
    return tuple(f"{arm}{index}" for index in range(count))


def _arm(rng: Generator, rates: Mapping[str, float], rps: float, slow: float) -> Mapping[str, Tally]:
    return {name: _tally(rng, rps / len(rates), rate, slow) for name, rate in rates.items()}


def _tally(rng: Generator, rps: float, rate: float, slow: float) -> Tally:
    total = int(rng.poisson(rps))
    failed = int(rng.binomial(total, rate))
    micros = rng.lognormal(math.log(_MEDIAN_US * slow), _SPREAD, total).astype(int).tolist()
    return Tally({"ok": total - failed, "server_error": failed}, Counter(map(bucket_of, micros)))
