"""A stored rollout is read back whole, or refused; that every state comes back is shown by the machine's test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.advance import tick
from router.errors import RolloutError
from router.policy import Policy
from router.rollout import Rollout, Seen, start
from router.rollout_form import rollout_as_dict, rollout_from
from router.strategies import CanaryStep, canary

RUNNING = tick(start("r1", canary(2, [CanaryStep(5)]), Policy(1), 0.0), Seen(1.0, frozenset({2}))).rollout


def test_a_rollout_under_way_comes_back() -> None:
    """As it was."""
    assert rollout_from(rollout_as_dict(RUNNING)) == RUNNING


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": 2},
        {"plan": None},
        {"plan": {}},
        {"base": {}},
        {"phase": "resting"},
        {"phase": "paused"},
        {"resumes": "never"},
        {"stage": 7},
        {"stage": "x"},
        {"by_hand": {"2": 10**9}},
        {"by_hand": {"9": 5}},
        {"by_hand": 5},
        {"approvals": [["ada"]]},
        {"automation": "all"},
        {"id": ""},
    ],
)
def test_what_is_no_rollout_is_refused(wrong: dict[str, Any]) -> None:
    """Another form, another shape, or a position that cannot be."""
    with pytest.raises(RolloutError, match="no rollout of form 1"):
        rollout_from({**rollout_as_dict(RUNNING), **wrong})
    missing = {name: value for name, value in rollout_as_dict(RUNNING).items() if name not in wrong}
    with pytest.raises(RolloutError):
        rollout_from(missing)


def test_a_rollout_from_before_is_equal_only_to_itself() -> None:
    """Every field that tells two states apart is kept."""
    told = replace(RUNNING, halted_on=1, alerted_on=1)
    assert {*rollout_as_dict(told)} == {*Rollout.__slots__, "form"}
    assert rollout_from(rollout_as_dict(told)) == told
