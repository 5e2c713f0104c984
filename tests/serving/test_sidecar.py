"""The drift sidecar beside an installation: its secrets stay its own, it comes back when it dies, and ends with it."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from drift.settings import DriftSettings, Installation, ModelDrift
from serving.sidecar import PAUSES_S, SOUND_S, Sidecar, is_wanted

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
ENDS = (sys.executable, "-c", "print('no port')")
TOLD = Installation(redis_url=SecretStr("redis://:hush@127.0.0.1:1/0"), namespace="here", drift=DriftSettings())


class Clock:
    """Seconds that go forward when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Of this test."""
    return Clock()


@pytest.fixture
def sidecar(tmp_path: Path, clock: Clock) -> Iterator[Sidecar]:
    """One that only sleeps."""
    made = Sidecar(tmp_path / "drift", TOLD, program=SLEEPS, clock=clock)
    yield made
    made.stop()


def until(done: Callable[[], bool]) -> None:
    """Waits for it."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_what_it_is_told_is_nobody_elses(sidecar: Sidecar, tmp_path: Path) -> None:
    """The store's address lies in a file that only we may read, and in no process's arguments."""
    sidecar.start()
    file = tmp_path / "drift" / "sidecar.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["redis_url"] == "redis://:hush@127.0.0.1:1/0"
    assert sidecar.pid is not None
    assert b"hush" not in Path(f"/proc/{sidecar.pid}/cmdline").read_bytes()
    assert Installation.model_validate_json(file.read_bytes()) == TOLD


def test_it_comes_back_when_it_dies(sidecar: Sidecar, clock: Clock) -> None:
    """At once where it had lived for a while; one that lives is left alone."""
    sidecar.start()
    first = sidecar.pid
    assert first is not None
    assert not sidecar.ensure_running()
    clock.now_s += SOUND_S
    os.kill(first, signal.SIGKILL)
    until(lambda: sidecar.pid is None)
    assert sidecar.ensure_running()
    assert sidecar.pid not in (None, first)


def test_one_that_does_not_start_is_tried_after_growing_pauses(tmp_path: Path, clock: Clock) -> None:
    """And what it said is in its log."""
    made = Sidecar(tmp_path / "drift", TOLD, program=ENDS, clock=clock)
    made.start()
    for pause_s in (*PAUSES_S[1:], PAUSES_S[-1]):
        until(lambda: made.pid is None)
        assert not made.ensure_running()
        clock.now_s += pause_s - 0.5
        assert not made.ensure_running()
        clock.now_s += 0.5
        assert made.ensure_running()
    until(lambda: "no port" in made.log.read_text())
    made.stop()


def test_it_ends_with_us(sidecar: Sidecar) -> None:
    """Stopping it twice is harmless."""
    sidecar.start()
    pid = sidecar.pid
    sidecar.stop()
    sidecar.stop()
    assert sidecar.pid is None
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()


def test_it_runs_where_something_is_to_be_watched() -> None:
    """All models, or one of them."""
    assert is_wanted(DriftSettings())
    assert not is_wanted(DriftSettings(enabled=False))
    assert is_wanted(DriftSettings(enabled=False, models=(ModelDrift(name="digits", enabled=True),)))
