"""A model of the installation as an encoder, on the real stack: training rows and live ones go through it, with keys.

The demo's second version stands between: what is compared of a row of pixels is the scores that it gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from loadtests.beside import Beside
from serving.access.keys import create
from tests.e2e.conftest import Models
from tests.e2e.system import Installation, end, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(420)]

ROWS = 100
CALM_WINDOWS = 4
_AT_ONCE = 10


@pytest.fixture
def up(models: Models, tmp_path: Path) -> Iterator[tuple[Installation, dict[str, Any]]]:
    """A model that is watched and one that encodes, where everybody is asked for a key."""
    admin = create()
    (tmp_path / "admin").write_text(f"{admin.text}\n")
    (tmp_path / "admin").chmod(0o600)
    versions = {"digits": 1, "eyes": 2}
    settings = {
        "models": [
            {"name": name, "versions": [{"version": one, "path": str(models.folder / "digits" / str(one))}]}
            for name, one in versions.items()
        ],
        "access": {"required": True, "admin_key_file": "admin"},
        "triton": {"port_range": 0},
        "drift": {"samples": {"rows_per_s": 10_000}, "window": {"rows": ROWS, "seconds": 1}},
    }
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings))
    installation = Installation(tmp_path, {"SLUICE_KEY_FILE": str(tmp_path / "admin")})
    process = installation.start("up")
    try:
        yield installation, installation.ready(process, within_s=180)
    finally:
        end(process)
        installation.gone()


class Traffic(Beside):
    """Requests of ten rows, one after the other; `moved` in place of the pixels, where there are any.

    Args:
        url: where predictions go.
        headers: what is shown there.
        held: rows to draw from.
    """

    def __init__(self, url: str, headers: dict[str, str], held: NDArray[np.float32]) -> None:
        super().__init__()
        self.held = held
        self._url, self._headers = f"{url}/v2/models/digits/infer", headers

    def goes_on(self) -> None:
        """One request after the other."""
        rng = np.random.default_rng(5)
        with httpx.Client(timeout=30, headers=self._headers) as client:
            while not self.over.wait(0.02):
                rows = self.held[rng.integers(len(self.held), size=_AT_ONCE)]
                data = {"name": "pixels", "datatype": "FP32", "shape": list(rows.shape), "data": rows.tolist()}
                client.post(self._url, json={"inputs": [data]}).raise_for_status()


def told(system: Installation, *words: str) -> Any:  # noqa: ANN401 - any answer
    """What a command says as JSON."""
    ran = system.run("drift", *words, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_what_a_model_sees_of_rows_is_watched(up: tuple[Installation, dict[str, Any]], models: Models) -> None:
    """Calm rows are calm, and rows of one digit are found by the scores; what the encoder is asked is no sample."""
    system, run = up
    with np.load(models.folder / "digits" / "rows.npz") as kept:
        pixels, labels = kept["pixels"], kept["labels"]
    drawn = pixels[np.random.default_rng(1).integers(len(pixels), size=60 * ROWS)]
    np.savez(system.folder / "train.npz", pixels=drawn)
    typed = ("--data", "train.npz", "--window-rows", str(ROWS), "--encoder", "eyes", "--encoder-output", "scores")
    made = told(system, "baseline", "digits", "1", *typed)
    assert made["rows"] == 60 * ROWS
    key = {"authorization": f"Bearer {(system.folder / 'admin').read_text().strip()}"}

    with (
        httpx.Client(base_url=f"{run['control_url']}/api/v1", headers=key) as api,
        Traffic(run["http_url"], key, pixels) as traffic,
    ):

        def status() -> dict[str, Any]:
            found = api.get("/drift").json()["versions"]
            return dict(found[0]) if found else {"windows": 0, "sentence": ""}

        until(lambda: status()["windows"] >= CALM_WINDOWS, "calm windows")
        assert (status()["sentence"], status()["encoders"]) == ("Watched: calm.", ["pixels by eyes version 2 (scores)"])
        assert api.get("/drift/findings").json()["findings"] == []
        traffic.held = pixels[labels == 3]
        until(lambda: api.get("/drift/findings").json()["findings"], "a finding")
        assert [one["model"] for one in api.get("/drift").json()["versions"]] == ["digits"]

    found = told(system, "findings")["findings"]
    assert any(feature["name"].startswith("pixels.scores[") for one in found for feature in one["features"])
    secret = system.folder / ".sluice" / "drift" / "sidecar.json"
    assert secret.stat().st_mode & 0o077 == 0
    assert json.loads(secret.read_text())["gateway"]["key"] not in system.output()
