"""What keepers leave beside each other is found by model, candidate and salt, in any store."""

from __future__ import annotations

from dataclasses import replace

from serving.diffs import Diff, diff_from
from serving.pair_totals import PairTotals
from tests.contracts.conftest import Bench

ONE = Diff(PairTotals("digits", "ro_1 shadow", 1, 2, 7, compared=5), 1.0, 2.0)


async def test_each_keepers_findings_are_found_by_whose_they_are(bench: Bench) -> None:
    """The newest of each gateway, and nothing of another salt, candidate or model."""
    newer = replace(ONE, at_s=3.0)
    for gateway, diff in (("gw-1", ONE), ("gw-2", ONE), ("gw-1", newer)):
        await bench.gateway.keeper_leaves(gateway, diff)
    found = await bench.store.diffs("digits", 2, "ro_1 shadow")
    assert sorted(diff_from(raw).at_s for raw in found) == [2.0, 3.0]
    for model, candidate, salt in (("other", 2, "ro_1 shadow"), ("digits", 3, "ro_1 shadow"), ("digits", 2, "ro_1")):
        assert not await bench.store.diffs(model, candidate, salt)
