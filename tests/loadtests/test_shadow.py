"""The proof of copies plants what it says that it plants, and reads a diff as people would."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from numpy.random import default_rng

from loadtests.shadow.__main__ import ALL
from loadtests.shadow.proof import Asked
from loadtests.shadow.real import CONFUSED_IN, REGIONS, SEGMENT, _pointed_at, _request
from loadtests.shadow.simulated import PAIRS_A_SECOND, PROOFS, Answers, pairs_until_back


def test_every_proof_has_a_name_of_its_own() -> None:
    """`--only` means one."""
    assert max(Counter(one.name for one in ALL).values()) == 1


def test_noise_is_shared_out_evenly_and_a_confusion_is_not() -> None:
    """Of triples in which one answer differs; and the same seed gives the same answer."""
    noisy, confused = Answers(0.2), Answers(0.01, 0.2)
    rng = default_rng(5)
    blocks = [noisy.second(rng) for _ in range(400)]
    worse, better = sum(one.noise.worse for one in blocks), sum(one.noise.better for one in blocks)
    assert abs(worse - better) < 5 * (worse + better) ** 0.5
    assert sum(one.compared + one.errors.worse + one.errors.better for one in blocks) <= 400 * PAIRS_A_SECOND
    assert pairs_until_back(confused, default_rng(5), 2_000) == pairs_until_back(confused, default_rng(5), 2_000)
    assert pairs_until_back(confused, default_rng(5), 2_000) is not None


def test_a_run_of_one_rollout_has_its_figures() -> None:
    """Each simulated proof, as short as can be."""
    names = {one.name: one for one in PROOFS}
    for name in ("limit", "confused-once"):
        figures = names[name].plays(Asked(quick=True, runs=1))
        assert all(one.good for one in figures), figures


def test_one_request_in_twenty_is_of_the_region_and_has_each_class() -> None:
    """The header says what the model is told."""
    header = f"{SEGMENT}: {CONFUSED_IN}\r\n".encode()
    mine = [nth for nth in range(6 * REGIONS) if header in _request(nth)]
    assert len(mine) == 6
    assert {nth // REGIONS % 3 for nth in mine} == {0, 1, 2}
    assert all(b'"name": "region", "datatype": "INT64", "shape": [1, 1], "data": [7]' in _request(nth) for nth in mine)


@pytest.mark.parametrize(
    ("region", "candidate", "good"), [("r7", "dog", True), ("r8", "dog", False), ("r7", "fox", False)]
)
def test_a_diff_that_points_elsewhere_falls_short(region: str, candidate: str, good: bool) -> None:  # noqa: FBT001
    """Another region, or another class."""
    values = [{"value": region, "disagreement": {"events": 9, "total": 30}}]
    values += [{"value": "r1", "disagreement": {"events": 3, "total": 500}}]
    confused = [
        {"stable": "cat", "candidate": candidate, "count": 9},
        {"stable": "dog", "candidate": "fox", "count": 1},
    ]
    found: dict[str, Any] = {
        "words": ["region r7 stands out"], "outputs": [{"output": "label", "confused": confused}],
        "segments": [{"header": SEGMENT, "values": values}],
    }  # fmt: skip
    assert all(one.good for one in _pointed_at({"candidates": [found]})) is good
    assert not any(one.good for one in _pointed_at({"candidates": []}))
