"""The check for a machine with a GPU, run here on the CPU: with real Tritons, and with nothing else to import."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from loadtests.gpu_check import smi
from loadtests.gpu_check.check import Found, _gpu, _random_split
from loadtests.gpu_check.client import Answer, Load, ask, drive
from loadtests.gpu_check.judge import Question, fault, share_fault
from loadtests.gpu_check.models import TOLERANCE, VERSIONS, batches, expected
from loadtests.gpu_check.wire import Form, infer, scores
from router.choose import Choice, Reason

ROOT = Path(__file__).parents[2]
SNAPSHOT = smi.Snapshot("NVIDIA H100 80GB HBM3", "580.159.04", 4.0, 0.0)
FILTER = """\
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in {blocked!r} else self.finder.find_spec(name, *rest)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def needed() -> Iterator[str]:
    """The packages that the table in its README lists."""
    text = (ROOT / "loadtests" / "gpu_check" / "README.md").read_text()
    yield from re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def closure() -> set[str]:
    """Those packages and what they require, by canonical name; of those that are read as folders, only themselves."""
    found = {"sluice-gateway", "nvidia-pytriton"}
    waiting = [Requirement(name) for name in needed()]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for text in () if name in found and not wanted.extras else requires(name) or ():
            further = Requirement(text)
            extras = wanted.extras or {""}
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
        found.add(name)
    return found


def blocked() -> set[str]:
    """Every module that is installed here and that the table does not bring along."""
    there, allowed = packages_distributions(), closure()
    return {module for module, owners in there.items() if not {canonicalize_name(name) for name in owners} & allowed}


