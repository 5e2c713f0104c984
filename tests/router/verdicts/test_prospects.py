"""What each step of a plan can show, in requests and in time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from router.errors import PlanError
from router.stage import Needs
from router.strategies import CanaryStep, ab_test, canary
from router.verdicts.guardrails import Guardrail, Terms, Watches
from router.verdicts.prospects import Kind, Step, passed_s, prospects

STEPS = canary(2, [CanaryStep(share, 600) for share in (100_000, 1_000_000)], needs=Needs.VERDICT)
ERRORS = Guardrail("errors", Watches.ERRORS, margin=2.0, ceiling=0.01)
PLAIN = replace(STEPS, terms=Terms((ERRORS,), harm=0.01 / 0.75))
"""One guardrail, and the level that leaves its first copy 1 %, as the planning table of STATS.md has it."""
SLACK = 1.35


def at(errors: float, rps: float = 100.0) -> Step:
    """The step at a tenth."""
    return prospects(PLAIN, rps=rps, errors=errors, worse=(5.0,))[0]


@pytest.mark.parametrize(("errors", "median", "most"), [(0.001, 1_560, 3_600), (0.005, 314, 675), (0.02, 87, 170)])
def test_harm_is_found_as_the_planning_table_says(errors: float, median: float, most: float) -> None:
    """Five times the errors at a tenth of the traffic, in requests and, at ten of them a second, in time."""
    found = next(one for one in at(errors).prospects if one.kind is Kind.FIND)
    assert 1 / SLACK < found.needed.median / median < SLACK
    assert 1 / SLACK < found.needed.most / most < SLACK
    assert found.median_s == found.needed.median / 10


def test_a_step_waits_for_its_slowest_guardrail_by_its_fastest_way() -> None:
    """At a rate above the ceiling there is one way less."""
    low, high = at(0.001).certified, at(0.02).certified
    assert low is not None
    assert high is not None
    assert low.what == "under 1 %"
    assert high.what == "less than 2 times stable's"
    assert any(math.isinf(one.needed.median) for one in at(0.02).prospects)


def test_less_traffic_takes_longer_and_the_same_requests() -> None:
    """A twentieth of the rate, twenty times as long."""
    fast, slow = at(0.005), at(0.005, rps=5.0)
    assert [one.needed for one in fast.prospects] == [one.needed for one in slow.prospects]
    assert slow.prospects[0].most_s == pytest.approx(20 * fast.prospects[0].most_s)


def test_what_earlier_steps_have_shown_counts() -> None:
    """The second step needs what is left, and its own time at least."""
    step = replace(at(0.005), least_s=1.0)
    way = step.certified
    assert way is not None
    first, second = passed_s([replace(step, verdict=False, least_s=100.0), step])
    assert first == (100.0, 100.0)
    assert second.most_s == pytest.approx((way.needed.most - 1_000) / 10)
    assert passed_s([step, step])[1] == (1.0, 1.0)


def test_alone_there_is_nothing_to_compare_with() -> None:
    """The last step of a canary has its time and nothing else."""
    alone = prospects(PLAIN, rps=100.0, errors=0.005, worse=(5.0,))[1]
    assert alone.prospects == ()
    assert alone.certified is None
    assert passed_s([alone]) == ((600.0, 600.0),)


def test_what_is_tolerated_is_never_found() -> None:
    """A candidate twice as bad where three times is tolerated."""
    lenient = replace(STEPS, terms=Terms((replace(ERRORS, tolerated=3.0, margin=4.0),)))
    found = prospects(lenient, rps=100.0, errors=0.005, worse=(2.0,))[0].prospects[0]
    assert math.isinf(found.median_s)


@pytest.mark.parametrize(
    "wrong", [{"rps": 0.0}, {"errors": 0.0}, {"errors": 1.0}, {"worse": (1.0,)}, {"worse": (math.nan,)}], ids=range(5)
)
def test_what_cannot_be_planned(wrong: dict[str, object]) -> None:
    """Is refused in a sentence, as is a plan with two candidates or none."""
    asked = {"rps": 100.0, "errors": 0.005, "worse": (5.0,), **wrong}
    with pytest.raises(PlanError):
        prospects(PLAIN, **asked)  # type: ignore[arg-type]  # that is what is tried
    with pytest.raises(PlanError):
        prospects(ab_test({2: 250_000, 3: 250_000}, duration_s=60), rps=100.0, errors=0.005)
