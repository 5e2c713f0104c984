"""The soak by itself: what grows is found, whatever lies over it, in numbers and in real processes; a page shows it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loadtests.installation import Failed, Installation
from loadtests.load.records import Said
from loadtests.load.results import results_of
from loadtests.load.running import Died
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
@given(st.lists(st.floats(-1e6, 1e6), min_size=30, max_size=60), st.floats(0.5, 5))
def test_what_is_added_to_all_adds_nothing(values: list[float], by: float) -> None:
    """Only the rise counts, and a faster clock sees it in less time."""
    at_s = [float(nth) for nth in range(len(values))]
    before = growth.growth(at_s, values, 0.0)
    after = growth.growth([by * at for at in at_s], [value + 1e6 for value in values], 0.0)
    assert after.gained == pytest.approx(before.gained, rel=1e-6, abs=1e-3)
    assert after.late == pytest.approx(before.late, rel=1e-6, abs=1e-3)
    assert after.seconds == pytest.approx(by * before.seconds)


def test_the_warm_up_and_what_could_not_be_measured_are_left_out() -> None:
    """A process that took all its memory in the first quarter, and was once asked in vain."""
    values = [float(min(nth, 25)) for nth in range(100)]
    values[60] = math.nan
    found = growth.growth([float(nth) for nth in range(100)], values, 25.0)
    assert found == Growth(25.0, 0.0, 0.0, 74.0)


def test_what_comes_after_the_load_is_left_out() -> None:
    """Connections close and memory is freed while the answers are judged, as long as that takes."""
    values = [float(nth if nth <= 60 else 0) for nth in range(100)]
    at_s = [float(nth) for nth in range(100)]
    assert growth.growth(at_s, values, 0.0, 60.0) == Growth(30.0, 60.0, 48.0, 60.0)
    assert growth.growth(at_s, values, 0.0).late < 0


SOAK = 450
"""Values from when it is warm, one a second; a tenth has 45."""


def after(values: NDArray[np.float64]) -> Growth:
    """What such a soak says."""
    return growth.growth([float(nth) for nth in range(len(values))], values.tolist(), 0.0)


def noise(seed: int) -> NDArray[np.float64]:
    """A process at 100 MiB that holds up to half a MiB more or less from one second to the next."""
    return 100 * MIB + np.random.default_rng(seed).uniform(-MIB / 2, MIB / 2, SOAK)


@settings(max_examples=examples(60))
@given(st.floats(0.75, 0.94), st.floats(10, 1e4), st.integers(0, 2**32))
def test_a_late_step_is_seen(begins: float, mib: float, seed: int) -> None:
    """Nothing moves for three quarters of the time or more, then it holds more and keeps it: the line stays level."""
    values = noise(seed)
    values[int(begins * SOAK) :] += mib * MIB
    found = after(values)
    assert found.late == pytest.approx(mib * MIB, abs=MIB)
    assert said.memory("keeper", replace(found, late=0.0)).good
    assert not said.memory("keeper", found).good


@settings(max_examples=examples(60))
@given(st.floats(0.75, 0.85), st.floats(30, 1e4), st.integers(0, 2**32))
def test_a_late_ramp_is_seen(begins: float, mib: float, seed: int) -> None:
    """Something leaks from three quarters of the time on or later: the line says nothing of it."""
    values = noise(seed)
    at = np.arange(SOAK) / SOAK
    values += np.clip((at - begins) / (1 - begins), 0, None) * mib * MIB
    found = after(values)
    assert found.late >= 0.6 * mib * MIB - MIB
    assert said.memory("keeper", replace(found, late=0.0)).good
    assert not said.memory("keeper", found).good


@settings(max_examples=examples(60))
@given(st.floats(0, 1), st.floats(0, 1e4), st.integers(0, 2**32))
def test_an_early_warm_up_is_no_late_growth(ends: float, mib: float, seed: int) -> None:
    """It takes up to two tenths longer than it should, evenly or at once."""
    last = int(ends * SOAK / 10)
    ramp = np.minimum(np.arange(SOAK) / max(1, last), 1.0)
    for shape in (ramp, (np.arange(SOAK) >= last).astype(np.float64)):
        found = after(noise(seed) + shape * mib * MIB)
        assert found.late <= MIB
        assert found.gained <= MIB


@settings(max_examples=examples(60))
@given(st.floats(2, 90), st.floats(0, 1), st.floats(0, 15), st.integers(0, 2**32))
@example(90.0, 0.0, 15.0, 0)  # at its foot in the first tenth, at its height in the last
def test_a_saw_tooth_is_no_growth(period: float, phase: float, mib: float, seed: int) -> None:
    """A heap between two collections, connections between two bursts: where two tenths hold a tooth."""
    teeth = (np.arange(SOAK) / period + phase) % 1.0
    found = after(noise(seed) + teeth * mib * MIB)
    assert found.late <= 0.3 * mib * MIB + MIB
    assert said.memory("keeper", found).good


@settings(max_examples=examples(60))
@given(st.lists(st.floats(-1e9, 1e9), max_size=22), st.integers(0, 2**32))
def test_outliers_at_the_end_are_no_late_growth(last: list[float], seed: int) -> None:
    """One, or as many as make less than half a tenth: a snapshot of the store, an answer that was large."""
    values = noise(seed)
    values[SOAK - len(last) :] += np.array(last) * MIB
    found = after(values)
    assert abs(found.late) <= MIB
    assert abs(found.gained) <= MIB


def test_too_few_values_are_no_growth_and_no_calm() -> None:
    """A figure of them is not good."""
    found = growth.growth([float(nth) for nth in range(29)], [5.0] * 29, 0.0)
    assert math.isnan(found.gained)
    assert math.isnan(found.late)
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
    """Eight MiB, or three hundredths where a process holds more than a quarter of a GiB, gained steadily or late."""
    assert said.memory("keeper", Growth(level * MIB, gained * MIB, 0.0, 450.0)).good is good
    assert said.memory("keeper", Growth(level * MIB, 0.0, gained * MIB, 450.0)).good is good


def test_the_store_may_fill_up() -> None:
    """What it keeps is bounded, and not full after ten minutes; that it grows without end shows all the same."""
    assert said.memory("Valkey", Growth(17 * MIB, 63 * MIB, 63 * MIB, 450.0)).good
    assert not said.memory("Valkey", Growth(17 * MIB, 65 * MIB, 0.0, 450.0)).good
    assert not said.memory("Valkey", Growth(17 * MIB, 0.0, 65 * MIB, 450.0)).good


@pytest.mark.parametrize(
    ("level", "gained", "good"), [(40, 8, True), (40, 8.5, False), (100, 15, True), (100, 16, False)]
)
def test_the_bound_on_files(level: float, gained: float, good: bool) -> None:  # noqa: FBT001 - a parameter
    """Eight, or three of twenty where a process has more than fifty open: connections come and go."""
    assert said.files("Valkey", Growth(level, gained, 0.0, 450.0)).good is good
    assert said.files("Valkey", Growth(level, 0.0, gained, 450.0)).good is good


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
    assert (rolled.back_s, rolled.changes) == ([], 0)
    assert rolled.failed


# What is made of it.

CANDIDATE = Said("2", "stable", str(EPOCH + 1))
"""What an answer says from when the candidate has taken over."""

GROWS: dict[str, Callable[[float], float]] = {
    "": lambda nth: nth % 2, "steadily": lambda nth: nth, "late": lambda nth: nth % 2 + 9 * (nth > 45),
}  # fmt: skip
"""What a process holds at the nth look of sixty, MiB; from the 20th to the 50th it is judged."""


def soaked(folder: Path, *, memory: str = "", files: str = "", failed: int = 0, candidate: Said = CANDIDATE) -> Soak:
    """A run of two seconds in which a worker may grow, and requests may have been lost; half go to the candidate."""
    rows = rows_of(folder, [row(nth) if nth % 2 else row(nth)._replace(said=candidate) for nth in range(20 - failed)])
    entries = [
        {"at_ms": 500, "kind": "rollout", "facts": {"model": MODEL, "epoch": epoch, "policy": policy_as_dict(policy)}}
        for epoch, policy in ((EPOCH, Policy(1)), (EPOCH + 1, Policy(2)))
    ]
    outcome = Outcome(
        SPEC, 0.0, results_of(SPEC, rows), verified=verified(SPEC, rows, entries), events=(Event(0.5, "rollout"),)
    )  # fmt: skip
    watch = Watch({"gateway worker 1": psutil.Process(), "Valkey": psutil.Process()}, 1.0)
    watch.at_s = [nth / 20 - 0.5 for nth in range(60)]
    for name in watch.memory:
        leaks = name != "Valkey"
        watch.memory[name] = [(40 + GROWS[memory if leaks else ""](nth)) * MIB for nth in range(60)]
        watch.files[name] = [20 + GROWS[files if leaks else ""](nth) for nth in range(60)]
    rolled = BackAndForth(Installation("http://h", "http://h", folder, 0), 0.1)
    rolled.back_s, rolled.changes = [0.5, 1.0, 1.5], 9
    return Soak(100.0, True, "p99=50ms", 0.7, outcome, rolled, watch)


def test_a_run_in_which_nothing_is_wrong_is_good(tmp_path: Path) -> None:
    """In every figure; each process has two."""
    found = figures(soaked(tmp_path))
    assert [one.name for one in found if not one.good] == []
    assert found[0].value == "at least 100 requests a second"
    assert sum("by a line and at the end" in one.name for one in found) == 4
    assert [one.value for one in found if one.name.startswith("of those")] == ["10 and 10"]


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"memory": "steadily"}, ["gateway worker 1: memory gained"]),
        ({"memory": "late"}, ["gateway worker 1: memory gained"]),
        ({"files": "steadily"}, ["gateway worker 1: open files gained"]),
        ({"files": "late"}, ["gateway worker 1: open files gained"]),
        ({"failed": 2}, ["requests that failed", "what the load test has against"]),
        ({"candidate": Said("1", "stable", str(EPOCH))}, ["of those, by stable and by the candidate"]),
        (
            {"candidate": Said("1", "stable", str(EPOCH + 1))},  # where the candidate was due
            ["answers that the wrong version gave", "of those, by stable", "what the load test has against"],
        ),
        (
            {"candidate": Said()},
            ["answers that the wrong version gave", "of those, by stable", "what the load test has against"],
        ),
        (
            {"candidate": Said("1", "fallback", str(EPOCH + 1))},
            ["of those, by stable", "answers that stable gave for a failed candidate"],
        ),
    ],
)
def test_what_is_wrong_is_no_good_figure(tmp_path: Path, wrong: dict[str, Any], names: list[str]) -> None:
    """And no other is: a request that failed, one in the wrong place, a process that grows in whatever way."""
    bad = [one.name for one in figures(soaked(tmp_path, **wrong)) if not one.good]
    assert len(bad) == len(names)
    assert all(one.startswith(name) for one, name in zip(bad, names, strict=True))


def test_a_process_that_ended_is_no_good_run(tmp_path: Path) -> None:
    """Whatever was measured until then."""
    soak = soaked(tmp_path)
    soak.watch.ended["Valkey"] = 1.0
    bad = [(one.name, one.value) for one in figures(soak) if not one.good]
    assert bad == [("processes that ended meanwhile (none)", "Valkey after 1 s")]


@pytest.mark.parametrize(
    ("rollouts", "changes", "failed", "bad"),
    [
        (2, 6, "", []), (1, 6, "", ["1, with 6 shares set"]), (2, 0, "", ["2, with 0 shares set"]),
        (4, 12, "it is gone", ["4, with 12 shares set; then one failed: it is gone"]),
    ],
)  # fmt: skip
def test_a_rollout_that_stands_still_is_no_good_run(
    rollouts: int, changes: int, failed: str, bad: list[str], tmp_path: Path
) -> None:
    """Two seconds have time for four of half a second; half of those are the least."""
    soak = soaked(tmp_path)
    late = soak.ended_s + 1  # while answers are judged
    soak.rolled.back_s, soak.rolled.changes, soak.rolled.failed = [*[1.0] * rollouts, late, late], changes, failed
    found = [one for one in figures(soak) if not one.good]
    assert [one.value for one in found] == bad
    assert all(one.name == "rollouts to the candidate and back (at least 2)" for one in found)


def test_answers_that_nobody_could_look_at_are_no_good_run(tmp_path: Path) -> None:
    """The ledger could not be read; what the load test has against a run of its own counts as well."""
    soak = soaked(tmp_path)
    bad = [one.name for one in figures(replace(soak, outcome=replace(soak.outcome, verified=None))) if not one.good]
    assert bad == ["what the load test has against the run (nothing)"]
    died = [Died(0, 1.0, "SIGKILL")]
    bad = [one.name for one in figures(replace(soak, outcome=replace(soak.outcome, died=died))) if not one.good]
    assert bad == ["what the load test has against the run (nothing)"]


def test_the_json_has_all_that_was_measured(tmp_path: Path) -> None:
    """What could not be is null: NaN is no JSON."""
    soak = soaked(tmp_path)
    soak.watch.memory["Valkey"][-1] = math.nan
    text = json.dumps(report.plain(soak, figures(soak)), allow_nan=False)
    found = json.loads(text)
    assert (found["model"], found["soak"]["good"], found["soak"]["warm_at_s"]) == (MODEL, True, 0.5)
    assert found["soak"]["held"]["Valkey"]["memory_bytes"][-1] is None
    assert found["soak"]["grown"]["Valkey"]["open_files"] == {
        "level": 20.0,
        "gained": 0.0,
        "late": -0.5,
        "seconds": 1.5,
    }
    assert len(found["soak"]["at_s"]) == len(found["soak"]["held"]["Valkey"]["open_files"]) == 60


@pytest.mark.slow
def test_the_page_shows_it(tmp_path: Path) -> None:
    """The load test's four plots, and memory and open files of the gateway and of what is beside it, with the event."""
    soak = soaked(tmp_path, memory="steadily")
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
