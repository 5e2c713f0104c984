"""`sluice rollout status`, `list`, `why`, `watch` and `wait`: what they show, and their exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving.control.api.rollout_bodies import RolloutChangedOut, RolloutDetailOut, StagesOut, StoppedOut
from tests.serving.fake_rollouts import STEPS, TOLD, Asked, FakeRollouts, entry, rollout, serving
from tests.serving.rollout_commands import ONE, api
from tests.serving.test_cli import Command, sluice

__all__ = ["api", "sluice"]


def test_the_fake_speaks_as_the_real_one_does(api: FakeRollouts) -> None:
    """Every answer of the fake is one of the API's own types, so no test here rests on an invention."""
    RolloutDetailOut.model_validate(rollout())
    RolloutDetailOut.model_validate(rollout(verdicts=TOLD))
    RolloutChangedOut.model_validate(api.changed(rollout()))
    dry, plain = Asked("", {"dry_run": ["true"]}, {}, None), Asked("", {}, {}, None)
    StagesOut.model_validate(api.started(dry, "digits")[1])
    StoppedOut.model_validate(api.stopped(plain)[1])


def test_the_plan_of_the_fake_is_a_canary() -> None:
    """So that what the tests above say of stages is what the strategies make."""
    assert [stage.name for stage in STEPS.stages] == ["1 %", "5 %", "25 %", "50 %", "watch"]


def test_status_says_where_it_stands_and_what_keeps_it(sluice: Command, api: FakeRollouts) -> None:
    """Phase, stage, next step, obstacles, shares, stages that are passed, now, and to come."""
    ran = sluice("rollout", "status", "digits")
    assert ran.code == 0
    for words in (
        "digits: canary ro_0123456789ab, begun 2026-11-20 14:03:01 by anna",
        "running, stage 2 of 5 '5 %', automation alone",
        "next: stage '25 %', in 8m12s at the earliest",
        "waits: version 2 has had 650 of 1,000 requests",
        "12,345",
        "passed",
        "needed",
        "10m and 1,000 requests",
    ):
        assert words in ran.out, words


def test_status_says_how_versions_answer(sluice: Command, api: FakeRollouts) -> None:
    """Requests per second, errors, and within what time they came; a version that is only copied to is among them."""
    api.rollouts[0]["lately"]["3"] = {"requests_per_s": 1.5, "error_share": 1.0, "p50_ms": None, "p99_ms": None}
    rows = [line.replace("│", " ").split() for line in sluice("rollout", "status", "digits").out.splitlines()]
    assert ["1", "stable", "95", "%", "12,345", "95.0", "0.04", "%", "4.2", "ms", "12.8", "ms"] in rows
    assert ["2", "candidate", "5", "%", "650", "5.0", "2.50", "%", "6.0", "ms", "1.25", "s"] in rows
    assert ["3", "arm", "0", "%", "1.5", "100.00", "%"] in rows


def test_status_says_what_a_version_that_carries_less_gets(sluice: Command, api: FakeRollouts) -> None:
    """Beside the share that its stage is to give; nothing of that where it has all of it."""
    assert "given" not in sluice("rollout", "status", "digits").out
    api.rollouts = [rollout(shares={"1": 700_000, "2": 300_000}, desired={"1": 500_000, "2": 500_000})]
    out = sluice("rollout", "status", "digits").out
    rows = [line.replace("│", " ").split() for line in out.splitlines()]
    assert any(row[:6] == ["2", "candidate", "50", "%", "30", "%"] for row in rows), out


def test_status_tells_the_verdict_on_its_numbers(sluice: Command, api: FakeRollouts) -> None:
    """Its words, a row for each guardrail, and what is left of the budget; which stage needs it is in the plan."""
    api.rollouts = [rollout(verdicts=TOLD)]
    out = sluice("rollout", "status", "digits").out
    assert "version 2: Not yet: nothing speaks against the candidate, but errors cannot be certified yet." in out
    assert "75 % of the budget is left, rule fast" in out
    rows = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert "errors 12 of 2,700 60 of 24,300 1.8 (0.9-3.4) 4.0:1 3.0:1 of 20:1" in rows
    assert any("10m and 1,000 requests and a verdict needed" in row for row in rows)
    api.rollouts[0]["verdicts"] = {"2": {"decision": "perhaps"}}
    unreadable = sluice("rollout", "status", "digits")
    assert (unreadable.code, "cannot read" in unreadable.err) == (1, True)


def test_status_of_a_room_of_the_release_before(sluice: Command, api: FakeRollouts) -> None:
    """It says nothing of how versions answer, and what it says is shown."""
    for name in ("lately", "desired", "verdicts"):
        del api.rollouts[0][name]
    ran = sluice("rollout", "status", "digits")
    assert (ran.code, "12,345" in ran.out) == (0, True), ran.err


