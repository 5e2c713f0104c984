"""Users who come again and again and are always dealt alike, block by block, for the tests of verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from router.verdicts.case import Case
from router.verdicts.tallies import Moment, Tally
from router.verdicts.units import ALL, Took, UnitBlock
from tests.router.verdicts.streams import bucket_of

_Whole: TypeAlias = NDArray[np.int64]
_Chosen: TypeAlias = NDArray[np.bool_]
MILLION = 1_000_000
RAMP = (10_000, 50_000, 250_000, 500_000)


@dataclass(frozen=True)
class Crowd:
    """Users, some of whom ask for what always fails.

    Attributes:
        users: how many.
        rps: requests per second of all together.
        poison: the part of users whose requests fail with a chance of 30 %.
        base: the chance of any other request to fail.
        factor: the candidate's chance over stable's, of any user.
        misdealt: how many times its share the candidate gets in truth.
        differ: how unlike users' durations are, as the spread of their logarithms; None where nothing took any time.
        slow: how many times longer the candidate takes.
    """

    users: int = 2_000
    rps: float = 100.0
    poison: float = 0.03
    base: float = 0.002
    factor: float = 1.0
    misdealt: float = 1.0
    differ: float | None = None
    slow: float = 1.0

    def moments(
        self, seed: int, seconds: int, shares: Sequence[int] = (100_000,), block_s: int = 10
    ) -> Iterator[tuple[int, Moment]]:
        """Each block and the candidate's share in it, in parts per million; the shares take turns of equal length."""
        rng = np.random.default_rng(seed)
        buckets, hashes = rng.integers(0, MILLION, self.users), rng.integers(0, ALL, self.users)
        rates = rng.lognormal(-0.5, 1.0, self.users)
        rates *= self.rps * block_s / rates.sum()
        clock = np.random.default_rng((seed, 1))  # another, so that durations change nothing else
        manners = clock.normal(0.0, self.differ or 0.0, self.users)
        failing = np.where(rng.random(self.users) < self.poison, 0.3, self.base)
        for begins_s in range(0, seconds, block_s):
            share = shares[begins_s * len(shares) // seconds]
            ours = buckets < share * self.misdealt
            total = rng.poisson(rates)
            failed = rng.binomial(total, np.minimum(1.0, np.where(ours, failing * self.factor, failing)))
            which = np.repeat(np.arange(self.users), total) if self.differ is not None else np.zeros(0, dtype=np.int64)
            buckets_took = _buckets(clock, manners[which], np.where(ours[which], self.slow, 1.0))
            arms = [
                (
                    Tally(_endings(total, failed, arm), Counter(buckets_took[arm[which]].tolist())),
                    _units(hashes, total, failed, arm),
                )
                for arm in (ours, ~ours)
            ]
            candidate, stable = ({name: tally} for name, (tally, _) in zip("cs", arms, strict=True))
            users, firsts = np.unique(which, return_index=True)
            took = zip(hashes[users].tolist(), map(Took, buckets_took[firsts].tolist()), strict=True)
            people = UnitBlock(ALL, arms[0][1], arms[1][1], dict(took))
            yield share, Moment(float(begins_s + block_s), candidate, stable, float(rng.random()), people=people)

    def case_after(self, seed: int, seconds: int, shares: Sequence[int] = (100_000,), case: Case | None = None) -> Case:
        """The case that has heard it all."""
        case = Case() if case is None else case
        for share, moment in self.moments(seed, seconds, shares):
            case = case.ramped(share, MILLION - share).heard(moment)
        return case


def _endings(total: _Whole, failed: _Whole, arm: _Chosen) -> dict[str, int]:
    return {"ok": int((total - failed)[arm].sum()), "server_error": int(failed[arm].sum())}


def _buckets(rng: Generator, manners: NDArray[np.float64], slow: NDArray[np.float64]) -> _Whole:
    """How long requests of these users took."""
    micros = 20_000 * slow * np.exp(manners + rng.normal(0.0, 0.3, len(manners)))
    return np.array([bucket_of(int(one)) for one in micros], dtype=np.int64)


def _units(hashes: _Whole, total: _Whole, failed: _Whole, arm: _Chosen) -> dict[int, frozenset[str]]:
    names = {(True, True): _BOTH, (True, False): _BAD, (False, True): _GOOD}
    seen = np.flatnonzero(arm & (total > 0))
    return {int(hashes[user]): names[bool(failed[user]), bool(failed[user] < total[user])] for user in seen}


_GOOD, _BAD, _BOTH = frozenset({"ok"}), frozenset({"server_error"}), frozenset({"ok", "server_error"})
