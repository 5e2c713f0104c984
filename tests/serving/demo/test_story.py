"""The drift demo says what is new and once, at a terminal and without one, and draws what it has seen."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

from rich.console import Console

from serving.demo.people import Answered
from serving.demo.picture import drawn
from serving.demo.story import Arm, Event, Look, arms_of, events_of, line, progress_line, screen
from serving.trainer.diary import Step

CALM = Look(
    100.0, turned=False, asked=900, arms=(Arm(1, 1_000_000, 570, 600),), evidence={"univariate": (0.4, 15.0)},
    windows=15,
)  # fmt: skip
ASKEW = replace(CALM, at_s=101.0, turned=True)
FOUND = replace(ASKEW, at_s=110.0, findings={"1-0": "digits version 1, univariate: pixels[20] moved by 0.4"})


def with_episode(look: Look, step: Step, words: str = "", **more: Any) -> Look:  # noqa: ANN401 - fields of a look
    """The same, with one episode at that step."""
    said = {"id": "ep_0123456789abcdef", "step": step.value, "words": words, "number": 2, "rollout": ""}
    return replace(look, at_s=look.at_s + 1, episodes=(said,), **more)


def told(*looks: Look) -> list[str]:
    """All that is new, in words."""
    pairs = zip((None, *looks), looks, strict=False)
    return [one.words for before, after in pairs for one in events_of(before, after)]


def test_everything_is_told_once() -> None:
    """Shift, finding, webhook, each step, the rollout's stages; a second look at the same says nothing."""
    heard = with_episode(FOUND, Step.RECEIVED)
    better = with_episode(heard, Step.TRAINED, "new rows: 48 % before, 93 % after")
    rolling = with_episode(better, Step.ROLLING, "it has begun", rollout="running, stage 1 of 4")
    later = replace(rolling, at_s=140.0, rollout="running, stage 2 of 4")
    assert told(CALM, CALM, ASKEW, FOUND, FOUND, heard, better, rolling, rolling, later) == [
        "calm",
        "the camera is knocked over: digits are askew from now on",
        "found: digits version 1, univariate: pixels[20] moved by 0.4",
        "the trainer has heard drift.retrain, episode ep_012345678",
        "trainer: trained: new rows: 48 % before, 93 % after",
        "trainer: rolling: it has begun",
        "rollout: running, stage 1 of 4",
        "rollout: running, stage 2 of 4",
    ]


def test_a_step_that_no_look_saw_is_drawn_with_the_next() -> None:
    """And an end without a promotion is no promotion."""
    marks = {
        (before, after): [one.mark for one in events_of(with_episode(FOUND, before), with_episode(FOUND, after))]
        for before, after in (
            (Step.PREPARED, Step.WATCHED), (Step.WATCHED, Step.DEPLOYED), (Step.ROLLING, Step.PROMOTED),
            (Step.ROLLING, Step.WENT_BACK), (Step.FETCHED, Step.DECLINED), (Step.TRAINED, Step.FAILED),
        )
    }  # fmt: skip
    assert list(marks.values()) == [["registered"], [""], ["promoted"], [""], [""], [""]]


def test_trouble_is_told_when_it_comes() -> None:
    """And again only when it is another one."""
    away = replace(CALM, trouble="nothing answers")
    assert told(CALM, away, away, CALM, away) == ["calm", "trouble: nothing answers", "trouble: nothing answers"]


def test_it_is_over_when_the_trainer_is() -> None:
    """Well where the version is promoted, otherwise not."""
    ends = {step: with_episode(FOUND, step) for step in Step}
    assert {step for step, look in ends.items() if look.is_over} == {
        Step.PROMOTED, Step.WENT_BACK, Step.DECLINED, Step.FAILED
    }  # fmt: skip
    assert [step for step, look in ends.items() if look.is_promoted] == [Step.PROMOTED]
    assert not FOUND.is_over


def test_arms_are_versions_with_traffic_or_answers() -> None:
    """One with a share of nothing and no answer lately is none of them; one without a share but with answers is."""
    answered = [Answered(1.0, 1, right, turned=True) for right in (True, True, False)] + [
        Answered(1.0, 3, right=False, turned=True)
    ]
    assert arms_of({1: 900_000, 2: 100_000, 4: 0}, answered) == (
        Arm(1, 900_000, 2, 3), Arm(2, 100_000, 0, 0), Arm(3, 0, 0, 1)
    )  # fmt: skip


def test_the_screen_and_the_line_show_the_same() -> None:
    """Versions with shares and right answers, evidence beside what it takes, and what happened, with its time."""
    event = Event(165.0, "found: pixels[20] moved")
    text = io.StringIO()
    Console(file=text, width=120).print(screen(FOUND, [event], 100.0))
    for words in ("900 requests", "digits askew", "95.0%", "0.4 / 15.0", "1:05  found: pixels[20] moved"):
        assert words in text.getvalue()
    assert line(event, 100.0) == " 1:05  found: pixels[20] moved"
    said = progress_line(FOUND, 100.0)
    assert said == " 0:10  900 requests, 15 windows, evidence 3% of an alarm; right lately: version 1 100 %: 95.0%"


def test_the_picture_shows_every_version_layer_and_mark() -> None:
    """Well-formed SVG, with whatever names come, and with one look as well."""
    more = replace(FOUND, arms=(Arm(1, 500_000, 1, 2), Arm(2, 500_000, 2, 2)), evidence={"<b>": (20.0, 15.0)})
    text = drawn([CALM, ASKEW, more], [Event(101.0, "", "digits & askew"), Event(102.0, "not drawn")], "an <episode>")
    root = ET.fromstring(text)  # noqa: S314 - our own
    words = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    for said in ("version 1", "version 2", "univariate", "<b>", "digits & askew", "an <episode>", "0:00"):
        assert said in words
    assert "not drawn" not in words
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 6
    points = [
        float(part) for one in root.iter("{http://www.w3.org/2000/svg}polyline")
        for pair in (one.get("points") or "").split() for part in pair.split(",")
    ]  # fmt: skip
    assert all(0 <= one <= 900 for one in points)
    ET.fromstring(drawn([CALM], [], "one look"))  # noqa: S314 - our own
