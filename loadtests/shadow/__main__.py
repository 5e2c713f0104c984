"""`python -m loadtests.shadow`, which is `make proof-shadow`: copies of requests, and what becomes of their answers.

First in simulation: how often a candidate that has only stable's noise is taken back, and how soon one is that confuses
two classes. Then the same on real servers behind a real gateway. Exit codes: 0 every figure is good, 1 one falls short,
2 the run could not be made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import httpx

from loadtests.installation import Failed
from loadtests.shadow import real, simulated, unnoticed
from loadtests.shadow.proof import Asked, Proof

_FALLS_SHORT, _NOT_RUN = 1, 2
ALL: Final[Sequence[Proof]] = (*simulated.PROOFS, *real.PROOFS, *unnoticed.PROOFS)
"""In the order in which they are made."""


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    asked, proofs = _wanted(argv)
    _say(f"seed {asked.seed}")
    good = True
    try:
        for proof in proofs:
            _say(f"{proof.name}: {proof.words}")
            for figure in proof.plays(asked):
                _say(f"{'ok  ' if figure.good else 'FAIL'} {proof.name}: {figure.name}: {figure.value}")
                good = good and figure.good
    except (Failed, httpx.HTTPError) as error:
        _say(f"error: {error or repr(error)}")
        return _NOT_RUN
    return 0 if good else _FALLS_SHORT


def _wanted(argv: Sequence[str] | None) -> tuple[Asked, Sequence[Proof]]:
    parser = argparse.ArgumentParser(prog="python -m loadtests.shadow", description="Copies, and what becomes of them.")
    names = [one.name for one in ALL]
    parser.add_argument("--quick", action="store_true", help="fewer pairs, shorter looks")
    parser.add_argument("--only", action="append", choices=names, help="this proof; again for another one")
    parser.add_argument("--seed", type=int, default=1, help="what simulated rollouts are drawn by (default: 1)")
    parser.add_argument("--runs", type=int, default=200, help="simulated rollouts of each kind (default: 200)")
    given = parser.parse_args(argv)
    wanted = [one for one in ALL if one.name in (given.only or names)]
    return Asked(given.quick, given.seed, max(1, given.runs)), wanted


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - to the person who typed it


if __name__ == "__main__":
    sys.exit(main())
