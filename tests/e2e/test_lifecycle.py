"""How an installation begins and ends by halves: beside another, with what it cannot start, by Ctrl-C too early.

By Ctrl-C, by SIGTERM and by SIGKILL those end that the other tests share (`demo`, `rolling_room`, `flip_room`), and it
is looked at there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.numbered import numbered
from tests.e2e.system import Installation, end, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A folder without settings; whatever was started there must be gone at the end."""
    installation = Installation(tmp_path)
    yield installation
    installation.gone()


def serve_one_version(installation: Installation) -> None:
    """Settings with one model of one version, on a port range of its own."""
    versions = [{"version": 1, "path": str(numbered(installation.folder / "models" / "1", 1))}]
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


@pytest.mark.slow
def test_a_signal_while_it_is_starting(installation: Installation) -> None:
    """Ctrl-C before it is ready leaves nothing behind either."""
    serve_one_version(installation)
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


@pytest.mark.slow
def test_a_pool_that_cannot_start_is_told_in_a_sentence(installation: Installation, tmp_path: Path) -> None:
    """An artifact folder that is not there: exit code 1, the folder in the sentence, everything taken down again."""
    settings = {"models": [{"name": "ghost", "versions": [{"version": 1, "path": str(tmp_path / "nowhere")}]}]}
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings))
    done = installation.run("up", within_s=240)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
