"""The bench of sizes: what it starts is what it says, and what it finds is told as it was found."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import httpx
import psutil
import pytest

from loadtests.compare.peers import free_port
from loadtests.installation import Failed, Installation
from loadtests.scale.plan import FIRST, FULL, QUICK, Plan, Point
from loadtests.scale.report import BEGINS, ENDS, keep, markdown
from loadtests.scale.rounds import Pace, Row, compared
from loadtests.scale.standing import Rest, Standing, settings_for
from loadtests.scale.stores import asked, store
from serving import child
from serving.settings import Settings
from tests.e2e.system import until

DOCUMENT = Path(__file__).parents[2] / "docs" / "scale.md"
REST = Rest(0.01, 0.02, 0.03, 40.0, 5_000.0, 6, 70.0)
SLOW, FAST = Pace(100.0, 0.2, 9.0), Pace(200.0, 0.1, 3.0)


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_each_size_differs_from_the_first_in_one_number(plan: Plan) -> None:
    """So what differs in the figures is that number's."""
    for point in plan.points:
        pairs = zip(astuple(FIRST), astuple(point), strict=True)
        assert sum(one != other for one, other in pairs) == 1
    assert {point.name for point in FULL.points} >= {point.name for point in QUICK.points}


def test_the_settings_are_settings() -> None:
    """Whatever the size: so many workers, models, and servers of each."""
    said = settings_for(Point(4, 1_000, 2), ["127.0.1.1:9000", "127.0.1.2:9000"], "redis://127.0.0.1:6379/0")
    settings = Settings.model_validate(said)
    assert (settings.gateway.workers, len(settings.models)) == (4, 1_000)
    assert {len(one.endpoints) for model in settings.models for one in model.versions} == {2}


_ONE_LATER = """
import subprocess, sys, time
sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen([*sleeps, "ServeReplica:sluice:control"])
subprocess.Popen([*sleeps, "-m serving.gateway "])
time.sleep(0.5)
subprocess.Popen([*sleeps, "-m serving.gateway "])
time.sleep(60)
"""


def test_workers_that_come_later_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model answers as soon as one is there; one that never comes is an end in words."""
    command = child.spawn([sys.executable, "-c", _ONE_LATER], stdin=subprocess.DEVNULL)
    installation = Installation("", "", Path(), command.pid)
    try:
        Standing(Point(workers=2), "", 0.0, installation, ("", 0)).wait()
        monkeypatch.setattr("loadtests.scale.standing._COMES_WITHIN_S", 0.1)
        with pytest.raises(Failed, match="2 processes of kind worker, where 3 should be"):
            Standing(Point(workers=3), "", 0.0, installation, ("", 0)).wait()
    finally:
        for process in psutil.Process(command.pid).children(recursive=True):
            process.kill()
        child.stop(command, 5.0)


def test_the_stand_in_answers_like_a_triton() -> None:
    """Any model, ready or asked, on every address, one request after the other on a connection."""
    port = free_port()
    argv = [sys.executable, "-m", "loadtests.scale.answering", str(port), "127.0.1.1", "127.0.1.2"]
    process = child.spawn(argv, stdin=subprocess.DEVNULL)
    try:
        for address in ("127.0.1.1", "127.0.1.2"):
            with httpx.Client(base_url=f"http://{address}:{port}", trust_env=False) as client:
                until(lambda client=client: _ready(client), "the stand-in")  # type: ignore[misc]
                answer = client.post("/v2/models/m7/versions/1/infer", json={"inputs": []})
                assert answer.json()["outputs"][0]["shape"] == [1, 8]
    finally:
        child.stop(process, 5.0)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/models/m7/versions/1/ready").is_success
    except httpx.TransportError:
        return False


def test_a_store_is_asked_without_a_client_library(tmp_path: Path) -> None:
    """What it says of commands, bytes and connections is what `INFO` says; asking is two commands."""
    with store(tmp_path) as (url, pid):
        first, second = asked(url), asked(url)
        assert second.commands - first.commands == 2
        assert second.read_bytes > first.read_bytes
        assert second.written_bytes > first.written_bytes > 0
        assert second.clients >= 1
        assert pid > 0


def test_ratios_are_medians_of_pairs() -> None:
    """One disturbed round changes nothing."""
    row = compared(FIRST, 1.0, REST, [(SLOW, FAST), (SLOW, FAST), (FAST, SLOW)])
    assert (row.rate_to_first, row.cpu_to_first, row.pace) == (2.0, 0.5, FAST)


def test_a_table_goes_to_its_place_in_the_document(tmp_path: Path) -> None:
    """And to nowhere else; a document without such a place is refused."""
    text = markdown([Row(Point(workers=2), 20.0, FAST, 1.9, 1.05, REST)], {"machine": "of a test"})
    assert "| 2 workers, 1 model, 1 server | 200 | 1.90 | 0.100 | 1.05 | 3.0 | 70 | 1.0% |" in text
    copy = tmp_path / "scale.md"
    copy.write_text(DOCUMENT.read_text())
    keep(copy, text)
    before, after = DOCUMENT.read_text(), copy.read_text()
    assert after.partition(BEGINS)[0] == before.partition(BEGINS)[0]
    assert after.partition(ENDS)[2] == before.partition(ENDS)[2]
    assert text in after
    (tmp_path / "other.md").write_text("nothing")
    with pytest.raises(ValueError, match="no place for a table"):
        keep(tmp_path / "other.md", text)
