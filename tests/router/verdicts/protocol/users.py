"""Users who stay with the version that they were dealt, some of whom send what no version can answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from router.verdicts.tallies import Moment, Tally
from router.verdicts.units import ALL, UnitBlock
from tests.router.evidence.worlds import HALF_HOUR_S
from tests.router.verdicts.protocol.scenes import BLOCK_S, Step, ended

_RPS_EACH: Final = 0.05
_ENDINGS: Final = (frozenset({"ok"}), frozenset({"ok", "server_error"}), frozenset({"server_error"}))


@dataclass(frozen=True)
class Users:
    """Some two thousand users, a tenth of them the candidate's, of a hundred requests a second together.

    Attributes:
        poison: the part of them of whose requests 30 % fail, whoever answers; 0.2 % of all others'.
        factor: how many times more often the candidate fails.
        counted: whether gateways tell of units; else requests are all that is heard of.
    """

    poison: float = 0.03
    factor: float = 1.0
    counted: bool = True
    size: int = 2_000
    share: float = 0.1


USERS: Mapping[str, Users] = MappingProxyType({"sticky": Users(), "sticky, by request": Users(counted=False)})


def sticky(rng: Generator, users: Users) -> Iterator[Step]:
    """Half an hour of them, of one replica each."""
    ours = rng.random(users.size) < users.share
    rates = rng.lognormal(-0.5, 1.0, users.size) * _RPS_EACH * BLOCK_S
    failing = np.where(rng.random(users.size) < users.poison, 0.3, 0.002) * np.where(ours, users.factor, 1.0)
    hashes = rng.integers(0, ALL, users.size)
    shares = (round(users.share * 100), 100 - round(users.share * 100))
    for second in range(0, HALF_HOUR_S, BLOCK_S):
        total = rng.poisson(rates)
        failed = rng.binomial(total, failing)
        arms = ({"c": _tally(failed, total, ours)}, {"s": _tally(failed, total, ~ours)})
        people = _people(hashes, failed, total, ours) if users.counted else None
        yield Step(shares, Moment(float(second + BLOCK_S), *arms, draw=float(rng.random()), people=people))


def _tally(failed: NDArray[np.int64], total: NDArray[np.int64], arm: NDArray[np.bool_]) -> Tally:
    return ended(int(failed[arm].sum()), int(total[arm].sum()))


def _people(
    hashes: NDArray[np.int64], failed: NDArray[np.int64], total: NDArray[np.int64], ours: NDArray[np.bool_]
) -> UnitBlock:
    ending = (failed > 0).astype(int) + (failed == total)
    candidate, stable = (
        {unit: _ENDINGS[how] for unit, how in zip(hashes[seen].tolist(), ending[seen].tolist(), strict=True)}
        for seen in ((total > 0) & ours, (total > 0) & ~ours)
    )
    return UnitBlock(ALL, candidate, stable)
