"""The payload log of a whole installation: kept over HTTP and gRPC, through the keeper's death, and sent again."""

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
from tritonclient import grpc

from serving.payloads.files import finished_in
from serving.payloads.reading import rows_in
from tests.e2e.conftest import Models
from tests.e2e.system import Installation, end, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture
def installation(models: Models, tmp_path: Path) -> Iterator[tuple[Installation, dict[str, Any]]]:
    """Both versions of the demo's model, each with half of the requests; everything is kept but `label`."""
    versions = [{"version": one, "path": str(models.folder / "digits" / str(one))} for one in (1, 2)]
    settings = {
        "models": [{"name": "digits", "versions": versions, "traffic": {1: "50%", 2: "50%"}}],
        "triton": {"port_range": 0},
        "payloads": {"enabled": True, "share": "100%", "file_s": 0.5, "redact": ["digits:digit"]},
    }
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings))
    installation = Installation(tmp_path)
    process = installation.start("up")
    try:
        yield installation, installation.ready(process, within_s=180)
    finally:
        end(process)
        installation.gone()


def kept(folder: Path) -> list[str]:
    """Ids of the requests whose answers are in files."""
    return [row.about["request_id"] for row in rows_in(one.path for one in finished_in(folder))]


def over_http(url: str, row: np.ndarray[Any, Any]) -> str:
    """Asks for one row; the request's id."""
    data = [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": row.astype(float).tolist()}]
    answer = httpx.post(f"{url}/v2/models/digits/infer", json={"inputs": data}, timeout=30).raise_for_status()
    return answer.headers["sluice-request-id"]


def over_grpc(place: str, row: np.ndarray[Any, Any]) -> None:
    """The same with Triton's own client."""
    given = grpc.InferInput("pixels", [1, 64], "FP32")
    given.set_data_from_numpy(row[None].astype(np.float32))
    with grpc.InferenceServerClient(place) as client:
        client.infer("digits", [given])


def test_what_was_asked_is_kept_and_can_be_asked_again(
    installation: tuple[Installation, dict[str, Any]], models: Models
) -> None:
    """Each request once, whatever door it came by, though the keeper is killed; the same version answers the same."""
    system, run = installation
    log = system.folder / ".sluice" / "payloads"
    with np.load(models.folder / "digits" / "rows.npz") as held:
        rows = held["pixels"]
    asked = {over_http(run["http_url"], row) for row in rows[:30]}
    for row in rows[:10]:
        over_grpc(run["grpc_url"], row)
    until(lambda: len(kept(log)) == 40, "forty rows in files")
    assert asked < set(kept(log))
    assert len(set(kept(log))) == 40

    [keeper] = system.processes("serving.keeping")
    keeper.send_signal(9)
    psutil.wait_procs([keeper], timeout=30)
    until(lambda: system.processes("serving.keeping"), "the keeper's successor")

    def kept_again() -> bool:
        return over_http(run["http_url"], rows[0]) in kept(log) or len(kept(log)) > 40

    until(kept_again, "rows of the next keeper")
    assert len(set(kept(log))) == len(kept(log))

    one = json.loads(system.run("payloads", "show", "--request-id", min(asked), "--json").stdout)["rows"][0]
    assert len(one["inputs"]["pixels"]["values"]) == 64
    assert (one["outputs"]["digit"]["values"], len(one["outputs"]["scores"]["values"])) == (None, 10)

    same = system.run("replay", "digits", "--version", "1", "--of-version", "1", "--compare", "--rate", "0", "--json")
    said = json.loads(same.stdout)
    assert (same.returncode, said["differ"], said["failed"], said["marked"]) == (0, 0, {}, True), (
        same.stdout + same.stderr
    )
    assert said["same"] == said["sent"] > 0
    other = system.run("replay", "digits", "--version", "2", "--of-version", "1", "--compare", "--rate", "0", "--json")
    said = json.loads(other.stdout)
    assert (other.returncode, said["outputs"]["scores"]["differ"]) == (1, said["sent"])
    listed = json.loads(system.run("payloads", "list", "digits", "--json").stdout)
    assert listed["enabled"]
    assert listed["dropped"] == {}
