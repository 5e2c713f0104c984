"""Prometheus' own checker, which `scripts/install-system-packages` installs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    """What it complains of; nothing where all is well.

    Args:
        arguments: of the command.
        given: what it reads.
    """
    command = shutil.which("promtool")
    assert command is not None, "there is no promtool: run scripts/install-system-packages"
    done = subprocess.run([command, *map(str, arguments)], input=given, capture_output=True, timeout=60, check=False)
    said = (done.stderr + done.stdout).decode()
    return "" if done.returncode == 0 else said or f"it ended with {done.returncode}"
