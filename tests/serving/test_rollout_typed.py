"""Rollouts as they are typed: periods, conditions, stages, outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.freeze import DAYS
from router.stage import Does
from serving.amounts import percent_of
from serving.control.rolling.document import document_from
from serving.rollout_stages import stages_on
from serving.rollout_standing import Outcome, outcome_named, printable, reached, stage_named, standing_from
from serving.rollout_typed import Typed, condition_of, document_of, freeze_of, shares_of
from tests.serving.fake_rollouts import rollout


@given(
    st.lists(st.integers(1, 1_000_000), min_size=1, max_size=8, unique=True),
    st.integers(0, 86_400),
    st.integers(0, 10_000),
    st.data(),
)
def test_a_canary_that_is_typed_has_the_stages_that_were_typed(
    steps: list[int], hold_s: int, least: int, data: st.DataObject
) -> None:
    """Every step with its share, time, requests and approval; every policy of it can be built."""
    steps.sort()
    gates = data.draw(st.sets(st.sampled_from(steps)))
    typed = Typed(
        candidate=2,
        canary=",".join(f"{step}ppm" for step in steps),
        hold=f"{hold_s}s",
        min_requests=least,
        approve=[percent_of(gate) for gate in gates],
    )
    plan = document_from(document_of(typed)).plan
    assert [stage.shares for stage in plan.stages] == [{2: step} for step in steps]
    assert {(stage.min_s, stage.min_requests) for stage in plan.stages} == {(hold_s, least)}
    assert {stage.shares[2] for stage in plan.stages if stage.approval} == gates
    assert [row["shares"].get("2", 0) for row in stages_on(plan, 1)] == [*steps, 1_000_000]


def test_strategies_are_put_together_in_their_order() -> None:
    """A shadow, then a look at all of it."""
    typed = Typed(candidate=2, shadow="10%", shadow_for="1h", blue_green=True, keep_warm="1h")
    plan = document_from(document_of(typed)).plan
    assert [stage.does for stage in plan.stages] == [Does.RUN, Does.BAKE, Does.WATCH]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("fri 16:00/mon 08:00", {"name": "fri 16:00 to mon 08:00", "begins": "fri 16:00", "utc": "+00:00"}),
        ("Fri 16:00 - Mon 08:00 +01:00", {"begins": "fri 16:00", "ends": "mon 08:00", "utc": "+01:00"}),
        ("weekend=fri 16:00 to mon 08:00 UTC-05:30", {"name": "weekend", "ends": "mon 08:00", "utc": "-05:30"}),
        ("fri 16:00..mon 08:00", {"begins": "fri 16:00", "ends": "mon 08:00"}),
        (
            "x=2026-12-20T00:00:00+01:00/2027-01-02T00:00:00+01:00",
            {"name": "x", "begins": "2026-12-20T00:00:00+01:00", "ends": "2027-01-02T00:00:00+01:00"},
        ),
    ],
)
def test_a_freeze_is_typed_in_a_line(text: str, means: dict[str, str]) -> None:
    """By days of the week with the distance from UTC, or by two dates that have their own."""
    found = freeze_of(text)
    assert found | means == found
    assert ("utc" in found) is (found["begins"][:3] in DAYS)
    document = document_of(Typed(candidate=2, canary="5", freeze=[text]))
    assert len(document_from(document).plan.freezes) == 1


@pytest.mark.parametrize("text", ["", "fri 16:00", "/", "fri 16:00/"])
def test_half_a_freeze_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(ValueError, match="BEGINS/ENDS"):
        freeze_of(text)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("X-Tier=staff", {"name": "x-tier", "how": "equals", "values": ["staff"]}),
        ("x-tier: staff , beta", {"name": "x-tier", "how": "in", "values": ["staff", "beta"]}),
        ("x-id^=test,", {"name": "x-id", "how": "prefix", "values": ["test,"]}),
        ("x-id ~= a|b,c", {"name": "x-id", "how": "regex", "values": ["a|b,c"]}),
        ("x=a=b", {"name": "x", "how": "equals", "values": ["a=b"]}),
    ],
)
def test_a_condition_is_typed_like_a_header(text: str, means: dict[str, Any]) -> None:
    """With '=', or as it stands in a request."""
    assert condition_of(text) == means


@pytest.mark.parametrize(("texts", "alone"), [(["5%"], None), (["2=5%", "2=6%"], None), (["2=5%,5%"], 2)])
def test_shares_of_nobody_or_twice_of_one_are_refused(texts: list[str], alone: int | None) -> None:
    """A guess would move somebody's traffic."""
    with pytest.raises(ValueError, match=r"which version|named twice"):
        shares_of(texts, alone)


@pytest.mark.parametrize(
    ("text", "stage"), [("5 %", 1), ("5%", 1), ("WATCH", 4), ("1", 0), ("5", 4), ("end", 5), (" 50 % ", 3)]
)
def test_a_stage_is_known_by_its_name_or_its_number(text: str, stage: int) -> None:
    """A name before a number."""
    assert stage_named(standing_from(rollout()), text) == stage


@given(st.text(max_size=8))
def test_any_text_is_a_stage_or_refused(text: str) -> None:
    """With a list of those that there are."""
    try:
        assert 0 <= stage_named(standing_from(rollout()), text) <= 5
    except ValueError as error:
        assert "'25 %'" in str(error)  # noqa: PT017 - either way is right


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_can_be_typed(outcome: Outcome) -> None:
    """In the forms in which the phases are written elsewhere."""
    assert {outcome_named(form) for form in (outcome.value, outcome.name, outcome.value.replace("-", " "))} == {outcome}


def test_an_outcome_is_there_or_not_any_more_or_not_yet() -> None:
    """Nothing but a phase that is over says no."""
    here = standing_from(rollout())
    over = standing_from(rollout(phase="rolled back"))
    assert [reached(here, one) for one in (Outcome.RUNNING, Outcome.PROMOTED, Outcome.OVER)] == [True, None, None]
    assert [reached(over, one) for one in (Outcome.OVER, Outcome.PROMOTED, Outcome.RUNNING)] == [True, False, False]


@given(st.text())
def test_what_is_printed_is_one_line_that_no_terminal_obeys(text: str) -> None:
    """Whatever somebody wrote into a reason."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 400
