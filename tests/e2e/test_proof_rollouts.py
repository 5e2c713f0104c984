"""The proof of the rollouts by itself, a small one: `make proof-rollouts` must go on working between releases."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SIZES = ("--changes", "10", "--rollbacks", "4", "--flips", "2", "--answers", "4000", "--rate", "100")
RIGHT = (
    "answers by an older epoch than all had acknowledged (none): 0",
    "requests that failed (none): 0",
    "answers in the wrong place (none): 0",
    "answers that stable gave for a failed candidate (none): 0",
)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_small_proof_of_the_rollouts() -> None:
    """Nothing failed, nothing was wrong, and each time has its line; on a slow machine only a time may fall short."""
    command = [sys.executable, "-m", "loadtests.rollouts", *SIZES, "--verify-rate", "300"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=580)
    lines = done.stdout.splitlines()
    told = done.stdout + done.stderr
    assert [one for one in RIGHT if f"ok   {one}" not in lines] == [], told
    judged = r"ok   answers judged \(at least 4,000\): [\d,]+ from \d+ epochs"
    assert any(re.fullmatch(judged, line) for line in lines), told
    late = [line for line in lines if line.startswith("FAIL")]
    assert all("at most" in line and line.endswith(" ms") for line in late), told
    assert done.returncode == bool(late), told
    timed = [line for line in lines if re.search(r": \d+\.\d ms$", line)]
    assert len(timed) == 6, told
