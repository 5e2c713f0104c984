"""`sluice loadtest` on the real thing: a rollout under way, every kind of request, and a search for a capacity."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtests.installation import Installation, installation
from loadtests.rollouts.operator import MODEL, Operator

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

_SETTINGS = {
    "triton": {"port_range": 0}, "gateway": {"workers": 2}, "listen": {"http_port": 0, "grpc_port": 0},
}  # fmt: skip


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
    """The command, where the installation runs."""
    argv = [str(Path(sys.executable).with_name("sluice")), "loadtest", *typed]
    return subprocess.run(argv, cwd=up.folder, capture_output=True, text=True, timeout=300, check=False)


def test_a_load_test_with_a_rollout_under_way(running: Installation) -> None:
    """Shares change under JSON, binary and gRPC requests: every answer is right, and the report shows the changes."""
    done = sluice(
        running, MODEL, "--rps", "60", "--for", "12s", "--while-rollout", "2", "--change-every", "2s",
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
    page = (running.folder / "loadtest.html").read_text()
    assert page.count('class="event"') == 4 * len(report["events"])


def test_a_capacity_beyond_what_was_tried_is_a_lower_bound(running: Installation) -> None:
    """It is told and not recorded; by hand the pool takes what each replica carries."""
    done = sluice(
        running, "capacity", MODEL, "--version", "2", "--slo", "errors=50%,p50=5s", "--from", "20", "--most", "40",
        "--each", "2s", "--json", "--record",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["versions"]["2"]
    assert (found["rps"], found["ready"], found["at_least"]) == (40, 1, True)
    assert "nothing is recorded" in done.stderr
    said = {"options": {"carries_rps": 40}}
    answer = httpx.post(f"{running.control_url}/api/v1/models/{MODEL}/versions/2/deploy", json=said, timeout=60)
    assert answer.status_code < httpx.codes.BAD_REQUEST, answer.text
