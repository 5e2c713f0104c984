"""What the live view says, decided without a terminal: rates, frames of any size, lines for a pipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.phases import Phase
from router.verdicts.shown import as_dict
from serving.rollout_standing import standing_from
from serving.watching.asking import events_from, totals
from serving.watching.frame import Mood, Size, frame
from serving.watching.lines import lines
from serving.watching.screen import painted
from serving.watching.seen import WINDOW_S, Answer, Event, Seen, rates
from tests.serving.fake_rollouts import TOLD, VERDICT, entry, rollout

SIZE = Size(80, 24)


def answer(at_s: float, requests: dict[tuple[str, int], int] | None = None, **changes: Any) -> Answer:  # noqa: ANN401
    """What the API said at that moment."""
    events = events_from([entry(nth, "anna", "set", f"reason {nth}") for nth in range(1, 31)])
    return Answer(at_s, standing_from(rollout(**changes)), requests or {}, 2, 2, 9, (), events)


def words(seen: Seen, now_s: float, size: Size = SIZE) -> list[str]:
    """The lines, without their moods."""
    return [line.words for line in frame(seen, now_s, size)]


@given(st.integers(1, 200), st.integers(1, 60), st.sampled_from(list(Phase)), st.text(max_size=300), st.booleans())
def test_a_frame_fills_its_screen_and_no_more(
    width: int,
    height: int,
    phase: Phase,
    cause: str,
    silent: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    """Whatever is to be said: as many lines as rows, none longer than the screen is wide."""
    seen = Seen().with_answer(answer(0.0, phase=phase.value, cause=cause, waits=[cause or "x"] * 3))
    seen = seen.with_silence("no answer", 5.0) if silent else seen
    drawn = frame(seen, 9.0, Size(width, height))
    assert len(drawn) == height
    assert max(len(line.words) for line in drawn) <= width
    assert len(painted(drawn, width).renderables) == height


def test_the_next_step_counts_down_between_answers() -> None:
    """By the clock of whoever looks; what has had its time goes on as soon as nothing keeps it."""
    seen = Seen().with_answer(answer(100.0))
    assert "next: stage '25 %', in 8m12s" in words(seen, 100.0)
    assert "next: stage '25 %', in 8m10s" in words(seen, 102.0)
    assert "next: stage '25 %', as soon as nothing keeps it" in words(seen, 900.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"phase": "waiting for approval", "next_stage": "the end"}, "next: the end, when somebody has approved it"),
        ({"phase": "paused", "cause": "by anna"}, "because: by anna"),
        ({"phase": "promoted", "over": True}, "nothing follows"),
        ({"next_step_s": None}, "next: stage '25 %', not a matter of time"),
        ({"advised": "to go on"}, "recommended: to go on"),
        ({"stage_number": -1, "stage": None, "phase": "warming"}, "warming, before the first of 5 stages"),
        ({"by_hand": True}, "running, stage 2 of 5 '5 %', shares set by hand, automation alone"),
    ],
)
def test_every_standing_has_its_words(changes: dict[str, Any], says: str) -> None:
    """What it waits for, why it stands, what it recommends."""
    assert any(line.startswith(says) for line in words(Seen().with_answer(answer(0.0, **changes)), 0.0))


def test_the_verdict_stands_under_what_has_to_be_acted_on() -> None:
    """In its words, with a row for each guardrail and what is left of the budget; red where it goes back."""
    drawn = words(Seen().with_answer(answer(0.0, verdicts=TOLD)), 0.0, Size(120, 40))
    at = next(nth for nth, line in enumerate(drawn) if line.startswith("verdict: version 2: Not yet"))
    assert [line.split()[0] for line in drawn[at + 1 : at + 5]] == ["guardrail", "errors", "latency", "budget:"]
    bad = as_dict(replace(VERDICT, decision="roll_back", words="Roll back."))
    lines_drawn = frame(Seen().with_answer(answer(0.0, verdicts={"2": bad, "3": None})), 0.0, SIZE)
    assert [line.mood for line in lines_drawn if line.words.startswith("verdict")] == [Mood.BAD]
    assert not any(line.startswith("verdict") for line in words(Seen().with_answer(answer(0.0, verdicts={})), 0.0))


def test_a_pipe_hears_a_verdict_when_it_says_something_else() -> None:
    """Not whenever a number in it has changed."""
    first = Seen().with_answer(answer(0.0, verdicts=TOLD))
    [said] = [line for line in lines(Seen(), first) if line.startswith("verdict")]
    assert said.endswith(
        "cannot be certified yet. (against it together 3.2 to 1 of 100 to 1, 75 % of the budget is left, rule fast)"
    )
    spent = as_dict(replace(VERDICT, spent=0.5, log10_e=1.0))
    assert list(lines(first, first.with_answer(answer(1.0, verdicts={"2": spent})))) == []
    promoted = as_dict(replace(VERDICT, decision="promote", words="Promote: errors are certified."))
    [new] = lines(first, first.with_answer(answer(1.0, verdicts={"2": promoted})))
    assert new.startswith("verdict: version 2: Promote: errors are certified.")


def test_what_goes_wrong_is_marked_as_such() -> None:
    """A rollback and a stale view in red, gateways that are behind with care."""
    seen = Seen().with_answer(answer(0.0, phase="rolled back", over=True))
    moods = {line.words.partition(",")[0]: line.mood for line in frame(seen, 0.0, SIZE)}
    assert moods["rolled back"] is Mood.BAD
    moods = {line.words.partition(",")[0]: line.mood for line in frame(seen, 60.0, SIZE)}
    assert moods["STALE"] is Mood.BAD


def test_an_answer_that_is_late_is_called_stale_even_before_the_call_fails() -> None:
    """With its age; once the call has failed, with the reason, however young it is."""
    seen = Seen().with_answer(answer(0.0))
    assert words(seen, 2.0)[0].startswith("digits")
    assert words(seen, 10.0)[0] == "STALE, 10s old"
    assert words(seen.with_silence("nothing answers", 1.0), 1.5)[0] == "STALE, 2s old: nothing answers"
    assert words(Seen().with_silence("nothing answers", 1.0), 1.5)[0] == "nothing was heard yet: nothing answers"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=10))
def test_rates_are_what_was_counted_in_between(steps: list[tuple[int, int]]) -> None:
    """Whatever the gateways had counted before; shares are those of the requests, not of the policy."""
    answers, counts = [answer(0.0, {("g", 1): 1_000, ("g", 2): 77})], [1_000, 77]
    for nth, step in enumerate(steps, start=1):
        counts = [count + more for count, more in zip(counts, step, strict=True)]
        answers.append(answer(float(nth), {("g", 1): counts[0], ("g", 2): counts[1]}))
    found = rates(answers)
    assert [found[1].requests, found[2].requests] == [counts[0] - 1_000, counts[1] - 77]
    assert found[1].per_s == pytest.approx((counts[0] - 1_000) / len(steps))


def test_gateways_come_go_and_start_anew_without_a_jump() -> None:
    """One that is new is counted from its second look on, one that was started anew from nothing."""
    answers = [
        answer(0.0, {("a", 1): 500}),
        answer(1.0, {("a", 1): 510, ("b", 1): 9_000}),
        answer(2.0, {("a", 1): 3, ("b", 1): 9_005}),
        answer(3.0, {("b", 1): 9_006}),
    ]
    assert rates(answers)[1].requests == 10 + 3 + 5 + 1
    assert rates(answers[:1]) == {}


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """So that a rate is today's."""
    seen = Seen()
    for at in range(100):
        seen = seen.with_answer(answer(float(at), {("g", 1): at * at}))
    assert [seen.answers[0].at_s, seen.answers[-1].at_s] == [99.0 - WINDOW_S, 99.0]


