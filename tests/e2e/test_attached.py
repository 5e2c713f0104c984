"""Any part can be somebody else's: a Ray cluster, a Redis and a Triton that were there before, and stay."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import yaml

from serving import child
from serving.control.valkey import EmbeddedValkey
from serving.triton.binary import find
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.process import ServerOptions, TritonProcess
from tests.e2e import cluster
from tests.e2e.numbered import ROW, numbered
from tests.e2e.system import PATIENCE_S, Installation, end, until

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "docs" / "serve.example.yaml"
_ASK_FROM_INSIDE = """
import json, sys
import ray
from ray import serve
ray.init(address=sys.argv[1], log_to_driver=False)
body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}]}
answer = serve.get_app_handle("sluice").infer.remote("digits", body, headers={"sluice-unit": "inside"})
print(json.dumps(answer.result(timeout_s=30)))
try:
    serve.get_app_handle("sluice").infer.remote("nobody", body).result(timeout_s=30)
except Exception as error:
    print("There is no model 'nobody' here" in str(error))
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that somebody else runs."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    assert server.answers()
    server.stop()


@pytest.fixture(scope="module")
def triton_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Triton that somebody else runs, with version 2; host:port."""
    spec = ModelVersion("digits", 2, numbered(tmp_path_factory.mktemp("models") / "2", 2))
    repository = write_repository(spec, tmp_path_factory.mktemp("repository"))
    with asyncio.Runner() as runner:
        server = runner.run(TritonProcess.start(find(), repository, "digits", 2, ServerOptions(first_port=20_000)))
        yield f"127.0.0.1:{server.http_port}"
        assert server.alive
        runner.run(server.stop(10))


@pytest.fixture
def installation(tmp_path: Path, ray_cluster: Mapping[str, str], redis_url: str, triton_place: str) -> Installation:
    """Settings in which only version 1's pool is ours."""
    versions = [
        {"version": 1, "path": str(numbered(tmp_path / "models" / "1", 1))},
        {"version": 2, "endpoints": [triton_place]},
    ]
    settings = {
        "listen": {"http_port": 0},
        "control": {"port": 0},
        "redis": {"url": redis_url, "namespace": tmp_path.name},
        "triton": {"port_range": 0},
        "models": [{"name": "digits", "versions": versions, "traffic": {1: "50%", 2: "50%"}}],
    }
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings))
    return Installation(tmp_path, ray_cluster)


@pytest.mark.slow
def test_up_on_what_is_there_already(installation: Installation, ray_cluster: Mapping[str, str]) -> None:
    """`sluice up` uses the cluster, the Redis and the Triton it is given, and leaves all three when it ends."""
    installation.settings = {**installation.settings, "SLUICE_RAY__ADDRESS": ray_cluster["RAY_ADDRESS"]}
    process = installation.start("up")
    run = installation.ready(process)
    assert _versions(run["http_url"]) == {"1", "2"}
    ours = " ".join(installation.left_over())
    assert "raylet" not in ours
    assert "valkey-server" not in ours
    assert end(process) == 0, installation.output()
    installation.gone()
    assert cluster.is_up(ray_cluster)


def test_a_gpu_that_is_not_there_is_told_in_a_sentence(
    installation: Installation, ray_cluster: Mapping[str, str]
) -> None:
    """`device: gpu` on a cluster without one is refused instead of waited for."""
    installation.settings = {**installation.settings, "SLUICE_RAY__ADDRESS": ray_cluster["RAY_ADDRESS"]}
    settings = yaml.safe_load((installation.folder / "sluice.yaml").read_text())
    settings["models"][0]["versions"][0]["device"] = "gpu"
    (installation.folder / "sluice.yaml").write_text(yaml.safe_dump(settings))
    done = installation.run("up", within_s=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is to run on a GPU" in done.stderr
    installation.gone()


@pytest.mark.slow
def test_as_an_ordinary_serve_application(installation: Installation, ray_cluster: Mapping[str, str]) -> None:
    """`serve run` with the example file brings it up, and a handle inside Ray asks its listener."""
    settings = installation.folder / "sluice.yaml"
    (installation.folder / "serve.yaml").write_text(
        EXAMPLE.read_text().replace("/etc/sluice/sluice.yaml", str(settings))
    )
    log = installation.folder / "serve.log"
    with log.open("wb") as out:
        serve = child.spawn(  # with signals as at a terminal: Python does not heed a SIGINT that it inherits as ignored
            [str(Path(sys.executable).with_name("serve")), "run", "serve.yaml"], cwd=installation.folder,
            env=installation.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        said = until(lambda: _asked_from_inside(installation, ray_cluster["RAY_ADDRESS"]), "an answer", PATIENCE_S)
        answer, refused = said.splitlines()[-2:]
        assert json.loads(answer)["model_name"] == "digits"
        assert refused == "True"
    finally:
        end(serve)


def _asked_from_inside(installation: Installation, address: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ASK_FROM_INSIDE, address], cwd=installation.folder, env=installation.environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else ""


def _versions(http_url: str) -> set[str]:
    answers = [httpx.post(f"{http_url}/v2/models/digits/infer", json=ROW, timeout=10) for _ in range(60)]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.json()["model_version"] for answer in answers}
