"""A soak that cannot be run says so, and is told from one that falls short."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from loadtests.soak import __main__ as soaking


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
