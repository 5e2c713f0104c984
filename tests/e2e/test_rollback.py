"""Rollouts that are left alone with versions that turn bad, on the real Ray, Triton and Valkey, with three gateways.

The scenarios are those of `make proof-rollback`, in small. How long anything took is told there and judged nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest
import uvloop

from loadtests.rollback.figures import Figure
from loadtests.rollback.room import SINGLE, Sizes, Started, started
from loadtests.rollback.scenarios import ALL, played
from tests.e2e.system import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

SMALL = Sizes(hold="5s", ends_within_s=150.0, incident_s=3.0)
SCENARIOS = {one.name: one for one in ALL}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """An installation whose versions are switched; nothing of it may be left over."""
    left = Installation(tmp_path_factory.mktemp("rollback"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("SLUICE_", "RAY_"))]:
            patch.delenv(name)
        try:
            with started(left.folder, SINGLE) as running:
                yield running
        finally:
            left.gone()


@pytest.mark.parametrize("name", ["fails", "hangs", "crashes"])
def test_a_candidate_that_turns_bad_goes_back_by_itself(up: Started, name: str) -> None:
    """Nobody lifts a finger, no client sees an error of its, and every gateway says that it runs the rollback."""
    _all_good(up, name)


def test_a_good_candidate_is_promoted(up: Started) -> None:
    """By evidence, step by step, with all of it at its defaults."""
    _all_good(up, "good")


def test_an_incident_of_both_versions_pauses_the_rollout(up: Started) -> None:
    """Nobody is blamed for what stable does as well; it stands still until somebody has looked."""
    _all_good(up, "incident")


def _all_good(up: Started, name: str) -> None:
    figures = uvloop.run(_figures(up, name))
    assert [f"{one.name}: {one.value}" for one in figures if not one.good] == [], figures


async def _figures(up: Started, name: str) -> Sequence[Figure]:
    async with up.room(SMALL) as room:
        return await played(room, SCENARIOS[name])
