"""`sluice rollout set`, `pause`, `approve` and the like: what they send, and whom they overwrite."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.fake_rollouts import FakeRollouts, rollout
from tests.serving.rollout_commands import ONE, api
from tests.serving.test_cli import Command, sluice

__all__ = ["api", "sluice"]


@pytest.mark.parametrize(
    ("words", "path", "match", "body"),
    [
        (["pause", "digits"], "pause", "*", {"why": ""}),
        (["resume", "digits", "--why", "fixed"], "resume", '"3"', {"why": "fixed"}),
        (["approve", "digits"], "approve", '"3"', {"why": ""}),
        (["approve", "digits", "--stage", "50%"], "approve", '"3"', {"why": "", "stage": 3}),
        (["approve", "digits", "--stage", "4"], "approve", '"3"', {"why": "", "stage": 3}),
        (["approve", "digits", "--stage", "end"], "approve", '"3"', {"why": "", "stage": 5}),
        (["promote", "digits"], "promote", '"3"', {"to_end": False, "version": None, "why": ""}),
        (
            ["promote", "digits", "--to-end", "--version", "2"],
            "promote",
            '"3"',
            {"to_end": True, "version": 2, "why": ""},
        ),
        (["rollback", "digits", "--reason", "errors"], "rollback", "*", {"why": "errors"}),
        (["retry", "digits", "--again"], "retry", '"3"', {"again": True, "why": ""}),
    ],
)
def test_a_move_goes_with_what_was_seen(  # noqa: PLR0917
    sluice: Command, api: FakeRollouts, words: list[str], path: str, match: str, body: dict[str, Any]
) -> None:
    """What depends on how it stood names the revision; pausing and going back are meant in any case."""
    ran = sluice("rollout", *words)
    assert (ran.code, ran.err) == (0, "")
    asked = api.asked[-1]
    assert (asked.line, asked.headers["if-match"], asked.body) == (f"POST {ONE}/{path}", match, body)
    assert asked.headers["idempotency-key"]
    assert "2 of 2 gateway workers run epoch 9" in ran.out


@pytest.mark.parametrize("words", [["promote", "digits"], ["approve", "digits"], ["set", "digits", "5%"]])
def test_capacity_is_passed_by_force_only(sluice: Command, api: FakeRollouts, words: list[str]) -> None:
    """Whatever would send a version more than it carries says so with --force."""
    assert sluice("rollout", *words).code == 0
    assert api.asked[-1].query == {}
    assert sluice("rollout", *words, "--force").code == 0
    assert api.asked[-1].query == {"force": ["true"]}


def test_an_id_stands_for_itself(sluice: Command, api: FakeRollouts) -> None:
    """Going back by id asks for nothing else first."""
    assert sluice("rollout", "rollback", "ro_0123456789ab", "--reason", "errors").code == 0
    assert api.lines() == [f"POST {ONE}/rollback"]


@pytest.mark.parametrize("text", ["12.5%", "12.5 %", "125000ppm", "1/8", "2=12.5%", "2:1/8"])
def test_shares_are_set_in_every_form_that_people_type(sluice: Command, api: FakeRollouts, text: str) -> None:
    """The candidate is meant where no version is named; the revision that was read goes along."""
    ran = sluice("rollout", "set", "digits", text, "--why", "slower")
    assert (ran.code, ran.err) == (0, "")
    asked = api.asked[-1]
    assert (asked.line, asked.headers["if-match"]) == (f"PATCH {ONE}", '"3"')
    assert asked.body == {"shares": {"2": "12.5%"}, "why": "slower"}
    assert "1: 87.5 %, 2: 12.5 %" in ran.out
    assert "shares set by hand" in ran.out


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        (["x"], "no share"),
        (["2=1%", "2=2%"], "named twice"),
        (["150%"], "more than all"),
        (["10"], "write '10%' or '100000ppm'"),
        (["2=12.5"], "write '10%' or '100000ppm'"),
        ([], "Missing argument"),
    ],
)
def test_shares_that_cannot_be_are_wrong_usage(
    sluice: Command, api: FakeRollouts, shares: list[str], says: str
) -> None:
    """Exit code 2, and nobody is asked."""
    ran = sluice("rollout", "set", "digits", *shares)
    assert (ran.code, api.asked, says in ran.err) == (2, [], True), ran.err


def test_a_share_that_could_be_anybodys_names_its_version(sluice: Command, api: FakeRollouts) -> None:
    """In an A/B test there is no candidate to be meant."""
    api.rollouts = [rollout(candidate=None, shares={"1": 500_000, "2": 250_000, "3": 250_000})]
    ran = sluice("rollout", "set", "digits", "10%")
    assert (ran.code, "2=10%" in ran.err) == (2, True)


def test_what_the_api_refuses_is_its_sentence_and_exit_code_1(sluice: Command, api: FakeRollouts) -> None:
    """With its hint, on stderr, and nothing on stdout."""
    api.refusals[f"POST {ONE}/approve"] = (409, "There is nothing to approve.", "Look at its status.")
    ran = sluice("rollout", "approve", "digits")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: There is nothing to approve.\nhint: Look at its status.\n"


def test_a_rollback_says_why(sluice: Command, api: FakeRollouts) -> None:
    """Without a reason it is wrong usage."""
    assert sluice("rollout", "rollback", "digits").code == 2
    assert sluice("rollout", "rollback", "digits", "--reason", " ").code == 2
    assert api.asked == []


def test_an_unknown_stage_lists_those_that_there_are(sluice: Command, api: FakeRollouts) -> None:
    """By name, with the way to count them."""
    ran = sluice("rollout", "approve", "digits", "--stage", "75%")
    assert (ran.code, "'25 %'" in " ".join(ran.err.replace("│", "").split())) == (2, True)


def test_a_change_is_sent_once_more_where_the_connection_broke(sluice: Command, api: FakeRollouts) -> None:
    """Under the same key, so that it takes place once; a second silence is told."""
    api.silent = 1
    assert sluice("rollout", "rollback", "ro_0123456789ab", "--reason", "errors").code == 0
    keys = [one.headers["idempotency-key"] for one in api.asked]
    assert (len(keys), len(set(keys))) == (2, 1)
    api.silent = 2
    ran = sluice("rollout", "rollback", "ro_0123456789ab", "--reason", "errors")
    assert (ran.code, "broke off" in ran.err) == (1, True)


def test_those_who_do_not_run_it_are_named(sluice: Command, api: FakeRollouts) -> None:
    """Whose lease ran out, and who is still awaited."""
    api.acknowledged = {"of": 3, "by": 1, "expired": ["g-2"], "waiting": ["g-3"]}
    out = sluice("rollout", "promote", "digits").out
    assert "1 of 3 gateway workers run epoch 9 (12 ms), lease expired: g-2, still waiting for: g-3" in out
