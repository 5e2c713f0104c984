"""`sluice loadtest`: it starts the load elsewhere, and hands over where to and what to show there, by no argument."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.loadtests.load.places import MODEL, Gateway, served

_KEY = "sk_0123456789abcdef"


def sluice(folder: Path, *typed: str) -> subprocess.CompletedProcess[str]:
    """The command, in a folder of its own, with a key in its environment."""
    argv = [sys.executable, "-m", "serving.cli", "loadtest", *typed]
    environment = {**os.environ, "SLUICE_KEY": _KEY, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_places_and_key_reach_the_run(tmp_path: Path) -> None:
    """The first request shows the key and the mark; its refusal is the command's sentence and exit code."""
    with served(Gateway(forbids_marks=True)) as gateway:
        done = sluice(tmp_path, MODEL, "--rps", "9", "--gateway", gateway.url, "--url", gateway.url)
    assert done.returncode == 2
    assert "--as-traffic" in done.stderr
    assert _KEY not in done.stdout + done.stderr
    [seen] = gateway.seen
    assert (seen["authorization"], seen["sluice-synthetic"]) == (f"Bearer {_KEY}", "1")


def test_a_key_does_not_go_to_others_as_plain_text(tmp_path: Path) -> None:
    """Nothing is started: the sentence says what to do."""
    done = sluice(tmp_path, MODEL, "--rps", "9", "--gateway", "http://192.0.2.1:8000", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "plain text" in done.stderr
