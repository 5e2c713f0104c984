"""The soak by itself, a minute of it: `make proof-soak` must go on working between releases."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PARTS = (
    "gateway worker 1", "gateway worker 2", "supervisor", "keeper", "control room", "drift sidecar", "Valkey",
)  # fmt: skip


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_minute_of_the_soak(tmp_path: Path) -> None:
    """No request fails and every version is right while rollouts go back and forth; each process has two figures.

    A minute is too short for what fills up at first: memory alone may fall short here.
    """
    page = tmp_path / "soak.html"
    sizes = ("--minutes", "1", "--of", "40%", "--each", "2", "--hold", "2", "--report", str(page))
    command = [sys.executable, "-m", "loadtests.soak", *sizes]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=580)
    told = done.stdout + done.stderr
    short = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert all(": memory gained in " in line for line in short), told
    assert done.returncode == bool(short), told
    assert re.search(r"^version 1 at [\d,]+ a second: kept$", done.stderr, re.MULTILINE), told
    assert re.search(r"^\d+ of 60 s: [\d,]+ requests, 0 failed$", done.stdout, re.MULTILINE), told
    assert re.search(r"^ok   requests that failed, of [\d,]+ \(none\): 0$", done.stdout, re.MULTILINE), told
    assert "ok   answers that the wrong version gave, or nobody named (none): 0; " in done.stdout
    assert "ok   processes that ended meanwhile (none): none" in done.stdout
    for part in PARTS:
        for what in ("memory", "open files"):
            assert f" {part}: {what} gained in " in done.stdout
    report = json.loads(page.with_suffix(".json").read_text())
    assert report["soak"]["good"] is not bool(short)
    assert report["verified"]["epochs"] > 3
    assert set(report["soak"]["held"]) == set(PARTS)
    assert page.read_text().count("<svg") == 8