def test_totals_are_those_of_the_model() -> None:
    """Others' series are others'; names with slashes are whole names."""
    gateway: Any = {"id": "g", "requests": {"digits/1": 5, "other/1": 6, "digits/x/1": 7, "digits/new": 8}}
    assert totals([gateway], "digits") == {("g", 1): 5}
    assert totals([gateway], "digits/x") == {("g", 1): 7}


def test_events_are_told_oldest_first_from_either_end() -> None:
    """The ledger begins at its newest entry."""
    entries = [entry(nth, "anna", "set", "why") for nth in (1, 2, 3)]
    assert events_from(entries) == events_from(entries[::-1])
    assert events_from(entries)[0] == Event("1-0", "14:03:01", "anna", "set: why")


def test_a_pipe_hears_every_change_once() -> None:
    """Where it stands at first, then what is new: events, a move, obstacles by kind, silence and its end."""
    first = Seen().with_answer(answer(0.0, waits=["version 2 has had 1 of 9 requests"]))
    assert next(lines(Seen(), first)) == "digits: canary ro_0123456789ab"
    later = first.with_answer(answer(1.0, waits=["version 2 has had 5 of 9 requests"]))
    assert list(lines(first, later)) == []
    gone = later.with_silence("nothing answers", 2.0)
    assert list(lines(later, gone)) == ["no answer: nothing answers"]
    assert list(lines(gone, gone.with_silence("nothing answers", 3.0))) == []
    moved = gone.with_answer(answer(4.0, phase="paused", cause="by anna", waits=["it is paused"]))
    assert list(lines(gone, moved)) == [
        "it answers again",
        "paused, stage 2 of 5 '5 %' (by anna): 1: 95 %, 2: 5 %",
        "waits: it is paused",
    ]


def test_a_version_that_carries_less_than_its_share_has_both() -> None:
    """What the stage is to give and what it gives; nothing of the kind where they are the same."""
    shares: dict[str, Any] = {"shares": {"1": 700_000, "2": 300_000}, "desired": {"1": 500_000, "2": 500_000}}
    drawn = words(Seen().with_answer(answer(0.0, **shares)), 0.0)
    head = next(nth for nth, line in enumerate(drawn) if line.lstrip().startswith("version"))
    assert drawn[head].split()[2:5] == ["share", "given", "effective"]
    assert drawn[head + 2].split()[2:6] == ["50", "%", "30", "%"]
    assert max(len(line) for line in drawn[head : head + 3]) <= SIZE.width
    assert "given" not in "".join(words(Seen().with_answer(answer(0.0)), 0.0))


def test_a_version_that_is_only_copied_to_is_shown_as_it_answers() -> None:
    """A shadow has no share: its copies per second, its errors and its latency are what there is to see."""
    copies = {"requests_per_s": 12.5, "error_share": 1.0, "p50_ms": None, "p99_ms": None}
    seen = Seen().with_answer(answer(0.0, {("g", 1): 5, ("g", 3): 0}, lately={"3": copies}))
    seen = seen.with_answer(answer(1.0, {("g", 1): 9, ("g", 3): 0}, lately={"3": copies}))
    [row] = [line.split() for line in words(seen, 1.0) if line.split()[:1] == ["3"]]
    assert row == ["3", "arm", "0", "%", "0.00", "%", "12.5", "100.00", "%"]
