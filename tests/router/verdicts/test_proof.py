"""The proof of verdicts: what it asks is what is promised, it is the same for the same seed, and it can fail."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.router.evidence.pods import Pods
from tests.router.evidence.rows import lowest
from tests.router.evidence.worlds import HARMS, NULLS
from tests.router.verdicts import proof
from tests.router.verdicts.protocol import braking
from tests.router.verdicts.protocol.claims import CLAIMS, Claim
from tests.router.verdicts.protocol.tables import tables

_SOON = Claim("fast, half of all", "errors", "half of all", 10)


def test_every_world_of_the_protocol_has_its_row() -> None:
    """Nulls and harms of errors, four nulls of latency, means, sticky users, and bursts."""
    assert {one.name for one in CLAIMS if one.kind == "errors"} == NULLS.keys() | HARMS.keys()
    nulls = [one.kind for one in CLAIMS if one.figure is None]
    assert {kind: nulls.count(kind) for kind in nulls} == {"errors": 5, "pace": 4, "rewards": 3, "users": 1, "pods": 1}
    assert [one.figure for one in CLAIMS if one.kind == "pods"] == [None, 90, 660]


def test_the_same_seed_gives_the_same_rollouts_in_any_number_of_processes() -> None:
    """A task draws from a seed of its own."""
    found = []
    for processes, seed in ((1, 7), (2, 7), (1, 8)):
        with ThreadPoolExecutor(processes) as pool:
            [(_, seconds)] = proof.judged(pool, proof.Scale(20, seed), [Claim("", "pods", "5x")])
            found.append(seconds.tolist())
    assert found[0] == found[1] != found[2]


def test_harm_that_is_found_soon_is_simulated_more_often() -> None:
    """And a null exactly as often as is asked for."""
    late = Claim("", "errors", "5x from minute 10", 140, 600)
    assert [one.rollouts(200) for one in (_SOON, late, Claim("", "errors", "N1 stationary"))] == [800, 338, 200]


def test_a_harm_that_is_found_too_late_fails_its_row() -> None:
    """12.5 seconds are the bar of the harm that half of all requests show."""
    assert _SOON.row(np.array([10.0, 10.0, 20.0])).holds
    assert not _SOON.row(np.array([10.0, 20.0, 20.0])).holds


def test_a_null_fails_beyond_chance_alone() -> None:
    """At 1 % of 2,000 rollouts, 32 false rollbacks are too many to be chance, 31 are not."""
    null = Claim("", "errors", "N1 stationary")
    rows = [null.row(np.array([60.0] * false + [math.inf] * (2_000 - false))) for false in (31, 32)]
    assert [row.holds for row in rows] == [lowest(31, 2_000) <= 0.01, lowest(32, 2_000) <= 0.01] == [True, False]


def test_tables_show_every_rule_in_every_world() -> None:
    """Two tables of eleven rules each; a rule that never finds it says so."""
    found = {name: np.array([math.inf, 40.0, 60.0]) for name in NULLS.keys() | HARMS.keys()}
    lines = list(tables(found, 5, 1))
    assert [sum(line.startswith(name) for line in lines) for name in ("Sluice", "Argo", "Kayenta", "GrowthBook")] == [
        2, 2, 4, 2,
    ]  # fmt: skip
    assert "66.7 (0.5)" in next(line for line in lines if line.startswith("Sluice"))
    assert any("never" in line for line in lines if line.startswith("Argo"))


def test_a_gateway_cuts_off_where_several_in_a_row_fail() -> None:
    """Bursts of 30 % leave a replica alone now and then and brake nothing; half a per cent of errors does neither."""
    rng = np.random.default_rng(3)
    assert braking.shares(rng, Pods(hiccups_per_hour=2), 40).alone > 0
    assert braking.shares(rng, Pods(), 10) == (0.0, 0.0)
    assert braking.cut(rng, Pods(factor=200)).braked > 0


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_verdicts_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """The protocol with fewer rollouts: no row fails."""
    status = proof.main(["--quick"])
    assert status == 0, capsys.readouterr().out
