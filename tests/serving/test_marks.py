"""Marked processes are found by the whole mark or by its beginning, and nobody else is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from serving import marks, sweeper
from serving.triton import guard
from tests.serving.processes import SLEEPER

VARIABLE = "SLUICE_TEST_MARK"


@pytest.fixture
def marked() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes that carry these marks."""
    started = {
        mark: subprocess.Popen(SLEEPER, env={**os.environ, VARIABLE: mark}, start_new_session=True)
        for mark in ("run-7", "run-77", "another")
    }
    yield started
    for process in started.values():
        process.kill()
        process.wait()


def test_a_mark_is_found_as_a_whole_or_by_its_beginning(marked: dict[str, subprocess.Popen[bytes]]) -> None:
    """A mark that begins like another one is another's."""
    assert marks.carriers(marks.entry(VARIABLE, "run-7")) == [marked["run-7"].pid]
    both = {marked["run-7"].pid, marked["run-77"].pid}
    assert set(marks.carriers(marks.beginning(VARIABLE, "run-7"))) == both
    assert marks.carriers(marks.beginning(VARIABLE[1:], "run-7")) == []


def test_what_ends_marked_processes_gives_up_in_time(marked: dict[str, subprocess.Popen[bytes]]) -> None:
    """Before the grace is over nothing is killed, and after the limit nobody waits any more."""
    marks.end(marks.entry(VARIABLE, "run-7"), grace_s=60.0, limit_s=0.1)
    assert marked["run-7"].poll() is None
    marks.end(marks.entry(VARIABLE, "run-7"))
    assert marked["run-7"].wait() < 0
    assert marked["run-77"].poll() is None


def test_nobody_is_found_by_its_own_search() -> None:
    """A process that carries the mark that it looks for does not end itself."""
    code = f"from serving import marks; print(marks.carriers(marks.entry({VARIABLE!r}, 'own')))"
    environment = {**os.environ, VARIABLE: "own"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("module", [sweeper.__name__, guard.__name__])
def test_what_runs_alone_needs_the_standard_library_and_little_of_ours(module: str) -> None:
    """It is started without site-packages, so nothing that is installed there may be missing from it."""
    telling = "import sys; print(*(one for one in sys.modules if one.split('.')[0] == 'serving'))"
    isolated, code = marks.alone(module)[:4], marks.alone(module)[4].replace(".main(sys.argv[3:])", f"; {telling}")
    command = [*isolated, code, *marks.alone(module)[5:]]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    own = {"serving", "serving.marks", "serving.sweeper", "serving.triton"}
    assert set(said) <= {*own, "serving.triton.guard", "serving.triton.scratch"}
    assert module in said
