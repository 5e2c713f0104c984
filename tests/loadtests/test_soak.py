"""The soak by itself: what grows is found, whatever lies over it, in numbers and in real processes; a page shows it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.installation import Failed, Installation
from loadtests.load.results import results_of
from loadtests.load.summary import Outcome
from loadtests.load.verified import Event, verified
from loadtests.soak import __main__ as soaking
from loadtests.soak import figures as said
from loadtests.soak import growth, held, report
from loadtests.soak.figures import MIB, Soak, figures
from loadtests.soak.growth import MOST_POINTS, Growth
from loadtests.soak.held import PARTS, WORKER, Watch
from loadtests.soak.rolling import BackAndForth
from router.codec import policy_as_dict
from router.policy import Policy
from tests.browser import coloured, seen
from tests.examples import examples
from tests.loadtests.load.looked_at import marks_events, plots_of
from tests.loadtests.load.places import EPOCH, MODEL
from tests.loadtests.load.test_results import SPEC, row, rows_of

# Growth.


@settings(max_examples=examples(60))
@given(
    st.floats(-1e3, 1e3), st.floats(-1e6, 1e6), st.floats(0, 1), st.integers(0, 2**32), st.integers(30, 200),
)  # fmt: skip
def test_a_line_is_found_under_whatever_lies_over_it(
    slope: float, level: float, noise: float, seed: int, count: int
) -> None:
    """A quarter of the values is anything at all, the others lie within the noise: so does what was gained, nearly."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(count, dtype=np.float64)
    values = level + slope * at_s + rng.uniform(-noise, noise, count)
    values[rng.choice(count, count // 8, replace=False)] = rng.uniform(-1e9, 1e9)
    found = growth.growth(at_s.tolist(), values.tolist(), 0.0)
    assert found.seconds == count - 1
    assert abs(found.gained - slope * (count - 1)) <= 8 * noise + 1e-3


@settings(max_examples=examples(60))
@given(st.lists(st.floats(-1e6, 1e6), min_size=12, max_size=60), st.floats(0.5, 5))
def test_what_is_added_to_all_adds_nothing(values: list[float], by: float) -> None:
    """Only the rise counts, and a faster clock sees it in less time."""
    at_s = [float(nth) for nth in range(len(values))]
    before = growth.growth(at_s, values, 0.0)
    after = growth.growth([by * at for at in at_s], [value + 1e6 for value in values], 0.0)
    assert after.gained == pytest.approx(before.gained, rel=1e-6, abs=1e-3)
    assert after.seconds == pytest.approx(by * before.seconds)


def test_the_warm_up_and_what_could_not_be_measured_are_left_out() -> None:
    """A process that took all its memory in the first quarter, and was once asked in vain."""
    values = [float(min(nth, 25)) for nth in range(100)]
    values[60] = math.nan
    found = growth.growth([float(nth) for nth in range(100)], values, 25.0)
    assert (found.gained, found.level, found.seconds) == (0.0, 25.0, 74.0)


def test_too_few_values_are_no_growth_and_no_calm() -> None:
    """A figure of them is not good."""
    found = growth.growth([0.0, 1.0], [5.0, 5.0], 0.0)
    assert math.isnan(found.gained)
    assert not said.memory("keeper", found).good
    assert not said.files("keeper", growth.growth([], [], 0.0)).good


def test_many_values_are_thinned() -> None:
    """A day of seconds has too many pairs; its line is the same."""
    at_s = np.arange(100 * MOST_POINTS, dtype=np.float64)
    assert growth.growth(at_s.tolist(), (3 * at_s).tolist(), 0.0).gained == pytest.approx(3 * (len(at_s) - 1))


@pytest.mark.parametrize(
    ("level", "gained", "good"),
    [(50, 7.9, True), (50, 8.1, False), (1_000, 29, True), (1_000, 31, False), (50, -20, True)],
)
def test_the_bound_on_memory(level: float, gained: float, good: bool) -> None:  # noqa: FBT001 - a parameter
    """Eight MiB, or three hundredths where a process holds more than a quarter of a GiB; less is never too much."""
    assert said.memory("keeper", Growth(level * MIB, gained * MIB, 450.0)).good is good


def test_the_store_may_fill_up() -> None:
    """What it keeps is bounded, and not full after ten minutes; that it grows without end shows all the same."""
    assert said.memory("Valkey", Growth(17 * MIB, 63 * MIB, 450.0)).good
    assert not said.memory("Valkey", Growth(17 * MIB, 65 * MIB, 450.0)).good


@pytest.mark.parametrize(
    ("level", "gained", "good"), [(40, 8, True), (40, 8.5, False), (100, 15, True), (100, 16, False)]
)
def test_the_bound_on_files(level: float, gained: float, good: bool) -> None:  # noqa: FBT001 - a parameter
    """Eight, or three of twenty where a process has more than fifty open: connections come and go."""
    assert said.files("Valkey", Growth(level, gained, 450.0)).good is good


# Real processes.

LEAKS = """
import os, sys, time
kept = []
print("ready", flush=True)
while True:
    kept.append(bytearray(os.urandom(500_000)) if sys.argv[1] == "memory" else open(os.devnull))
    time.sleep(0.02)
"""
SLEEPS = "import time; time.sleep(600)"
CALM = f"print('ready', flush=True); {SLEEPS}"


@contextmanager
def running(program: str, *words: str) -> Iterator[psutil.Process]:
    """A Python that runs this, and has begun to."""
    process = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def measured(watch: Watch, count: int) -> None:
    """Waits until it has measured so often."""
    deadline = time.monotonic() + 60
    while len(watch.at_s) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_that_leak_are_told_from_one_that_does_not() -> None:
    """One takes memory, one opens files, one does neither: two figures are not good."""
    with (
        running(LEAKS, "memory") as memory,
        running(LEAKS, "files") as files,
        running(CALM) as calm,
        Watch({"memory": memory, "files": files, "calm": calm}, 0.02) as watch,
    ):
        measured(watch, 60)
    found = {
        (name, how.__name__)
        for name in watch.memory
        for how, values in ((said.memory, watch.memory), (said.files, watch.files))
        if not how(name, growth.growth(watch.at_s, values[name], watch.at_s[5])).good
    }
    assert found == {("memory", "memory"), ("files", "files")}
    assert watch.ended == {}


def test_a_process_that_ends_is_told() -> None:
    """With when; from then on there is nothing to be measured of it."""
    with running(CALM) as process, Watch({"keeper": process}, 0.01) as watch:
        measured(watch, 3)
        process.kill()
        deadline = time.monotonic() + 60
        while not watch.ended:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert list(watch.ended) == ["keeper"]
    assert watch.ended["keeper"] in watch.at_s
    assert math.isfinite(watch.memory["keeper"][0])
    assert math.isnan(watch.memory["keeper"][-1])


def test_parts_are_found_by_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below whoever started them; workers are numbered, and one that is missing is named."""
    parts = [words for part, words in PARTS.items() for _ in range(2 if part == WORKER else 1)]
    program = f"""
import subprocess, sys
started = [subprocess.Popen([sys.executable, "-c", {SLEEPS!r}, *words.split()]) for words in {parts!r}]
print("ready", flush=True)
started[0].wait()
"""
    with running(program) as above:
        found = held.processes(above.pid, 2)
        assert list(found) == ["gateway worker 1", "gateway worker 2", *(part for part in PARTS if part != WORKER)]
        assert len({one.pid for one in found.values()}) == len(parts)
        monkeypatch.setattr(held, "_COMES_WITHIN_S", 0.0)
        with pytest.raises(Failed, match=r"3 gateway workers .* there is gateway worker \(\d+\)"):
            held.processes(above.pid, 3)
        for one in found.values():
            one.kill()


def test_a_rollout_that_fails_is_told_and_ends_nothing(tmp_path: Path) -> None:
    """Nobody is at the API: what was measured meanwhile is still there for a report."""
    with BackAndForth(Installation("http://127.0.0.1:1", "http://127.0.0.1:1", tmp_path, 0), 0.01) as rolled:
        rolled._thread.join(60)
    assert (rolled.rollouts, rolled.changes) == (0, 0)
    assert rolled.failed


# What is made of it.


def soaked(folder: Path, *, grows: bool = False, failed: int = 0) -> Soak:
    """A run of two seconds in which a worker may grow by a hundred MiB, and requests may have been lost."""
    rows = rows_of(folder, [row(nth) for nth in range(20 - failed)])
    policy = policy_as_dict(Policy(1))
    entries = [{"at_ms": 500, "kind": "rollout", "facts": {"model": MODEL, "epoch": EPOCH, "policy": policy}}]
    outcome = Outcome(
        SPEC, 0.0, results_of(SPEC, rows), verified=verified(SPEC, rows, entries), events=(Event(0.5, "rollout"),)
    )  # fmt: skip
    watch = Watch({"gateway worker 1": psutil.Process(), "Valkey": psutil.Process()}, 1.0)
    watch.at_s = [nth / 20 - 0.5 for nth in range(60)]
    for name in watch.memory:
        leaks = grows and name != "Valkey"
        watch.memory[name] = [(40 + (nth if leaks else nth % 2)) * MIB for nth in range(60)]
        watch.files[name] = [20.0] * 60
    rolled = BackAndForth(Installation("http://h", "http://h", folder, 0), 1.0)
    rolled.rollouts, rolled.changes = 3, 9
    return Soak(100.0, True, "p99=50ms", 0.7, outcome, rolled, watch)


def test_a_run_in_which_nothing_is_wrong_is_good(tmp_path: Path) -> None:
    """In every figure; each process has two."""
    found = figures(soaked(tmp_path))
    assert [one.name for one in found if not one.good] == []
    assert found[0].value == "at least 100 requests a second"
    assert sum("by a robust line" in one.name for one in found) == 4


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"grows": True}, ["gateway worker 1: memory gained"]),
        ({"failed": 2}, ["requests that failed", "what the load test has against"]),
    ],
)
def test_what_is_wrong_is_no_good_figure(tmp_path: Path, wrong: dict[str, Any], names: list[str]) -> None:
    """And no other is."""
    bad = [one.name for one in figures(soaked(tmp_path, **wrong)) if not one.good]
    assert len(bad) == len(names)
    assert all(one.startswith(name) for one, name in zip(bad, names, strict=True))


def test_a_process_that_ended_or_a_rollout_that_never_was_is_no_good_run(tmp_path: Path) -> None:
    """Whatever was measured until then."""
    soak = soaked(tmp_path)
    soak.watch.ended["Valkey"] = 1.0
    soak.rolled.changes, soak.rolled.failed = 0, "it is gone"
    bad = [(one.name, one.value) for one in figures(soak) if not one.good]
    assert bad == [
        ("rollouts to the candidate and back (at least 1)", "3, with 0 shares set; then one failed: it is gone"),
        ("processes that ended meanwhile (none)", "Valkey after 1 s"),
    ]


def test_the_json_has_all_that_was_measured(tmp_path: Path) -> None:
    """What could not be is null: NaN is no JSON."""
    soak = soaked(tmp_path)
    soak.watch.memory["Valkey"][-1] = math.nan
    text = json.dumps(report.plain(soak, figures(soak)), allow_nan=False)
    found = json.loads(text)
    assert (found["model"], found["soak"]["good"], found["soak"]["warm_at_s"]) == (MODEL, True, 0.5)
    assert found["soak"]["held"]["Valkey"]["memory_bytes"][-1] is None
    assert len(found["soak"]["at_s"]) == len(found["soak"]["held"]["Valkey"]["open_files"]) == 60


@pytest.mark.slow
def test_the_page_shows_it(tmp_path: Path) -> None:
    """The load test's four plots, and memory and open files of the gateway and of what is beside it, with the event."""
    soak = soaked(tmp_path, grows=True)
    found = figures(soak)
    file = tmp_path / "soak.html"
    file.write_text(report.page(soak, found), encoding="utf-8")
    shown = seen(file, tmp_path / "soak.png")
    for one in found:
        assert " ".join(f"{'ok' if one.good else 'FAIL'} {one.name} {one.value}".split()) in shown.text
    assert "Not good: gateway worker 1: memory gained" in shown.text
    plots = plots_of(shown, 8)
    marks_events(shown, plots, report.plain(soak, found))
    assert all(coloured(shown.within(one), "#0072b2") > 200 for one in plots[4:])


@pytest.mark.parametrize(
    "typed",
    [["--minutes", "0"], ["--of", "70"], ["--of", "0%"], ["--each", "0"], ["--hold", "-1"], ["--report", "soak.json"]],
)
def test_what_makes_no_sense_is_refused(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence, before anything is started."""
    with pytest.raises(SystemExit) as ended:
        soaking.main(typed)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
