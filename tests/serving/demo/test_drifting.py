"""How the drift demo ends: well only where people's own labels say that the new version is better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.demo import drifting
from serving.demo.people import Answered
from serving.demo.story import Look
from serving.errors import SluiceError
from serving.trainer.diary import Step


class Said:
    """People who got these answers.

    Args:
        rights: by version, whether each answer to a digit askew was right.
    """

    def __init__(self, rights: dict[int, list[bool]]) -> None:
        self._rights = rights

    def answered(self, _since_s: float = 0.0) -> list[Answered]:
        """All of them, and one to an upright digit by each version, which does not count."""
        asked = [Answered(2.0, version, one, turned=True) for version, found in self._rights.items() for one in found]
        return [*asked, *(Answered(1.0, version, right=True, turned=False) for version in self._rights)]


def ended(step: Step, people: Any, tmp_path: Path) -> None:  # noqa: ANN401 - what stands for people
    """Ends a demo whose trainer ended like this."""
    told = drifting._Told(0.0)
    episode = {"id": "ep", "step": step.value, "words": "the reason", "number": 2, "rollout": ""}
    told.hear(replace(Look(5.0, turned=True), episodes=(episode,)))
    drifting._conclude(told, people, tmp_path / "episode.svg")


def test_it_ends_well_where_the_new_version_is_right_more_often(tmp_path: Path, capsys: Any) -> None:  # noqa: ANN401
    """And says both shares, of digits askew alone."""
    ended(Step.PROMOTED, Said({1: [True, False], 2: [True, True]}), tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "version 1 got 50.0% right, and version 2 gets 100.0%" in said


@pytest.mark.parametrize("step", [Step.WENT_BACK, Step.DECLINED, Step.FAILED])
def test_it_ends_badly_where_nothing_was_promoted(step: Step, tmp_path: Path) -> None:
    """With the trainer's reason."""
    with pytest.raises(SluiceError, match=r"did not close: the reason"):
        ended(step, Said({1: [False], 2: [True]}), tmp_path)


def test_a_promotion_that_helps_nobody_is_no_success(tmp_path: Path) -> None:
    """People's labels have the last word."""
    with pytest.raises(SluiceError, match="no better"):
        ended(Step.PROMOTED, Said({1: [True, True], 2: [True, False]}), tmp_path)
    with pytest.raises(SluiceError, match="no better"):
        ended(Step.PROMOTED, Said({1: [False], 2: []}), tmp_path)


def test_lines_come_once_and_the_state_now_and_then() -> None:
    """Where there is no terminal."""
    told = drifting._Told(0.0)
    lines = []
    for second in range(12):
        look = Look(float(second) + 11.0, turned=second >= 3)
        lines.append(list(told.lines(look, told.hear(look))))
    assert [len(one) for one in lines] == [2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
