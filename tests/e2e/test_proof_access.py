"""The proof of access by itself, with a few keys: `make proof-access` must go on working between releases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_three_keys_and_a_signing_key_under_load() -> None:
    """Three gateways refuse what ended, go on without the issuer, follow its new key, and no request fails."""
    command = [sys.executable, "-m", "loadtests.access", "--keys", "3", "--rate", "100"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   requests let in that were sent after that was answered (none): 0" in done.stdout
    assert "ok   gateways that let in fresh tokens of a known key meanwhile (all): 3 of 3" in done.stdout
    assert "ok   of these failed (none): 0" in done.stdout
