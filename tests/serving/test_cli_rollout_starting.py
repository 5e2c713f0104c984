"""`sluice rollout start`, `plan` and `lint`: what they send, what they show, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.control.api.rollout_bodies import RolloutIn
from serving.control.rolling.document import document_from
from tests.serving.fake_rollouts import FakeRollouts
from tests.serving.rollout_commands import FILE, api
from tests.serving.test_cli import Command, sluice

__all__ = ["api", "sluice"]


@pytest.mark.parametrize(
    ("words", "means"),
    [
        (
            ["--candidate", "2", "--canary", "1,5%,1/4,500000ppm,100", "--hold", "1h30m", "--min-requests", "1000"],
            {
                "candidate": 2,
                "canary": {"steps": ["1%", "5%", "25%", "50%", "100%"], "hold": "1h30m", "min_requests": 1000},
            },
        ),
        (
            ["--candidate", "2", "--canary", "1,50", "--approve", "50", "--approve", "end", "--watch", "1d"],
            {"candidate": 2, "canary": {"steps": ["1%", "50%"], "approve": ["50%", "end"], "watch": "1d"}},
        ),
        (
            ["--candidate", "3", "--shadow", "10%", "--shadow-for", "1h", "--noise", "20%", "--canary", "5"],
            {
                "candidate": 3,
                "shadow": {"version": 3, "sample": "10%", "for": "1h", "noise": "20%"},
                "canary": {"steps": ["5%"]},
            },
        ),
        (
            ["--ab", "2=25%,3=1/4", "--for", "1d", "--sample-size", "5000", "--undecided", "keep"],
            {"ab_test": {"arms": {"2": "25%", "3": "25%"}, "for": "1d", "sample_size": 5000, "undecided": "keep"}},
        ),
        (
            [
                "--candidate", "2", "--blue-green", "--preview", "X-Tier=staff,beta", "--preview", "path ^= /new",
                "--bake", "10 min", "--no-approval", "--keep-warm", "90s",
            ],
            {
                "candidate": 2,
                "blue_green": {
                    "preview": [
                        {"name": "x-tier", "how": "in", "values": ["staff", "beta"]},
                        {"name": "path", "how": "prefix", "values": ["/new"]},
                    ],
                    "bake": "10m",
                    "approval": False,
                    "keep_warm": "1m30s",
                },
            },
        ),
        (
            [
                "--candidate", "2", "--canary", "0.0001", "--automation", "approve", "--deadline", "2h",
                "--on-deadline", "fail", "--freeze", "weekend=Fri 16:00/mon 08:00 +01:00", "--why", "better", "--again",
            ],
            {
                "candidate": 2,
                "canary": {"steps": ["0.0001%"]},
                "automation": "approve",
                "deadline": "2h",
                "on_deadline": "fail",
                "freezes": [{"name": "weekend", "begins": "fri 16:00", "ends": "mon 08:00", "utc": "+01:00"}],
                "why": "better",
                "again": True,
            },
        ),
    ],
)  # fmt: skip
def test_options_become_the_document_that_a_file_would_hold(
    sluice: Command, api: FakeRollouts, words: list[str], means: dict[str, Any]
) -> None:
    """One POST with a key of its own, whose body the API's own type and the plan's reader accept."""
    ran = sluice("rollout", "start", "digits", *words)
    assert (ran.code, ran.err) == (0, "")
    [asked] = api.asked
    assert asked.line == "POST /api/v1/models/digits/rollouts"
    assert len(asked.headers["idempotency-key"]) >= 16
    assert asked.body == means
    RolloutIn.model_validate(asked.body)
    document_from(asked.body)
    assert "ro_aaaaaaaaaaaa" in ran.out
    assert "2 of 2 gateway workers run epoch 9 (12 ms)" in ran.out
    assert "a note" in ran.out


def test_a_file_is_started_as_it_is(sluice: Command, api: FakeRollouts) -> None:
    """Its model is the path's, and what is typed beside it wins."""
    assert sluice("rollout", "start", "-f", "rollout.yaml", "--why", "because").code == 0
    [asked] = api.asked
    assert asked.line == "POST /api/v1/models/digits/rollouts"
    assert asked.body["canary"]["steps"] == ["1%", "5%", "25%", "50%"]
    assert (asked.body["why"], "model" in asked.body) == ("because", False)