def test_status_of_one_that_waits_says_how_to_approve_it(sluice: Command, api: FakeRollouts) -> None:
    """The command, ready to be typed."""
    waits = ["somebody has to approve stage '50 %'"]
    api.rollouts = [rollout(phase="waiting for approval", next_stage="stage '50 %'", next_step_s=None, waits=waits)]
    out = sluice("rollout", "status", "digits").out
    assert "approve it with: sluice rollout approve digits" in out
    assert "at the earliest" not in out


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["status", "digits"], ONE),
        (["list"], "/api/v1/rollouts"),
        (["list", "--all"], "/api/v1/rollouts"),
        (["list", "digits"], "/api/v1/models/digits/rollouts"),
        (["why", "ro_0123456789ab"], f"{ONE}/why"),
        (["plan", "digits", "--candidate", "2", "--canary", "5"], "/api/v1/models/digits/rollouts"),
        (["pause", "digits"], f"{ONE}/pause"),
    ],
)
def test_json_is_printed_alone(sluice: Command, api: FakeRollouts, words: list[str], path: str) -> None:
    """The API's own answer, and nothing else."""
    ran = sluice("rollout", *words, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert isinstance(json.loads(ran.out), dict)
    assert api.lines()[-1].endswith(path)


def test_list_and_why_are_for_people_too(sluice: Command, api: FakeRollouts) -> None:
    """A row for each, and a story line by line."""
    api.entries = [entry(1, "anna", "start", "the new form"), entry(2, "the rollout", "run", "it is up")]
    out = sluice("rollout", "list").out
    assert "ro_0123456789ab" in out
    assert "1: 95 %, 2: 5 %" in out
    assert sluice("rollout", "why", "digits").out == "anna: the new form\nthe rollout: it is up\n"


def test_what_others_wrote_never_reaches_the_terminal_as_a_command(sluice: Command, api: FakeRollouts) -> None:
    """Escape sequences in a reason are shown, not obeyed."""
    api.rollouts = [rollout(cause="\x1b]0;owned\x07red", created_by="\x1b[31manna")]
    api.entries = [entry(1, "anna", "pause", "\x1b[2Jgone")]
    for words in (["status", "digits"], ["list"], ["why", "digits"], ["pause", "digits"]):
        ran = sluice("rollout", *words)
        assert (ran.code, "\x1b" in ran.out, "\x07" in ran.out) == (0, False, False)


def test_a_model_without_rollouts_is_a_sentence(sluice: Command, api: FakeRollouts) -> None:
    """Exit code 1, and how to start one."""
    for command in ("status", "pause", "wait", "why", "watch"):
        ran = sluice("rollout", command, "other")
        assert (ran.code, "other has no rollout" in ran.err, "sluice rollout start" in ran.err) == (1, True, True)
    ran = sluice("rollout", "status", "ro_bbbbbbbbbbbb")
    assert (ran.code, "There is no rollout" in ran.err) == (1, True)


# Waiting.


@pytest.mark.parametrize(
    ("phase", "outcome", "code"),
    [
        ("promoted", "promoted", 0),
        ("rolled back", "rolled-back", 0),
        ("rolled back", "ROLLED_BACK", 0),
        ("failed", "over", 0),
        ("running", "running", 0),
        ("paused", "paused", 0),
        ("waiting for approval", "waiting", 0),
        ("rolled back", "promoted", 1),
        ("promoted", "rolled back", 1),
        ("running", "promoted", 3),
        ("paused", "over", 3),
    ],
)
def test_waiting_has_an_exit_code_for_each_end(
    sluice: Command, api: FakeRollouts, phase: str, outcome: str, code: int
) -> None:
    """0 there, 1 ended otherwise, 3 not within the time; it says where it stands."""
    api.rollouts = [rollout(phase=phase)]
    ran = sluice("rollout", "wait", "digits", "--for", outcome, "--timeout", "0")
    assert ran.code == code
    assert f"digits: {phase}, stage 2 of 5 '5 %'" in ran.out
    assert bool(code) is ("error: waited for" in ran.err)
    said = json.loads(sluice("rollout", "wait", "digits", "--for", outcome, "--timeout", "0", "--json").out)
    assert said["phase"] == phase


def test_waiting_goes_on_while_the_control_room_is_away(sluice: Command, api: FakeRollouts) -> None:
    """Silence is told, and is no answer; what comes after it is."""

    class Returning(FakeRollouts):
        def one(self, asked: Asked, name: str) -> tuple[int, dict[str, Any]]:
            looks = len([line for line in self.lines() if line == f"GET {ONE}"])
            if looks == 2:  # the first finds the rollout
                return 503, {"title": "no", "status": 503, "detail": "Redis does not answer.", "hint": ""}
            self.rollouts[0].update(phase="promoted" if looks > 3 else "running")
            return super().one(asked, name)

    with serving(Returning()) as address:
        ran = sluice("rollout", "wait", "digits", "--timeout", "30s", "--url", address)
    assert (ran.code, ran.err) == (0, "waiting for the control room (Redis does not answer.)\n")
    assert ran.out.startswith("digits: promoted")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--for", "nothing"], "promoted, rolled-back"),
        (["--timeout", "30"], "no time"),
        (["--timeout", "x"], "no time"),
    ],
)
def test_waiting_for_nothing_is_wrong_usage(sluice: Command, api: FakeRollouts, words: list[str], says: str) -> None:
    """Exit code 2, and nobody is asked."""
    ran = sluice("rollout", "wait", "digits", *words)
    assert (ran.code, says in ran.err, api.asked) == (2, True, [])


def test_watch_without_a_terminal_tells_each_change_once(sluice: Command, api: FakeRollouts) -> None:
    """Until the rollout is over."""
    api.rollouts = [rollout(phase="promoted", over=True, cause="all passed")]
    ran = sluice("rollout", "watch", "digits")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "digits: canary ro_0123456789ab",
        "14:03:01  the rollout  run: time and requests",
        "promoted, stage 2 of 5 '5 %' (all passed): 1: 95 %, 2: 5 %",
        "waits: version 2 has had 650 of 1,000 requests",
    ]
