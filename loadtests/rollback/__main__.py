"""`python -m loadtests.rollback`, which is `make proof-rollback`: versions turn bad under load, nobody lifts a finger.

One installation with three gateways. Its versions are switched from outside while requests come at a constant rate,
and their rollouts are left alone: what is bad has to go back, what is good to be promoted, and nothing may go back
that is not to blame. Exit codes: 0 every figure is good, 1 one falls short, 2 the run could not be made.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import uvloop

from loadtests.installation import Failed
from loadtests.rollback.room import QUICK, Sizes, Started, started
from loadtests.rollback.scenarios import ALL, Scenario, played

_FALLS_SHORT, _NOT_RUN = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    sizes, scenarios = _wanted(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-rollback-") as place:
            models = dict.fromkeys(one.model for one in scenarios)
            with started(Path(place), *models) as up:
                return uvloop.run(_prove(up, sizes, scenarios))
    except (Failed, httpx.HTTPError) as error:
        _say(f"error: {error or repr(error)}")
        return _NOT_RUN


async def _prove(up: Started, sizes: Sizes, scenarios: Sequence[Scenario]) -> int:
    good = True
    async with up.room(sizes) as room:
        for scenario in scenarios:
            _say(f"{scenario.name}: {scenario.words}")
            for figure in await played(room, scenario):
                _say(f"{'ok  ' if figure.good else 'FAIL'} {scenario.name}: {figure.name}: {figure.value}")
                good = good and figure.good
    return 0 if good else _FALLS_SHORT


def _wanted(argv: Sequence[str] | None) -> tuple[Sizes, Sequence[Scenario]]:
    parser = argparse.ArgumentParser(prog="python -m loadtests.rollback", description="Versions turn bad under load.")
    names = [one.name for one in ALL]
    parser.add_argument("--quick", action="store_true", help="shorter steps, fewer bursts")
    parser.add_argument("--only", action="append", choices=names, help="this scenario; again for another one")
    given = parser.parse_args(argv)
    return QUICK if given.quick else Sizes(), [one for one in ALL if one.name in (given.only or names)]


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - to the person who typed it


if __name__ == "__main__":
    sys.exit(main())