def test_a_files_secrets_come_from_variables(
    sluice: Command, api: FakeRollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the file can lie in a repository; one that is not set is named, and its value is never printed."""
    hook = "webhooks: [{url: 'https://hooks.example/x', secret_env: HOOK_SECRET, events: [waiting]}]\n"
    Path("rollout.yaml").write_text(FILE + hook)
    ran = sluice("rollout", "lint", "rollout.yaml")
    assert (ran.code, "the variable HOOK_SECRET" in ran.err) == (1, True)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    monkeypatch.setenv("HOOK_SECRET", secret)
    ran = sluice("rollout", "start", "-f", "rollout.yaml")
    assert ran.code == 0
    assert api.asked[0].body["webhooks"][0]["secret"] == secret
    assert secret not in ran.out + ran.err


@pytest.mark.usefixtures("api")  # for its folder
@pytest.mark.parametrize(
    "text",
    [
        "webhooks: {url: 'https://h.example/t0ken', secret: whsec_hunter2}",
        "webhooks: [whsec_hunter2]",
        "webhooks: [{url: 'https://h.example/t0ken', secret: hunter2}]",
        "webhooks: [{url: 5, secret: [hunter2]}]",
        "webhooks: [{url: 'https://h.example/t0ken', secret: {secret: hunter2}}]",
        "gates: ['https://h.example/t0ken']",
        "gates: {secret: hunter2, url: 'https://h.example/t0ken'}",
    ],
)
def test_a_secret_at_a_wrong_place_is_not_repeated(sluice: Command, text: str) -> None:
    """Mistakes show what was wrong, and neither secrets nor what may be one in an address."""
    Path("rollout.yaml").write_text(f"{FILE}{text}\n")
    for words in ([], ["--json"]):
        ran = sluice("rollout", "lint", "rollout.yaml", *words)
        assert ran.code == 1
        assert "hunter2" not in ran.out + ran.err
        assert "t0ken" not in ran.out + ran.err


def test_dates_without_quotes_are_what_they_look_like(sluice: Command, api: FakeRollouts) -> None:
    """YAML would make a moment of them, which no JSON can hold."""
    freeze = "freezes: [{name: holidays, begins: 2026-12-20T00:00:00+01:00, ends: 2027-01-02T00:00:00+01:00}]\n"
    Path("rollout.yaml").write_text(FILE + freeze)
    ran = sluice("rollout", "start", "-f", "rollout.yaml")
    assert ran.code == 0, ran.err
    assert api.asked[0].body["freezes"][0]["begins"] == "2026-12-20T00:00:00+01:00"


def test_the_candidate_may_be_named_by_an_alias(sluice: Command, api: FakeRollouts) -> None:
    """It is looked up first, and the number is what is sent."""
    api.aliases["challenger"] = 7
    words = ["rollout", "start", "digits", "--canary", "5", "--candidate"]
    assert sluice(*words, "challenger").code == 0
    assert api.asked[-1].body["candidate"] == 7
    ran = sluice(*words, "nobody")
    assert (ran.code, "There is no alias nobody" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say how it is to go"),
        (["--canary", "5"], "--canary needs --candidate"),
        (["--candidate", "2", "--canary", "5", "--hold", "10"], "'10' is no time"),
        (["--candidate", "2", "--canary", "101"], "more than all traffic"),
        (["--candidate", "2", "--canary", "1/3"], "33.3333%"),
        (["--candidate", "2", "--canary", "5", "--approve", "6"], "--approve 6% is no step"),
        (["--candidate", "2", "--canary", "5", "--bake", "5m"], "--bake goes with --blue-green"),
        (["--candidate", "2", "--canary", "5", "--shadow-for", "5m"], "--shadow-for goes with --shadow"),
        (["--candidate", "2", "--canary", "5", "--noise", "10%"], "--noise goes with --shadow"),
        (["--candidate", "2", "--canary", "5", "--for", "5m"], "--for goes with --ab"),
        (["--candidate", "2", "--shadow", "5"], "--shadow needs --shadow-for"),
        (["--candidate", "2", "--canary", "5", "--timeout", "5m"], "--timeout goes with --wait"),
        (["--candidate", "2", "--blue-green", "--preview", "x"], "HEADER=VALUE"),
        (["--candidate", "2", "--blue-green", "--freeze", "x"], "BEGINS/ENDS"),
        (["--ab", "2=50%,2=10%", "--for", "1h"], "named twice"),
        (["--ab", "50%", "--for", "1h"], "does not say which version"),
        (["-f", "rollout.yaml", "--canary", "5"], "leave the other options out"),
        (["-f", "none.yaml"], "cannot be read"),
        (["other", "x"], "unexpected"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_nobody_is_asked(
    sluice: Command, api: FakeRollouts, words: list[str], says: str
) -> None:
    """With a sentence that says what is allowed."""
    ran = sluice("rollout", "start", "digits", *words)
    assert (ran.code, ran.out, api.asked) == (2, "", [])
    assert says in " ".join(ran.err.replace("│", "").split())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no YAML: line"),
        ("- a\n- b\n", "holds no rollout"),
        (FILE.replace("10m", "soon"), "canary.hold"),
        (FILE.replace("candidate: 2\n", ""), "candidate is missing"),
        (FILE + "automatoin: alone\nwhy: 5\n", "2 mistakes"),
        (FILE + "canary: {}\n", "given twice"),
        ("a: " + "[" * 5_000, "no YAML"),
    ],
)
def test_a_file_that_is_no_rollout_is_refused_with_every_mistake(
    sluice: Command, api: FakeRollouts, text: str, says: str
) -> None:
    """Exit code 1, the same sentence from lint and from start, and nobody is asked."""
    Path("rollout.yaml").write_text(text)
    for words in (["lint", "rollout.yaml"], ["start", "digits", "-f", "rollout.yaml"]):
        ran = sluice("rollout", *words)
        assert (ran.code, ran.out, api.asked) == (1, "", [])
        assert says in ran.err
    said = json.loads(sluice("rollout", "lint", "rollout.yaml", "--json").out)
    assert (said["valid"], bool(said["mistakes"])) == (False, True)


def test_a_sound_file_is_said_to_be(sluice: Command, api: FakeRollouts) -> None:
    """And nobody is asked."""
    ran = sluice("rollout", "lint", "rollout.yaml")
    assert (ran.code, ran.out) == (0, "rollout.yaml is sound: a canary rollout of digits with 5 stages\n")
    assert json.loads(sluice("rollout", "lint", "rollout.yaml", "--json").out) == {"valid": True, "mistakes": []}
    assert api.asked == []


def test_a_file_of_another_model_is_refused(sluice: Command, api: FakeRollouts) -> None:
    """Both names are told, and nobody is asked."""
    ran = sluice("rollout", "start", "other", "-f", "rollout.yaml")
    assert (ran.code, api.asked) == (2, [])
    Path("rollout.yaml").write_text(FILE.replace("model: digits\n", ""))
    ran = sluice("rollout", "start", "-f", "rollout.yaml")
    assert (ran.code, "which model" in ran.err) == (2, True)


# How answers to copies are compared.


def test_how_answers_are_compared_is_typed(sluice: Command, api: FakeRollouts) -> None:
    """Rules by output, the headers that it is broken down by, and what is never kept, as a file says them."""
    words = ["--candidate", "2", "--shadow", "100%", "--shadow-for", "1h"]
    words += ["--compare", "label=exact", "--compare", "score=close:0.01", "--segment", "X-Country", "--redact", "ssn"]
    ran = sluice("rollout", "start", "digits", *words)
    assert ran.code == 0, ran.err
    assert api.asked[-1].body["compare"] == {
        "outputs": {"label": {"how": "exact"}, "score": {"how": "close", "relative": 0.01}},
        "segments": ["x-country"],
        "keep": 20,
        "redact": ["ssn"],
    }
    document_from(RolloutIn(**api.asked[-1].body).model_dump(mode="json", exclude_none=True))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shadow", "5%", "--shadow-for", "1h", "--compare", "label"], "OUTPUT=HOW"),
        (["--shadow", "5%", "--shadow-for", "1h", "--compare", "label=nearly"], "no way to compare"),
        (["--shadow", "5%", "--shadow-for", "1h", "--segment", "x country"], "no header name"),
        (["--canary", "5,100", "--compare", "label=exact"], "--compare goes with --shadow"),
    ],
    ids=range(4),
)
def test_rules_of_comparison_mistyped_are_refused(
    sluice: Command, api: FakeRollouts, words: list[str], said: str
) -> None:
    """In a sentence, and nothing is asked of anybody."""
    ran = sluice("rollout", "start", "digits", "--candidate", "2", *words)
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert not api.asked


# What it is judged by.


def test_what_it_is_judged_by_is_typed_and_told(sluice: Command, api: FakeRollouts) -> None:
    """Options become the file's keys; whoever starts it is told what it has to earn and what takes it back."""
    words = ["--candidate", "2", "--canary", "1,50,100", "--needs", "verdict", "--tolerate", "latency=1.5"]
    words += ["--guardrail", "timeouts", "--harm", "2%", "--rule", "burst-proof", "--warm-up", "1m"]
    ran = sluice("rollout", "start", "digits", *words, "--on-incident", "hold")
    assert ran.code == 0, ran.err
    assert api.asked[-1].body["canary"] == {"steps": ["1%", "50%", "100%"], "needs": "verdict"}
    assert api.asked[-1].body["on_incident"] == "hold"
    assert api.asked[-1].body["judged_by"] == {
        "guardrails": [{"watches": "errors"}, {"watches": "latency", "tolerated": 1.5}, {"watches": "timeouts"}],
        "harm": 0.02,
        "rule": "burst_proof",
        "warm_up_s": 60,
    }
    document_from(RolloutIn(**api.asked[-1].body).model_dump(mode="json", exclude_none=True))
    assert "judged by: errors up to 1x stable's odds" in ran.out
    assert "passed by a verdict: stage '50 %'" in ran.out, "as the API says of what it began"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--canary", "5", "--harm", "much"], "--harm: 'much' is no number"),
        (["--canary", "5", "--harm", "2"], "judged_by.harm is 2.0"),
        (["--canary", "5", "--tolerate", "mood=2"], "there is no guardrail 'mood'"),
        (["--canary", "5", "--guardrail", "predictions"], "say of which output"),
        (["--canary", "5", "--rule", "luck"], "judged_by.rule is 'luck'"),
        (["--canary", "5", "--needs", "luck"], "canary.needs is 'luck'"),
        (["--canary", "5", "--on-incident", "panic"], "on_incident is 'panic'"),
        (["--shadow", "5%", "--shadow-for", "1h", "--needs", "verdict"], "--needs goes with --canary"),
    ],
)
def test_what_nothing_could_be_judged_by_is_refused(
    sluice: Command, api: FakeRollouts, words: list[str], said: str
) -> None:
    """Before anybody is asked, by the name that was typed or the file's."""
    ran = sluice("rollout", "start", "digits", "--candidate", "2", *words)
    assert (ran.code != 0, said in " ".join(ran.err.split())) == (True, True), ran.err
    assert api.asked == []


