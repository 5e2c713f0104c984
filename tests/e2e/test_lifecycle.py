"""How an installation begins and ends: in the foreground, in the background, killed, beside another, by halves.

By Ctrl-C and by SIGTERM those end that the other tests share (`demo`, `flip_room`), and it is looked at there.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.conftest import Models
from tests.e2e.system import GONE_WITHIN_S, Installation, end, refuses, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A folder without settings; whatever was started there must be gone at the end."""
    installation = Installation(tmp_path)
    yield installation
    installation.gone()


def serve_one_version(installation: Installation, models: Models) -> None:
    """Settings with one model of one version, on a port range of its own."""
    versions = [{"version": 1, "path": str(models.folder / "digits" / "1")}]
    settings = {"models": [{"name": "digits", "versions": versions}], "triton": {"port_range": 0}}
    (installation.folder / "sluice.yaml").write_text(yaml.safe_dump(settings))


@pytest.mark.slow
def test_the_demo_by_itself(tmp_path: Path) -> None:
    """`sluice demo --once` exits with 0: no failed request, every customer where choose() says, nothing left behind."""
    installation = Installation(tmp_path)
    done = installation.run("demo", "--once", within_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed; 300 of 300 customers got the version that choose() says" in done.stdout
    assert "digits 1" in done.stdout
    assert "digits 2" in done.stdout
    installation.gone()
    assert installation.run_file() == {}


def test_a_killed_command_takes_everything_with_it(installation: Installation, models: Models) -> None:
    """SIGKILL of `sluice up`: no tritonserver, stub, Valkey or Ray process of it lives 15 s longer.

    Nor is anything that it left lying about in the way of the next one, which runs in the background.
    """
    serve_one_version(installation, models)
    process = installation.start("up")
    run = installation.ready(process)
    assert httpx.get(f"{run['http_url']}/v2/models/digits/ready").status_code == 200
    running = " ".join(installation.left_over())
    for name in ("tritonserver", "triton_python_backend_stub", "valkey-server", "raylet", "serving.gateway"):
        assert name in running
    end(process, signal.SIGKILL)
    until(lambda: not installation.left_over(), f"the end of {installation.left_over()}", GONE_WITHIN_S)
    for url in (run["http_url"], run["control_url"]):  # an ending process gives its memory back before its sockets
        until(partial(refuses, url), f"the end of the listener at {url}", GONE_WITHIN_S)
    check_background(installation)


def check_background(installation: Installation) -> None:
    """Detached, it returns when all is ready; a second one names the first; `status` shows it; `down` ends it.

    Without settings, and so without a model: what the store knows of one from before is in nobody's way.
    """
    (installation.folder / "sluice.yaml").unlink()
    up = installation.run("up", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    run = installation.run_file()
    status = json.loads(installation.run("status", "--json").stdout)
    assert status["store"]["reachable"]
    assert status["gateways"][0]["http_port"] == httpx.URL(run["http_url"]).port
    again = installation.run("up")
    assert again.returncode == 1
    assert f"already runs from {installation.folder / '.sluice'}" in again.stderr
    assert run["http_url"] in again.stderr
    down = installation.run("down")
    assert down.returncode == 0, down.stdout + down.stderr
    installation.gone()
    assert refuses(run["http_url"])
    assert refuses(run["control_url"])
    nothing = installation.run("down")
    assert nothing.returncode == 1
    assert "Nothing runs from" in nothing.stderr


def test_a_signal_while_it_is_starting(installation: Installation, models: Models) -> None:
    """Ctrl-C before it is ready leaves nothing behind either."""
    serve_one_version(installation, models)
    process = installation.start("up")
    until(lambda: "starting the gateway" in installation.output(), "the gateway's turn")
    end(process)
    installation.gone()


def test_a_taken_port_is_told_before_anything_has_started(installation: Installation) -> None:
    """Exit code 1, the port and the setting in the sentence, and no process was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = installation.run("up", "--http-port", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "listen.http_port" in done.stderr
    assert "starting" not in done.stdout
    assert "Traceback" not in done.stderr


def test_a_pool_that_cannot_start_is_told_in_a_sentence(installation: Installation, tmp_path: Path) -> None:
    """An artifact folder that is not there: exit code 1, the folder in the sentence, everything taken down again."""
    settings = {"models": [{"name": "ghost", "versions": [{"version": 1, "path": str(tmp_path / "nowhere")}]}]}
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings))
    done = installation.run("up", within_s=240)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
