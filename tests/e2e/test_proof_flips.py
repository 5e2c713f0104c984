"""The proof of the flips by itself, a few of them: `make proof-flips` must go on working between releases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_three_flips_under_load() -> None:
    """Every answer was right, at the rate that is promised, and only the last version runs."""
    command = [sys.executable, "-m", "loadtests.flips", "--flips", "3"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   failed (none): 0" in done.stdout
    assert "ok   wrong version (none): 0" in done.stdout
    assert "versions that run at the end (the last): [4]" in done.stdout