# Looking ahead.


@pytest.mark.parametrize("words", [["plan"], ["start", "--dry-run"]])
def test_the_stages_are_shown_and_nothing_is_started(sluice: Command, api: FakeRollouts, words: list[str]) -> None:
    """The API is asked to pretend; its notes are shown."""
    ran = sluice("rollout", *words, "digits", "--candidate", "2", "--canary", "5")
    assert ran.code == 0, ran.err
    assert [(one.line, one.query) for one in api.asked] == [
        ("POST /api/v1/models/digits/rollouts", {"dry_run": ["true"]})
    ]
    for words_shown in ("5 %", "10m", "needed", "1: 95 %, 2: 5 %", "nobody serves version 2 yet"):
        assert words_shown in ran.out


def test_the_stages_are_shown_without_anybody(sluice: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --stable: every stage, its whole policy in words or as JSON, and what is left at the end."""
    monkeypatch.setenv("SLUICE_URL", "http://127.0.0.1:9")
    words = [
        "rollout", "plan", "digits", "--stable", "1", "--candidate", "2", "--shadow", "10%", "--shadow-for", "1h",
        "--blue-green", "--preview", "x-tier=staff",
    ]  # fmt: skip
    ran = sluice(*words)
    assert ran.code == 0, ran.err
    shown = " ".join(ran.out.replace("│", " ").split())
    for said in ("version 2 gets copies of 10 %", "x-tier is staff", "flipped everywhere", "the end", "2: 100 %"):
        assert said in shown
    stages = json.loads(sluice(*words, "--json").out)["stages"]
    assert [stage["name"] for stage in stages] == ["shadow", "preview", "keep warm", "the end"]
    assert stages[2]["policy"]["stable"] == 2
    ran = sluice(*words[:4], "2", *words[5:])
    assert (ran.code, "is stable already" in ran.err) == (1, True)
