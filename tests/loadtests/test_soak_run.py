"""How a soak ends: one that cannot be run says so, and is told from one that falls short, which has its report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.installation import Failed, Installation
from loadtests.soak import __main__ as soaking
from loadtests.soak.figures import Soak
from tests.loadtests.test_soak import soaked


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (subprocess.TimeoutExpired("sluice", 900), "timed out"), (psutil.NoSuchProcess(1), "process"),
        (KeyError("rps"), "KeyError('rps')"), (ValueError("no number"), "no number"), (OSError(), "OSError()"),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_a_run_that_could_not_be_made(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that hangs, a process that is gone, an answer of another form: 2, with a sentence, and no page."""

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(soaking, "installation", fails)
    assert soaking.main(["--report", str(tmp_path / "soak.html")]) == 2
    said = capsys.readouterr().out
    assert said.startswith("error: ")
    assert words in said
    assert not list(tmp_path.iterdir())


def ran(soak: Soak, monkeypatch: pytest.MonkeyPatch, *typed: str, ends: str = "") -> int:
    """What a run that measured this exits with; its installation may refuse to end."""

    @contextmanager
    def up(folder: Path, _: object) -> Iterator[Installation]:
        yield Installation("http://h", "http://h", folder, 0)
        if ends:
            raise Failed(ends)

    for name, instead in (("installation", up), ("_prepare", lambda _: None), ("_soaked", lambda *_: soak)):
        monkeypatch.setattr(soaking, name, instead)
    return soaking.main(typed)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [({}, 0), ({"memory": "late"}, 1), ({"files": "steadily"}, 1), ({"failed": 1}, 1), ({"failed": 20}, 1)],
)
def test_a_run_that_falls_short_has_its_report(
    wrong: dict[str, Any],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With all plots, though not one request was answered; every figure is printed, and the exit code says it."""
    page = tmp_path / "soak.html"
    assert ran(soaked(tmp_path / "rows", **wrong), monkeypatch, "--report", str(page)) == code
    told = capsys.readouterr().out
    assert ("\nFAIL " in told) is bool(code)
    assert told.endswith(f"report: {page}, {page.with_suffix('.json')}\n")
    assert page.read_text().count("<svg") == 8
    report = json.loads(page.with_suffix(".json").read_text())["soak"]
    assert report["good"] is not bool(code)
    assert all(f"{one['name']}: {one['value']}\n" in told for one in report["figures"])


def test_an_installation_that_does_not_end_takes_no_figures_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are printed and written before; the run is not good all the same."""
    page = tmp_path / "soak.html"
    code = ran(soaked(tmp_path / "rows"), monkeypatch, "--report", str(page), ends="it did not end")
    told = capsys.readouterr().out
    assert code == 2
    assert "\nok   requests that failed" in told
    assert told.endswith("error: it did not end\n")
    assert page.exists()


@pytest.mark.parametrize("tells", [False, True])
def test_a_command_that_fails_is_told(
    *, tells: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In its own words, which were shown under way where it tells what it does."""
    command = tmp_path / "sluice"
    command.write_text("#!/bin/sh\necho 'no rate kept the objectives' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(Failed, match=r"^`sluice loadtest capacity` ended with 1: ") as failed:
        soaking._sluice(Installation("http://h", "http://h", tmp_path, 0), "loadtest", "capacity", tells=tells)
    assert str(failed.value).endswith("why is above" if tells else "no rate kept the objectives")
    assert ("no rate kept" in capfd.readouterr().err) is tells
