"""`sluice trainer` as a process: it is killed, and knows what it has heard; what it cannot use it says at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from drift.webhooks import signed
from serving.sockets import open_listener, url_of
from tests.serving.processes import REPOSITORY, eventually
from tests.serving.trainer.test_app import SECRET, message

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_NOBODY = "http://127.0.0.1:9"
_PATIENCE_S = 120.0


def command(folder: Path, *words: str) -> list[str]:
    """What is typed."""
    given = {
        "--model": "digits", "--folder": folder / "episodes", "--training": folder / "training.npz",
        "--held": folder / "held.npz", "--labels": folder / "labels.jsonl", "--secret-file": folder / "secret",
        "--gateway": _NOBODY, "--url": _NOBODY,
    }  # fmt: skip
    spread = [str(part) for pair in given.items() for part in pair]
    return [sys.executable, "-m", "serving.cli", "trainer", *spread, *words]


def environment() -> dict[str, str]:
    """That of the command: no settings of ours in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


@contextmanager
def trainer(folder: Path) -> Iterator[str]:
    """One that runs; its address. It is killed at the end."""
    with open_listener("127.0.0.1", 0, "a test", "port") as listener:
        url, handed = url_of(listener, tls=False), listener.fileno()
        words = command(folder, "--socket", str(handed))
        process = subprocess.Popen(words, cwd=folder, env=environment(), pass_fds=(handed,))
        try:
            assert eventually(lambda: lives(url), _PATIENCE_S)
            yield url
        finally:
            process.kill()
            process.wait(10)


def lives(url: str) -> bool:
    """Whether it answers by now."""
    try:
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def deliver(url: str) -> httpx.Response:
    """The answer to a delivery that is signed now."""
    body = message()
    return httpx.post(
        f"{url}/hooks/retrain", content=body, headers=signed([SECRET], "msg_1", time.time(), body), timeout=60
    )


def test_what_was_heard_survives_a_kill(tmp_path: Path) -> None:
    """It is answered once it is on disk; started anew, it is known, and goes on waiting for the control room."""
    (tmp_path / "secret").write_text(SECRET)
    with trainer(tmp_path) as url:
        assert deliver(url).status_code == 202
    with trainer(tmp_path) as url:
        assert deliver(url).status_code == 200

        def words() -> str:
            [episode] = httpx.get(f"{url}/status", timeout=60).json()["episodes"]
            assert (episode["id"], episode["step"]) == ("ep-1", "received")
            return str(episode["words"])

        assert eventually(lambda: words().startswith("waits: nothing answers"), _PATIENCE_S)


@pytest.mark.parametrize(
    ("secret", "words"), [("whsec_short", "no secrets of Standard Webhooks"), (None, "cannot be read")]
)
def test_a_secret_that_is_none_is_said_at_once(tmp_path: Path, secret: str | None, words: str) -> None:
    """In a sentence, with exit code 1; the secret is not repeated."""
    if secret is not None:
        (tmp_path / "secret").write_text(secret)
    done = subprocess.run(
        command(tmp_path, "--port", "0"), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "whsec_short" not in done.stderr


def test_its_help_is_its_own(tmp_path: Path) -> None:
    """Every option is there, wherever nothing runs."""
    argv = [sys.executable, "-m", "serving.cli", "trainer", "--help"]
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True, timeout=120
    )
    for option in ("--training", "--labels", "--secret-file", "--trial", "--fewest"):
        assert option in done.stdout
    assert "default: None" not in done.stdout
    assert done.stderr == ""
