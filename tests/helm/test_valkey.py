"""Valkey's container, started as a process here: its command and its configuration with the real server."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from serving.control.valkey import binary
from tests.helm.chart import container, of_kind, pods

pytestmark = pytest.mark.helm
PASSWORD = "a-password_1"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server that the chart's own command started, its folders below the test's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (files,) = (one["data"] for name, one in of_kind("least", "ConfigMap").items() if name.endswith("-valkey"))
    places = {"/etc/valkey-password": "secret", "/run/valkey": "run", "/etc/valkey": "etc", "/data": "data"}
    for folder in places.values():
        (tmp_path / folder).mkdir()
    (tmp_path / "secret" / "password").write_text(PASSWORD)
    for name, text in files.items():
        for place, folder in places.items():
            text = text.replace(place, str(tmp_path / folder))  # noqa: PLW2901 - one after the other
        (tmp_path / "etc" / name).write_text(text.replace("port 6379", f"port {port}"))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "valkey-server").symlink_to(binary())
    command = container(pods("least")["sluice-valkey"])["command"]
    argv = [word.replace("/etc/valkey", str(tmp_path / "etc")) for word in command]
    server = subprocess.Popen(argv, env={"PATH": f"{programs}:{os.defpath}"}, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        server.terminate()
        server.wait(20)


def client(port: int, password: str | None) -> redis.Redis:
    """A client of it, once it answers."""
    there = redis.Redis(port=port, password=password, retry=Retry(NoBackoff(), 0))
    deadline = time.monotonic() + 20
    while True:
        try:
            there.ping()
        except redis.AuthenticationError:
            return there
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return there


def test_it_keeps_and_asks(port: int, tmp_path: Path) -> None:
    """It asks for the Secret's password, which no list of processes shows; each change is on disk, and none is lost."""
    there = client(port, PASSWORD)
    assert there.set("a", "b")
    kept = there.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert kept == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    assert any((tmp_path / "data").rglob("*.aof"))
    with pytest.raises(redis.AuthenticationError):
        client(port, None).get("a")
    arguments = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if _is_valkey(file)]
    assert arguments
    assert not any(PASSWORD.encode() in one for one in arguments)
    there.close()


def _is_valkey(file: Path) -> bool:
    try:
        return b"valkey-server" in file.read_bytes()
    except OSError:
        return False
