"""`sluice loadtest` on the real thing: a rollout under way, every kind of request, and a search for a capacity.

Its report is looked at as people do, in a browser: what is in the page, and what of it can be seen.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from loadtests.installation import Installation, installation
from loadtests.rollouts.operator import MODEL, Operator
from tests.browser import seen
from tests.e2e.load import Load
from tests.e2e.numbered import numbered
from tests.e2e.system import until
from tests.loadtests.load.looked_at import shows_the_load_test

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

_SETTINGS = {"triton": {"port_range": 0}, "gateway": {"workers": 2}}


_ATTEMPTS = 4


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two versions that say their numbers, the first of them stable."""
    with installation(tmp_path_factory.mktemp("loadtest"), _SETTINGS) as up:
        asyncio.run(_brought(up))
        yield up


async def _brought(up: Installation) -> None:
    async with up.client() as control:
        operator = Operator(control, up.folder)
        for version in (1, 2):
            await operator.bring(version)
        await operator.all_to(1)


def sluice(up: Installation, *typed: str) -> subprocess.CompletedProcess[str]:
    """A command, where the installation runs."""
    argv = [str(Path(sys.executable).with_name("sluice")), *typed]
    return subprocess.run(argv, cwd=up.folder, capture_output=True, text=True, timeout=800, check=False)


def test_a_load_test_with_a_rollout_under_way(running: Installation) -> None:
    """Shares change under JSON, binary and gRPC requests: every answer is right, and the report shows the changes."""
    done = sluice(
        running, "loadtest", MODEL, "--rps", "60", "--for", "12s", "--while-rollout", "2", "--change-every", "2s",
        "--mix", "json=50%,binary=25%,grpc=25%", "--processes", "2", "--slo", "errors=0%",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((running.folder / "loadtest.json").read_text())
    assert (report["requests"], report["answered"], report["synthetic"]) == (720, 720, True)
    assert (report["verified"]["wrong"], report["verified"]["unnamed"]) == (0, 0)
    assert report["verified"]["epochs"] >= 3
    assert report["by_kind"] == {"json": 360, "binary": 180, "grpc": 180}
    assert set(report["by_version"]) == {"1", "2"}
    assert len(report["events"]) >= 3
    page = running.folder / "loadtest.html"
    shows_the_load_test(seen(page, running.folder / "loadtest.png"), report)


def test_a_capacity_beyond_what_was_tried_is_a_lower_bound(running: Installation) -> None:
    """It is told and not recorded; by hand the pool takes what each replica carries."""
    done = sluice(
        running, "loadtest", "capacity", MODEL, "--version", "2", "--slo", "errors=50%,p50=5s", "--from", "20",
        "--most", "40", "--each", "2s", "--json", "--record",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["versions"]["2"]
    assert (found["rps"], found["ready"], found["at_least"]) == (40, 1, True)
    assert "nothing is recorded" in done.stderr
    said = {"options": {"carries_rps": 40}}
    answer = httpx.post(f"{running.control_url}/api/v1/models/{MODEL}/versions/2/deploy", json=said, timeout=60)
    assert answer.status_code < httpx.codes.BAD_REQUEST, answer.text


SLOW = """
    def execute(self, requests):
        answers = []
        for request in requests:
            rows = triton.get_input_tensor_by_name(request, "x")
            if rows.as_numpy().any():
                time.sleep(0.05)
            answers.append(self._answer(rows.shape()[0]))
        return answers
"""
"""Twenty requests a second, and any number of those that a server is warmed up with, which are zeros."""
RATE, HALF, LITTLE = 60, "3=50%", "3=5%"


def test_what_is_recorded_is_what_policies_are_checked_against(running: Installation) -> None:
    """By its warm-up a version carries half of the traffic; by the capacity that was found under load it does not."""
    asyncio.run(_brought_slowly(running))
    place = urlsplit(running.http_url)
    with Load(str(place.hostname), place.port or 80, RATE):
        until(lambda: _asked_for(running) > 0.8 * RATE, "the model's rate")
        taken = sluice(running, "traffic", "set", MODEL, HALF)
        assert taken.returncode == 0, taken.stderr
        assert sluice(running, "traffic", "set", MODEL, "3=0").returncode == 0

    found = _recorded(running)
    assert 1 < found["rps"] < RATE / 2

    with Load(str(place.hostname), place.port or 80, RATE):
        until(lambda: _asked_for(running) > 0.8 * RATE, "the model's rate")
        refused = until(lambda: _refused(running, HALF), "a refusal")
        assert f"ready replica carries {found['per_replica']:.0f}" in refused
        taken = sluice(running, "traffic", "set", MODEL, LITTLE)
        assert taken.returncode == 0, taken.stderr
        assert sluice(running, "traffic", "set", MODEL, "3=0").returncode == 0


def _recorded(up: Installation) -> dict[str, Any]:
    """The capacity of version 3, which was recorded; where this machine itself was late, it is looked for again."""
    for _ in range(_ATTEMPTS):
        done = sluice(
            up, "loadtest", "capacity", MODEL, "--version", "3", "--slo", "errors=0%,p50=300ms", "--from", "6",
            "--each", "3s", "--json", "--record",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)["versions"]["3"]
        assert ("recorded as what each replica of version 3 carries" in done.stderr) is not found["at_least"]
        if not found["at_least"]:
            return found
    raise AssertionError(f"the generator was late in each of {_ATTEMPTS} searches:\n{done.stderr}")


def _asked_for(up: Installation) -> float:
    """Requests a second of the model, as the control room knows it."""
    answer = httpx.get(f"{up.control_url}/api/v1/models/{MODEL}/rates", timeout=60)
    return float(answer.json()["requests_per_s"] or 0)


def _refused(up: Installation, share: str) -> str:
    """Why a share is refused; empty where it is not, and then it is taken back at once."""
    tried = sluice(up, "traffic", "set", MODEL, share)
    if tried.returncode:
        return " ".join(tried.stderr.split())
    assert sluice(up, "traffic", "set", MODEL, "3=0").returncode == 0
    return ""


async def _brought_slowly(up: Installation) -> None:
    """Version 3: it says its number as the others do, and takes its time."""
    artifact = numbered(up.folder / "models" / "3", 3)
    model = artifact / "1" / "model.py"
    before, _, after = model.read_text().partition("    def execute(")
    _, _, rest = after.partition("    def _answer(")
    model.write_text(f"import time\n{before}{SLOW}\n    def _answer({rest}")
    async with up.client() as control:
        await Operator(control, up.folder).serve(3, artifact)