def command(*arguments: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The check as a command."""
    argv = [sys.executable, "-m", "loadtests.gpu_check", *arguments]
    return subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=150
    )


@pytest.mark.slow
@pytest.mark.e2e
def test_the_whole_of_it_runs_on_the_cpu_with_nothing_but_the_packages_that_the_readme_lists(tmp_path: Path) -> None:
    """Answers, split and speed on real Tritons; no process of it imports Ray, FastAPI or anything not in the table."""
    gone = blocked()
    assert {"ray", "fastapi", "starlette", "pydantic_settings", "uvicorn", "httpx", "typer", "rich", "psutil"} <= gone
    (tmp_path / "sitecustomize.py").write_text(FILTER.format(blocked=gone))
    few = ("--seconds", "0.3", "--rounds", "1", "--requests", "200", "--connections", "1", "4")
    out = tmp_path / "out"
    done = command("--device", "cpu", *few, environ={"OUT": str(out), "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((out / "gpu-check.json").read_text())
    figures = record["figures"]
    assert record["faults"] == []
    assert figures["right answers, split, of 200"] == 200
    assert figures["right answers, straight at version 2, of 64"] == 64
    assert figures["failed requests under load"] == 0 < figures["requests under load"]
    for way in ("straight at Triton", "gateway, version named", "gateway, 90/10"):
        for count in (1, 4):
            assert 0 < figures[f"c={count}, {way}, p50 ms"] <= figures[f"c={count}, {way}, p99 ms"]
    lines = done.stdout.splitlines()
    assert lines == [f"{name}: {value}" for name, value in figures.items()] + ["all is well"]
    assert (out / "triton-1.log").stat().st_size > 0


def test_without_a_gpu_it_is_skipped_in_a_line() -> None:
    """Nothing is started, and nothing has failed."""
    done = command(environ={"CUDA_VISIBLE_DEVICES": ""})
    assert (done.returncode, done.stdout) == (0, "skipped: no GPU here\n")


@pytest.mark.slow
def test_a_triton_that_does_not_start_is_told_in_a_sentence(tmp_path: Path) -> None:
    """It could not be run: that is neither a pass nor a wrong answer."""
    done = command("--device", "cpu", environ={"SLUICE_TRITON_BINARY": "/bin/false", "OUT": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.startswith("error: Triton ended before scores version 1 was ready")
    assert done.stderr.endswith(f"The logs are in {tmp_path}.\n")
    assert "Traceback" not in done.stderr


def answer(
    values: NDArray[np.float32], version: int = 1, *, told: int = 1, reason: str = "stable", status: int = 200
) -> Answer:
    """What a gateway would hand on."""
    tensor = {"name": "scores", "datatype": "FP32", "shape": values.shape, "data": values.ravel().tolist()}
    body = json.dumps({"model_version": str(version), "outputs": [tensor]}).encode()
    return Answer(0, 0.1, status, {b"sluice-version": str(told).encode(), b"sluice-reason": reason.encode()}, body)


RIGHT = expected(batches())
FIRST = RIGHT[1][0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(FIRST), None),
        (answer(FIRST + TOLERANCE / 2), None),
        (answer(FIRST + TOLERANCE * 2), "off by"),
        (answer(FIRST * np.nan), "off by nan"),
        (answer(FIRST[:, :3]), "shape"),
        (answer(RIGHT[2][0]), "off by"),
        (answer(FIRST, version=2), "version 2 answered in place of 1"),
        (answer(FIRST, told=2), "router.choose 1"),
        (answer(FIRST, reason="fallback"), "fallback"),
        (answer(FIRST, status=503), "503"),
        (Answer(0, 0.1, 200, {}, b"{}"), "no answer to an inference"),
        (Answer(0, 0.1, 0, error="the connection was lost"), "the connection was lost"),
    ],
)
def test_an_answer_is_right_or_its_fault_is_told(given: Answer, words: str | None) -> None:
    """Who answered, why, in which shape and with which values: each is held against what it should be."""
    told = fault(Question(0, Form.JSON, "u"), given, Choice(1, Reason.STABLE), RIGHT, gateway=True)
    assert (told is None) if words is None else (words in (told or ""))


def test_the_versions_answer_so_differently_that_one_is_never_taken_for_the_other() -> None:
    """Every batch tells them apart by far more than the tolerance."""
    first, second = (RIGHT[version] for version in VERSIONS)
    assert all(np.abs(a - b).max() > 100 * TOLERANCE for a, b in zip(first, second, strict=True))


def test_a_binary_request_carries_its_rows_behind_the_json_and_so_does_its_answer() -> None:
    """What is sent as bytes is read back the same."""
    rows = batches()[1]
    head, _, body = infer(rows, Form.BINARY, version=2, unit="u").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v2/models/scores/versions/2/infer HTTP/1.1\r\n")
    length = int(head.partition(b"Inference-Header-Content-Length: ")[2].partition(b"\r\n")[0])
    assert body[length:] == rows.tobytes()
    shape = {"name": "scores", "datatype": "FP32", "shape": rows.shape, "parameters": {"binary_data_size": rows.nbytes}}
    said = json.dumps({"model_version": "2", "outputs": [shape]}).encode()
    read = scores({b"inference-header-content-length": str(len(said)).encode()}, said + rows.tobytes())
    assert read.version == 2
    assert np.array_equal(read.values, rows)


def test_a_share_is_wrong_only_where_chance_does_not_explain_it() -> None:
    """Five standard deviations of the binomial: 10,000 draws at 10 % are 1,000 give or take 150."""
    assert share_fault(1_150, 10_000, 100_000) is None
    assert "1151 of 10000" in (share_fault(1_151, 10_000, 100_000) or "")
    assert share_fault(849, 10_000, 100_000)


def test_an_answer_without_a_version_is_no_part_of_the_split() -> None:
    """A gateway that does not say who answered is found out."""
    found = Found(lambda _: None)
    load = Load(1.0, [0.1] * 10)
    load.versions.update({1: 9})
    _random_split([load], found)
    assert found.faults == ["split under load: 10 answers came from {1: 9}"]


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def behind(serve: Serve, use: Callable[[int], Awaitable[None]]) -> None:
    """Uses a server while it is up."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        await use(server.sockets[0].getsockname()[1])


async def test_every_request_that_is_not_answered_is_told() -> None:
    """A server that answers once on each connection and hangs up: one answer, one failure, and one never sent."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def use(port: int) -> None:
        answers = await ask(port, [b"GET / HTTP/1.1\r\n\r\n"] * 3, 1)
        assert [answer.status for answer in answers] == [200, 0, 0]
        assert (answers[0].headers, answers[0].body) == ({b"content-length": b"2", b"a": b"b"}, b"ok")
        assert answers[1].failure == "the connection was lost: closed by the other side"
        assert answers[2].failure == "no connection was left to send it on"

    await behind(once, use)


async def test_an_error_under_load_is_a_failure_and_no_figure() -> None:
    """Errors are fast to send: they count neither as requests nor in the latencies."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy")

    async def use(port: int) -> None:
        load = await drive(port, b"GET / HTTP/1.1\r\n\r\n", 2, 0.1)
        assert load.rps == 0
        assert set(load.failures) == {"503 busy"}
        assert np.isnan(load.percentile_ms(50))

    await behind(refuse, use)


