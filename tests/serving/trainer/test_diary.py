"""Episodes survive their process: what was kept is there again, whole, and for nobody else to read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from serving.errors import StartFailed
from serving.trainer.diary import ARTIFACT, ENDS, WINDOW, Diary, Episode, Step
from tests.serving.trainer.rooms import EPISODE


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    """In the order in which it was heard, with all that was known of it."""
    diary = Diary(tmp_path / "episodes")
    later = Episode("ep-2", "digits", "labels", None, "", 101.0)
    moved = EPISODE.at(Step.PREPARED, "it is to be version 2", 120.0, number=2, report={"metrics": {"accuracy": 0.9}})
    for one in (later, EPISODE, moved):
        diary.keep(one)
    again = Diary(tmp_path / "episodes")
    assert again.episodes == (moved, later)
    assert again.has("ep-1")
    assert not again.has("ep-3")
    assert (tmp_path / "episodes").stat().st_mode & 0o077 == 0
    assert again.folder_of(moved).stat().st_mode & 0o077 == 0


def test_a_record_that_was_not_finished_changes_nothing(tmp_path: Path) -> None:
    """Killed while it wrote, the trainer finds the record of before."""
    diary = Diary(tmp_path)
    diary.keep(EPISODE)
    (diary.folder_of(EPISODE) / ".episode.json").write_text('{"id": "ep-')
    assert Diary(tmp_path).episodes == (EPISODE,)


def test_a_folder_without_a_record_is_no_episode(tmp_path: Path) -> None:
    """Killed before the record was there, the webhook was not answered: it comes again."""
    Diary(tmp_path)
    (tmp_path / "ep-1").mkdir()
    diary = Diary(tmp_path)
    assert diary.episodes == ()
    diary.keep(EPISODE)
    assert Diary(tmp_path).episodes == (EPISODE,)


@pytest.mark.parametrize("said", ["", "[]", '{"id": "ep-1"}', '{"step": "nowhere"}'])
def test_a_record_that_nobody_can_read_is_said(tmp_path: Path, said: str) -> None:
    """The trainer does not start: it would do things twice."""
    (tmp_path / "ep-1").mkdir()
    (tmp_path / "ep-1" / "episode.json").write_text(said)
    with pytest.raises(StartFailed, match=r"episode\.json cannot be read"):
        Diary(tmp_path)


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("killed", [False, True])
def test_what_came_to_nothing_takes_no_room(tmp_path: Path, step: Step, *, killed: bool) -> None:
    """Rows and artifact go at the end, or on the next start after a kill in between; the record stays."""
    folder = tmp_path / EPISODE.id
    diary = Diary(tmp_path)
    diary.keep(EPISODE)
    (folder / ARTIFACT).mkdir()
    for name in (WINDOW, f".{WINDOW}", f"{ARTIFACT}/model.pt2", "registration.json"):
        (folder / name).write_bytes(b"x")
    ended = EPISODE.at(step, "", 120.0)
    if killed:
        (folder / "episode.json").write_text(json.dumps(asdict(ended)))
        diary = Diary(tmp_path)
    else:
        diary.keep(ended)
    assert diary.episodes == (ended,)
    left = {file.name for file in folder.iterdir()}
    gone = {WINDOW, f".{WINDOW}", ARTIFACT} if step in {Step.WENT_BACK, Step.DECLINED, Step.FAILED} else set()
    assert left == {"episode.json", "registration.json", WINDOW, f".{WINDOW}", ARTIFACT} - gone


def test_only_ends_are_over() -> None:
    """Every other step has a next one."""
    assert {step for step in Step if EPISODE.at(step, "", 0.0).is_over} == ENDS
