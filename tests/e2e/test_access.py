"""A whole installation that asks everybody for a key and encrypts everything: who gets in, and what is open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.http as triton
import yaml
from tritonclient.utils import InferenceServerException

from serving.access.keys import Shown, create
from serving.openings import judge
from serving.openings import listening as sockets_of
from tests.e2e.conftest import Models
from tests.e2e.system import PATIENCE_S, Installation, end, until
from tests.serving.certificates import Authority, Files
from tests.serving.metrics.promtool import promtool

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_ASK_FROM_INSIDE = """
import sys
import ray
from ray import serve
ray.init(address=sys.argv[1], log_to_driver=False)
body = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}
handle = serve.get_app_handle("sluice")
print(handle.infer.remote("digits", body).result(timeout_s=30)["model_name"])
try:
    handle.infer.remote("digits", body, headers={"authorization": "Bearer wrong"}).result(timeout_s=30)
except Exception as error:
    print("turned away" if "Authorization" in str(error) or "key" in str(error) else error)
"""


@dataclass(frozen=True)
class Guarded:
    """An installation that is up."""

    installation: Installation
    process: subprocess.Popen[bytes]
    run: dict[str, Any]
    admin: Shown
    files: Files
    authority: Authority

    def client(self, key: str = "") -> httpx.Client:
        """That trusts the installation's authority, and shows this key."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(verify=self.files.client(), headers=headers, trust_env=False, timeout=10)

    def command(self, *words: str, key: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of an operator's, who has the administering key in a file, or has none."""
        shown = {"SLUICE_KEY_FILE": str(self.installation.folder / "admin")} if key else {}
        typed = Installation(
            self.installation.folder,
            {**self.installation.settings, **shown, "SLUICE_CA_FILE": str(self.files.authority)},
            self.installation.mark,
        )
        return typed.run(*words)

    def predicts(self, key: str = "") -> str:
        """The version that answers a stock client over https; raises what that raises."""
        place = self.run["http_url"].removeprefix("https://")
        options = {"ca_certs": str(self.files.authority)}
        client = triton.InferenceServerClient(place, ssl=True, ssl_options=options)
        pixels = triton.InferInput("pixels", [1, 64], "FP32")
        pixels.set_data_from_numpy(np.zeros((1, 64), np.float32))
        try:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return str(client.infer("digits", [pixels], headers=headers).get_response()["model_version"])
        finally:
            client.close()


@pytest.fixture(scope="module")
def guarded(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Up for all tests of this file; nothing of it may be left over."""
    folder = tmp_path_factory.mktemp("guarded")
    authority, admin = Authority(folder), create()
    files = authority.issue()
    (folder / "admin").write_text(f"{admin.text}\n")
    (folder / "admin").chmod(0o600)
    version = {"version": 1, "path": str(models.folder / "digits" / "1")}
    settings = {
        "tls": {"certificate": str(files.certificate), "key": str(files.key), "reload_s": 0.2},
        "access": {"required": True, "admin_key_file": "admin"},
        "triton": {"port_range": 0},
        "models": [{"name": "digits", "versions": [version]}],
    }
    (folder / "sluice.yaml").write_text(yaml.safe_dump(settings))
    installation = Installation(folder)
    process = installation.start("up")
    try:
        yield Guarded(installation, process, installation.ready(process, "Ctrl-C"), admin, files, authority)
    finally:
        end(process)
        installation.gone()


@pytest.mark.slow
def test_a_stock_client_gets_in_with_a_key_alone(guarded: Guarded) -> None:
    """Over https; without a key, or with a wrong one, it is told so."""
    assert guarded.predicts(guarded.admin.text) == "1"
    for key in ("", create().text):
        with pytest.raises(InferenceServerException) as refused:
            guarded.predicts(key)
        assert "401" in str(refused.value.status())


@pytest.mark.slow
def test_commands_take_the_key_from_its_file(guarded: Guarded) -> None:
    """And say what to do where they have none."""
    status = guarded.command("status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["models"][0]["name"] == "digits"
    without = guarded.command("status", key=False)
    assert (without.returncode, without.stdout) == (1, "")
    assert "SLUICE_KEY_FILE" in without.stderr


@pytest.mark.slow
def test_a_key_that_was_made_works_until_it_is_revoked(guarded: Guarded) -> None:
    """For what it is for, at the prediction port, the control API and the metrics, each from the moment it is told."""
    made = guarded.command("keys", "create", "shop", "--role", "predict", "--model", "digits", "--quiet")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    key_id = key.split("_")[1]
    assert guarded.predicts(key) == "1"
    with guarded.client(key) as client:
        assert client.get(f"{guarded.run['control_url']}/api/v1/status").status_code == 403
        assert client.get(f"{guarded.run['metrics_url']}/metrics").status_code == 403
    with guarded.client(guarded.admin.text) as client:
        figures = client.get(f"{guarded.run['metrics_url']}/metrics")
    assert figures.status_code == 200
    assert 'sluice_endpoints_ready{model="digits",version="1"} 1.0' in figures.text
    assert promtool("check", "metrics", given=figures.content) == ""
    assert key not in guarded.command("keys", "list").stdout
    assert guarded.command("keys", "revoke", key_id).returncode == 0
    with pytest.raises(InferenceServerException):
        guarded.predicts(key)


@pytest.mark.slow
def test_a_new_certificate_is_taken_up_while_it_runs(guarded: Guarded) -> None:
    """By the gateway's worker and by both listeners of the control room; a connection that stands goes on."""
    urls = [f"{guarded.run['http_url']}/v2/health/live", f"{guarded.run['control_url']}/healthz"]
    with guarded.client() as standing:
        assert {standing.get(url).status_code for url in urls} == {200}
        before = {_serial(guarded, url) for url in (*urls, guarded.run["metrics_url"])}
        guarded.authority.issue()
        until(lambda: not before & {_serial(guarded, url) for url in (*urls, guarded.run["metrics_url"])}, "renewal")
        connections = {
            standing.get(url).extensions["network_stream"].get_extra_info("client_addr") for url in urls
        }  # fmt: skip
        assert len(connections) == 2
    assert guarded.command("status").returncode == 0
    assert guarded.predicts(guarded.admin.text) == "1"


def _serial(guarded: Guarded, url: str) -> str:
    with guarded.client() as client, client.stream("GET", url) as answer:
        return str(answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()["serialNumber"])


@pytest.mark.slow
def test_callers_inside_ray_get_in_by_the_replicas_own_key(guarded: Guarded) -> None:
    """Through the same door, and with a wrong key of their own they do not."""
    raylet = next(one for one in guarded.installation.processes("raylet/raylet"))
    address = next(word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--gcs-address="))
    token = {name: raylet.environ()[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    asked = subprocess.run(
        [sys.executable, "-c", _ASK_FROM_INSIDE, address], env={**guarded.installation.environment, **token},
        cwd=guarded.installation.folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert asked.stdout.split("\n")[:2] == ["digits", "turned away"], asked.stderr


@pytest.mark.slow
def test_nothing_is_open_that_was_not_said(guarded: Guarded) -> None:
    """Beside our listeners only Ray can be reached by others, behind its token; `up` says so."""
    ours = [httpx.URL(guarded.run[name]).port or 0 for name in ("http_url", "control_url", "metrics_url")]
    ours.append(int(guarded.run["grpc_url"].rpartition(":")[2]))
    pid = guarded.process.pid
    found = judge(sockets_of(pid), ours, pid, "127.0.0.1", {"RAY_AUTH_MODE": "token"})
    assert (found.refused, found.warned) == ((), ())
    said = guarded.installation.output()
    assert "behind its token" in said
    assert said.count("open to this machine alone, a key or a token is asked for, encrypted.") == 4


@pytest.mark.slow
def test_secrets_are_nowhere_to_be_read(guarded: Guarded) -> None:
    """Neither in arguments and environments of processes, nor in what is written, nor in what a model can see."""
    secret = guarded.admin.secret
    for process in guarded.installation._ours():
        try:
            words, variables = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        assert not [word for word in (*words, *variables.values()) if secret in word]
        if "tritonserver" in process.name():
            assert not [name for name in variables if name.startswith(("RAY_AUTH", "SLUICE_REDIS"))]
    written = [path for path in (guarded.installation.folder / ".sluice").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if secret.encode() in path.read_bytes()]
    assert secret not in guarded.installation.output()
    assert secret not in json.dumps(guarded.run)


def test_with_no_way_in_it_does_not_start(tmp_path: Path) -> None:
    """For other machines without access it is refused at once, and with access but without any key soon after."""
    installation = Installation(tmp_path)
    refused = installation.run("up", "--host", "0.0.0.0")  # noqa: S104
    assert refused.returncode == 1
    assert "access.required" in refused.stderr
    (tmp_path / "sluice.yaml").write_text("access: {required: true}")
    refused = installation.run("up", "--host", "0.0.0.0")  # noqa: S104
    assert refused.returncode == 1
    assert "nobody could be let in" in refused.stderr
    installation.gone()
