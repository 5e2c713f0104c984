"""Drift on a whole installation: a shift planted in live traffic is found, told once and shown; calm is not.

What is asked are the demo's rows with a little noise, so that calm traffic is what the baseline was made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import yaml
from numpy.typing import NDArray

from loadtests.beside import Beside
from tests.e2e.conftest import Models
from tests.e2e.receiver import HOOK, Receiver, receiver
from tests.e2e.system import Installation, end, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(420)]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PIXEL = 20
ROWS = 100
CALM_WINDOWS = 12
_AT_ONCE = 10


def drawn(rng: np.random.Generator, held: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """Calm rows."""
    found: NDArray[np.float32] = held[rng.integers(len(held), size=rows)] + rng.normal(0, 0.1, (rows, held.shape[1]))
    return found.astype(np.float32)


class Traffic(Beside):
    """Requests of ten rows, one after the other, in a thread; `shift` is added to one pixel of each row.

    Args:
        url: where predictions go.
        held: rows to draw from.
    """

    def __init__(self, url: str, held: NDArray[np.float32]) -> None:
        super().__init__()
        self.shift = 0.0
        self._url, self._held = f"{url}/v2/models/digits/infer", held

    def goes_on(self) -> None:
        """One request after the other."""
        rng = np.random.default_rng(5)
        with httpx.Client(timeout=30) as client:
            while not self.over.wait(0.02):
                rows = drawn(rng, self._held, _AT_ONCE)
                rows[:, PIXEL] += self.shift
                data = {"name": "pixels", "datatype": "FP32", "shape": list(rows.shape), "data": rows.tolist()}
                client.post(self._url, json={"inputs": [data]}).raise_for_status()


@pytest.fixture
def heard() -> Iterator[Receiver]:
    """Where webhooks arrive."""
    with receiver() as listening:
        yield listening


@pytest.fixture
def up(models: Models, tmp_path: Path, heard: Receiver) -> Iterator[tuple[Installation, dict[str, Any]]]:
    """One version of the demo's model, sampled generously, in windows of a hundred rows."""
    (tmp_path / "drift.secret").write_text(SECRET)
    settings = {
        "models": [{"name": "digits", "versions": [{"version": 1, "path": str(models.folder / "digits" / "1")}]}],
        "triton": {"port_range": 0},
        "control": {"trusted_addresses": [heard.origin]},
        "drift": {
            "samples": {"rows_per_s": 10_000},
            "window": {"rows": ROWS, "seconds": 1},
            "webhooks": [{"url": f"{heard.origin}{HOOK}", "secret_file": "drift.secret", "events": ["drift.finding"]}],
        },
    }
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings))
    installation = Installation(tmp_path)
    process = installation.start("up")
    try:
        yield installation, installation.ready(process, within_s=180)
    finally:
        end(process)
        installation.gone()


def told(system: Installation, *words: str) -> Any:  # noqa: ANN401 - any answer
    """What a command says as JSON."""
    ran = system.run("drift", *words, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_planted_shift_is_found_and_told_once(
    up: tuple[Installation, dict[str, Any]], models: Models, heard: Receiver
) -> None:
    """Named feature first, one episode, each finding once at the webhook; before it nothing, though a sidecar died."""
    system, run = up
    with np.load(models.folder / "digits" / "rows.npz") as kept:
        held = kept["pixels"]
    np.savez(system.folder / "train.npz", pixels=drawn(np.random.default_rng(1), held, 60 * ROWS))
    made = told(system, "baseline", "digits", "1", "--data", "train.npz", "--window-rows", str(ROWS))
    assert made["rows"] == 60 * ROWS

    with httpx.Client(base_url=f"{run['control_url']}/api/v1") as api, Traffic(run["http_url"], held) as traffic:

        def windows() -> int:
            found = api.get("/drift").json()["versions"]
            return int(found[0]["windows"]) if found else 0

        until(lambda: windows() >= CALM_WINDOWS // 2, "calm windows")
        [sidecar] = system.processes("-m drift")
        sidecar.kill()
        psutil.wait_procs([sidecar], timeout=30)
        until(lambda: system.processes("-m drift"), "the sidecar's successor")
        until(lambda: windows() >= CALM_WINDOWS, "calm windows of the successor")
        assert api.get("/drift/findings").json()["findings"] == []
        assert heard.at(HOOK) == []

        before = windows()
        traffic.shift = 16.0
        until(lambda: api.get("/drift/findings").json()["findings"], "a finding")
        until(lambda: windows() >= before + 2 * CALM_WINDOWS, "windows after it")
        assert told(system, "status")["versions"][0]["drifting"]

    found = told(system, "findings")["findings"]
    first = found[-1]
    assert first["features"][0]["name"] == f"pixels[{PIXEL}]"
    assert len({one["episode"] for one in found}) == 1
    assert len({one["layer"] for one in found}) == len(found)
    until(lambda: len(heard.at(HOOK)) >= len(found), "webhooks")
    assert sorted(one.said["data"]["finding"] for one in heard.at(HOOK)) == sorted(one["id"] for one in found)
    assert all(one.signed_with(SECRET) for one in heard.at(HOOK))
    page = system.folder / "report.html"
    assert system.run("drift", "explain", "digits", "1", "--html", str(page)).returncode == 0
    assert f"pixels[{PIXEL}]" in page.read_text()
