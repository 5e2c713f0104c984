"""The proof of rollback by itself: what versions are told, what they note, and what is made of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from loadtests.rollback import figures
from loadtests.rollback.heard import Heard
from loadtests.rollback.room import PAIRED, SINGLE
from loadtests.rollback.scenarios import ALL
from loadtests.rollback.switch import WELL, Noted, Switch
from loadtests.rollback.switched.behaviour import Behaviour, behaviour_in
from loadtests.steady import Answer

FAILS = Behaviour(fails=0.25)
THERE: dict[str, Any] = {"phase": "rolled_back", "stage": "5 %", "cause": "it fails", "waits": [], "candidate": 2}
BEGAN_S = 1_000.0


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    """Of a version without servers."""
    return Switch(tmp_path / "switch")


@pytest.mark.parametrize(
    ("behaviour", "number", "draw", "fate"),
    [
        (WELL, 1, 0.0, "good"),
        (FAILS, 1, 0.24, "failed"),
        (FAILS, 1, 0.25, "good"),
        (Behaviour(slower=1.25), 1, 0.0, "slow"),
        (Behaviour(hangs=True), 1, 0.9, "hung"),
        (Behaviour(crashes_at=100), 99, 0.0, "good"),
        (Behaviour(crashes_at=100), 100, 0.9, "crashed"),
    ],
)
def test_a_behaviour_says_what_becomes_of_each_request(
    behaviour: Behaviour, number: int, draw: float, fate: str
) -> None:
    """By its number where the server is to die, by chance where a share is to fail."""
    assert behaviour.fate(number, draw) == fate


def test_every_server_does_what_the_version_is_told(switch: Switch, tmp_path: Path) -> None:
    """Well before anybody says anything; one server alone where it alone is told, until all are again."""
    folder = tmp_path / "switch"
    assert behaviour_in(folder, 1) == WELL
    switch.all(FAILS)
    switch.one(2, Behaviour(hangs=True))
    assert [behaviour_in(folder, pid) for pid in (1, 2)] == [FAILS, Behaviour(hangs=True)]
    switch.all(WELL)
    assert [behaviour_in(folder, pid) for pid in (1, 2)] == [WELL, WELL]


def test_an_artifact_knows_its_switch(switch: Switch, tmp_path: Path) -> None:
    """It has what Triton needs, and the folder through which it is talked to."""
    artifact = switch.artifact(tmp_path / "artifact")
    assert {one.name for one in artifact.rglob("*") if one.is_file()} == {
        "config.pbtxt", "model.py", "behaviour.py", "switch.txt",
    }  # fmt: skip
    assert (artifact / "1" / "switch.txt").read_text() == str(tmp_path / "switch")


def test_servers_that_are_gone_are_not_up(switch: Switch, tmp_path: Path) -> None:
    """One that was killed could not say so."""
    (tmp_path / "switch" / "up").mkdir()
    for pid in (os.getpid(), 2**22 + 1):  # the second is above what Linux gives
        (tmp_path / "switch" / "up" / str(pid)).touch()
    assert switch.servers() == [os.getpid()]


def test_notes_of_all_servers_are_read_in_order_from_a_time_on(switch: Switch, tmp_path: Path) -> None:
    """What came before is not this scenario's, and a line that is not yet whole is none yet."""
    noted = tmp_path / "switch" / "noted"
    noted.mkdir()
    (noted / "1").write_text("999.0 good\n1003.5 failed\n")
    (noted / "2").write_text("1001.0 good\n1004.")
    assert switch.noted(BEGAN_S) == [Noted(1001.0, "good"), Noted(1003.5, "failed")]


def test_errors_are_blamed_on_the_version_that_they_name() -> None:
    """One that names none may be the candidate's, so it is taken for its."""
    heard = Heard()
    for status, version in ((200, "1"), (200, "2"), (500, "1"), (500, "2"), (0, "")):
        headers = {"sluice-version": version} if version else {}
        heard.hear(Answer(heard.answers, 0.0, 0.1, status, headers, b"why", "lost" if not status else ""))
    assert (heard.answers, heard.good[1], heard.good[2]) == (5, 1, 1)
    assert (heard.errors_of(2), heard.errors.total()) == (2, 3)
    assert heard.told == ["request 2: 500 b'why'", "request 3: 500 b'why'", "request 4: 0 'lost'"]


def test_a_rollback_by_evidence_is_good_in_every_figure() -> None:
    """With its times from the ledger, and from when the version first failed."""
    noted = [Noted(1_001.0, "good"), Noted(1_002.0, "failed"), Noted(1_010.02, "good")]
    story = [_entry("rolled_back", "breach", 1_010.0), _entry("acknowledged", "acknowledged", 1_010.05)]
    told = figures.rolled_back(THERE, story, noted, Heard(answers=3))
    assert all(one.good for one in told), told
    assert [one.value for one in told] == [
        "rolled_back at 5 % (it fails)", "3 (1 failed, 2 good)", "8.0 s", "50 ms", "20 ms", "0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("story", "heard", "falls_short"),
    [
        ([], Heard(), ["it goes back by itself", "milliseconds from the verdict to the last gateway"]),
        (["rolled_back by hand", "acknowledged"], Heard(), ["it goes back by itself"]),
        (["breach"], Heard(), ["milliseconds from the verdict to the last gateway"]),
    ],
)
def test_a_rollback_that_did_not_come_by_itself_or_nowhere_falls_short(
    story: list[str], heard: Heard, falls_short: list[str]
) -> None:
    """Somebody's own rollback proves nothing, and neither does one that gateways were not heard of again."""
    entries = [_entry("acknowledged" if what == "acknowledged" else "rolled_back", what, 1_010.0) for what in story]
    told = figures.rolled_back(THERE, entries, [Noted(1_002.0, "failed")], heard)
    assert [one.name for one in told if not one.good] == falls_short


def test_an_error_that_a_client_saw_falls_short() -> None:
    """One is one too many."""
    heard = Heard()
    heard.hear(Answer(0, 0.0, 0.1, 500, {"sluice-version": "2"}))
    assert not figures.seen_by_clients(heard, 2).good
    assert figures.seen_by_clients(heard, 1).good


def test_every_scenario_has_a_name_of_its_own_and_a_model_that_there_is() -> None:
    """`--only` means one of them."""
    assert len({one.name for one in ALL}) == len(ALL)
    assert {one.model for one in ALL} == {SINGLE, PAIRED}


def _entry(event: str, what: str, at_s: float) -> dict[str, Any]:
    return {"facts": {"event": event, "what": what, "at_s": at_s}}
