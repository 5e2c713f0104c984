"""What `sluice up` does without starting anything; the whole of it is started in tests/e2e."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_UP = """
import contextlib, sys
from serving import local
from serving.errors import SluiceError, StartFailed
from serving.settings import Settings

def broken(*_):
    raise {error}

local.running = contextlib.contextmanager(broken)
try:
    local.up(Settings(state_dir=sys.argv[1]), detach=True)
except SluiceError as error:
    print(error.sentence, error.hint)
"""


@pytest.mark.parametrize(
    ("error", "says", "logged"),
    [
        ("ZeroDivisionError('nobody thought of this')", "It ended before it was ready.", "nobody thought of this"),
        ("StartFailed('No port.', 'Name one.')", "No port. Name one.", ""),
        ("KeyboardInterrupt", "It ended before it was ready.", ""),
    ],
)
def test_what_nobody_expected_is_in_the_log_of_the_detached(tmp_path: Path, error: str, says: str, logged: str) -> None:
    """With its traceback, to which the sentence leads; what was expected, or asked for, has none."""
    command = [sys.executable, "-c", _UP.format(error=error), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    log = tmp_path / "up.log"
    assert says in ran.stdout
    assert (str(log) in ran.stdout) == says.startswith("It ended")
    said = log.read_text()
    assert (logged in said, "Traceback (most recent call last)" in said) == (True, bool(logged))
