"""What the users of a worker share: how much feedback was not sent is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.load import room as rooms
from loadtests.load.asking import Heard
from loadtests.load.records import Error, Kind, Row, legible, numbered
from loadtests.load.room import Room, notes_of
from loadtests.load.shapes import steady
from loadtests.load.spec import Place, Spec
from tests.loadtests.load.places import MODEL


def test_feedback_that_was_not_sent_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three answers, room for two, and the run ends before any of them was said: three were not sent."""
    monkeypatch.setattr(rooms, "_MOST_WAITING", 2)
    inputs = ({"name": "x", "datatype": "FP32", "shape": [-1, 2]},)
    room = Room(Spec(MODEL, Place("http://h"), steady(9, 1), {Kind.JSON: 1.0}, tmp_path, inputs, feedback=1.0), 0)
    for nth in range(3):
        room.note(
            Row(numbered(Kind.JSON, nth), 0.0, 0.0, 0.1, 200, Error.NONE, ready=True),
            Heard(200, Error.NONE, request_id="r"),
        )
    assert len(room.unfed) == 2
    room.close()
    assert json.loads(notes_of(tmp_path, 0).read_text())["fed"] == {"not sent": 3}


def test_a_server_s_words_do_nothing_to_a_terminal() -> None:
    """What is not printable is left out, and what is long is cut."""
    assert legible("503 \x1b[31mno\r\n") == "503 [31mno"
    assert len(legible("x" * 10_000)) == 300