async def test_a_server_that_is_not_there_is_a_failure() -> None:
    """Each connection that is refused is told."""
    load = await drive(1, b"", 2, 0.1)
    assert len(load.failures) == 2
    assert all(line.startswith("not connected") for line in load.failures)


def test_percentiles_are_nearest_ranks_in_milliseconds() -> None:
    """Of 1 to 100 ms, half did not exceed 51 and 99 of 100 not 100."""
    load = Load(2.0, [number / 1_000 for number in range(100, 0, -1)])
    assert (load.rps, load.percentile_ms(50), load.percentile_ms(99)) == (50.0, 51.0, 100.0)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in nvidia-smi's place, which takes down how it was called."""
    program = tmp_path / "nvidia-smi"
    line = "NVIDIA H100 80GB HBM3, 580.159.04, 1503, 37"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho "{line}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    return tmp_path / "calls"


def test_the_gpu_that_is_used_is_the_one_that_is_looked_at(nvidia_smi: Path, tmp_path: Path) -> None:
    """The first that CUDA_VISIBLE_DEVICES names; while there is load, it is asked for again and again."""
    look = smi.Snapshot("NVIDIA H100 80GB HBM3", "580.159.04", 1_503.0, 37.0)
    assert smi.look() == look
    with smi.watched(tmp_path) as seen:
        while (tmp_path / "nvidia-smi.csv").read_text().count("\n") < 2:
            time.sleep(0.05)
    assert len(seen) >= 2
    assert set(seen) == {look}
    calls = nvidia_smi.read_text().splitlines()
    assert len(calls) >= 3
    assert all(call.startswith("--id=3 --query-gpu=name,driver_version,memory.used,utilization.gpu ") for call in calls)


def test_without_nvidia_smi_nothing_is_said_about_the_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No figure is made up."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with smi.watched(tmp_path) as seen:
        assert smi.look() is None
    assert seen == []


@pytest.mark.parametrize("text", ["", "NVIDIA H100, 580, 15", "No devices were found", "NVIDIA H100, 580, [N/A], 3"])
def test_a_line_that_is_no_look_is_passed_over(text: str) -> None:
    """Cut off, an error, or a figure that the GPU does not give."""
    assert smi.read(f"{text}\nNVIDIA H100 80GB HBM3, 580.159.04, 4, 0\n") == (SNAPSHOT,)


@pytest.mark.parametrize(
    ("serving", "after", "words"),
    [(900.0, 4.0, []), (4.0, 3.0, ["use none of it"]), (900.0, 900.0, ["not given back"])],
)
def test_memory_is_taken_while_serving_and_given_back(serving: float, after: float, words: list[str]) -> None:
    """Two servers that take none do not run on the GPU; memory that stays belongs to a process that was left behind."""
    found = Found(lambda _: None)
    looks = [smi.Snapshot("GPU", "580", memory, 10.0) for memory in (serving, serving + 100.0, after)]
    _gpu(SNAPSHOT, looks[0], looks[:2], looks[2], found)
    assert found.figures["GPU memory under load, most, MiB"] == serving + 100.0
    assert len(found.faults) == len(words)
    assert all(word in line for word, line in zip(words, found.faults, strict=True))
