"""What tests of processes share: one that sleeps, whether one runs, and waiting for what must come to hold."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
"""A program that would run for a minute."""


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Whether it comes to hold within that many seconds."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def gone(pid: int) -> bool:
    """Whether no such process runs; a zombie that nobody has reaped runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
