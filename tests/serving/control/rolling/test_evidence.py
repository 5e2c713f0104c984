"""Requests of a leg are counted from running totals: nothing before it, nothing twice, nothing lost with a gateway."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy import Policy
from router.rollout import Says
from router.rollout import start as started
from serving.control.rolling.document import document_from
from serving.control.rolling.evidence import Counts, counted, decode_counts, evidence_of, said_by
from serving.control.rolling.records import Record
from serving.leases import GatewayLease

PLAN = document_from({"candidate": 2, "canary": {"steps": ["1%"], "needs": "minima"}}).plan
RECORD = Record(started("ro_000000000000", PLAN, Policy(1), 1.0).with_stage(0, 1.0), "digits", "ada", 1.0, epochs=(5,))


def lease(name: str = "g", boot: str = "b", *, epoch: int = 5, **totals: int) -> GatewayLease:
    """A gateway with these totals: `v2=10`; `s3=1` for copies."""
    requests = {f"digits/{key[1:]}": count for key, count in totals.items() if key.startswith("v")}
    copied = {f"digits/{key[1:]}": count for key, count in totals.items() if key.startswith("s")}
    requests["other/2"] = 1_000_000
    return GatewayLease(name, boot, 7, "h", 8000, epoch, "d", requests=requests, copied=copied)


def requests(*seen: list[GatewayLease]) -> dict[int, int]:
    """What is counted after these looks."""
    counts: Counts | None = None
    for leases in seen:
        counts = counted(RECORD, counts, said_by(leases))
    assert counts is not None
    return {version: count for version, count in counts.requests().items() if count}


def test_what_came_before_the_leg_is_not_counted() -> None:
    """Counting begins with the first lease that shows the epoch of the leg."""
    assert requests([lease(epoch=4, v1=100, v2=10)], [lease(v1=150, v2=20)], [lease(v1=160, v2=25)]) == {1: 10, 2: 5}


def test_copies_count_for_the_version_that_got_them() -> None:
    """A shadow has no requests of its own."""
    assert requests([lease(s3=5)], [lease(s3=9, v1=4)]) == {1: 4, 3: 4}


def test_a_gateway_that_starts_again_loses_nothing_that_was_counted() -> None:
    """Its totals begin at nothing under another boot; what the first had counted stays."""
    assert requests([lease(v2=0)], [lease(v2=50)], [lease(boot="c", v2=3)], [lease(boot="c", v2=10)]) == {2: 57}


def test_a_lease_that_was_missed_loses_nothing() -> None:
    """Totals run on whether or not anybody looks."""
    assert requests([lease(v2=0)], [lease(v2=1_000)]) == {2: 1_000}


def test_another_leg_begins_at_nothing() -> None:
    """Requests of the leg before say nothing of this one."""
    before = counted(RECORD, counted(RECORD, None, said_by([lease(v2=0)])), said_by([lease(v2=50)]))
    after = RECORD.after(RECORD.rollout.with_shares({2: 5_000}, 2.0))
    assert dict(counted(after, before, said_by([lease(v2=60)])).requests()) == {2: 0}


def test_without_a_gateway_there_is_no_evidence() -> None:
    """Silence is not a nought."""
    assert evidence_of(RECORD, counted(RECORD, None, said_by([lease(epoch=4)])), 1.0) is None
    found = evidence_of(RECORD, counted(RECORD, None, said_by([lease()])), 7.0)
    assert found is not None
    assert (found.leg, found.at_s, found.says) == (RECORD.rollout.leg, 7.0, Says.NOT_YET)


def test_counts_of_another_leg_are_no_evidence() -> None:
    """However they got here."""
    counts = counted(RECORD, None, said_by([lease()]))
    assert evidence_of(RECORD, replace(counts, leg=99), 1.0) is None


_GROWTH = st.lists(
    st.tuples(st.sampled_from("gh"), st.integers(0, 50), st.booleans(), st.booleans()), min_size=1, max_size=30
)


@given(_GROWTH)
def test_whatever_gateways_do_nothing_is_counted_twice(steps: list[tuple[str, int, bool, bool]]) -> None:
    """The sum is never more than what was served since the leg began, and never falls, kept and read or not."""
    totals = {"g": 0, "h": 0}
    boots = {"g": 0, "h": 0}
    served = 0
    counts = counted(RECORD, None, [])
    last = 0
    for name, more, restarts, silent in steps:
        if restarts:
            totals[name], boots[name] = 0, boots[name] + 1
        totals[name] += more
        served += more
        alive = [lease(one, str(boots[one]), v2=totals[one]) for one in "gh" if not (silent and one == name)]
        counts = decode_counts(counted(RECORD, counts, said_by(alive)).encode())
        now = counts.requests().get(2, 0)
        assert last <= now <= served
        last = now


@pytest.mark.parametrize("said", ["", "{}", "[]", '{"leg": 1, "first": {"g": {}}, "last": {}, "gone": {}}'])
def test_what_is_no_counts_is_refused(said: str) -> None:
    """It begins anew rather than go on wrong."""
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error is one as well
        decode_counts(said)


def test_a_lease_is_gone_through_once_however_many_rollouts_there_are() -> None:
    """A thousand models on a gateway cost each rollout nothing but its own line."""

    class Totals(dict[str, int]):
        looks = 0

        def items(self) -> Any:  # noqa: ANN401
            """As every dictionary."""
            Totals.looks += 1
            return super().items()

    spoken = said_by([replace(lease(), requests=Totals({f"m{number}/2": number for number in range(1_000)}))])
    for number in range(100):
        counts = counted(replace(RECORD, model=f"m{number}"), None, spoken)
        assert dict(counts.last["g b"]) == {2: number}
    assert Totals.looks <= 1
