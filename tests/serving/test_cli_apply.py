"""`sluice apply`, and starting with `--wait`: the same file again, another one, and exit codes for CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.control.rolling.document import document_from
from tests.serving.fake_rollouts import FakeRollouts, rollout
from tests.serving.rollout_commands import FILE, api
from tests.serving.test_cli import Command, sluice

__all__ = ["api", "sluice"]


CANARY = ["rollout", "start", "digits", "--candidate", "2", "--canary", "1,5,25,50,100", "--hold", "10m"]


def running(document: str = FILE) -> dict[str, Any]:
    """The rollout of that file, under way; the control room has drawn a salt for it."""
    return rollout(plan=document_from(yaml.safe_load(document)).plan)


def test_the_same_file_again_changes_nothing(sluice: Command, api: FakeRollouts) -> None:
    """While its rollout is under way, and after it is over, whatever came of it."""
    for changes in ({}, {"phase": "promoted", "over": True}, {"phase": "rolled back", "over": True, "cause": "errors"}):
        there = {**running(), **changes}
        there["plan"]["salt"] = "drawn-by-the-room"
        api.rollouts = [there]
        ran = sluice("apply", "-f", "rollout.yaml")
        assert (ran.code, ran.out.startswith("unchanged: digits has this rollout already")) == (0, True), ran
        assert ("--again" in ran.out) is (changes.get("phase") == "rolled back")
        assert json.loads(sluice("apply", "-f", "rollout.yaml", "--json").out)["unchanged"] is True
    assert [line for line in api.lines() if line.startswith("POST")] == []


def test_a_file_is_applied_where_nothing_is_under_way(sluice: Command, api: FakeRollouts) -> None:
    """Before the first rollout, after another one has ended, and again where somebody insists."""
    for there in ([], [rollout(phase="promoted", over=True)], [{**running(), "phase": "rolled back", "over": True}]):
        api.rollouts = list(there)
        ran = sluice("apply", "-f", "rollout.yaml", "--again")
        assert (ran.code, "ro_aaaaaaaaaaaa" in ran.out) == (0, True), ran.err
        assert api.asked[-1].body["again"] is True


@pytest.mark.parametrize(
    "changed",
    [
        FILE.replace("25%", "30%"),
        FILE + "automation: approve\n",
        FILE + "gates: [{type: rollback, url: 'http://x/'}]\n",
    ],
)
def test_another_rollout_under_way_is_named(sluice: Command, api: FakeRollouts, changed: str) -> None:
    """Exit code 1 with its id and what to do; nothing is started. Any difference counts."""
    api.rollouts = [running()]
    Path("rollout.yaml").write_text(changed)
    ran = sluice("apply", "-f", "rollout.yaml")
    assert (ran.code, ran.out) == (1, "")
    assert "another rollout of digits is under way: ro_0123456789ab, canary" in ran.err
    assert "sluice rollout rollback ro_0123456789ab" in ran.err
    assert [line for line in api.lines() if line.startswith("POST")] == []


def test_start_and_apply_wait_where_they_are_told_to(sluice: Command, api: FakeRollouts) -> None:
    """The exit code is that of waiting; the JSON is the rollout as it ended."""
    assert sluice(*CANARY, "--wait", "--timeout", "0").code == 3
    api.rollouts = [{**running(FILE.replace("25%", "30%")), "phase": "rolled back", "over": True}]
    ran = sluice("apply", "-f", "rollout.yaml", "--wait", "--timeout", "0")
    assert ran.code == 3  # a new one was begun, and is not over
    api.rollouts = [{**running(), "phase": "promoted", "over": True}]
    ran = sluice("apply", "-f", "rollout.yaml", "--wait", "--json")
    assert ran.code == 0
