"""Ports are found where nobody listens."""

import os
import socket
import subprocess

import pytest

from serving.errors import StartFailed
from serving.triton.ports import free_ports, listens, near


def test_a_port_that_is_taken_is_not_found() -> None:
    """A port that somebody listens on is not found, and is once it is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"No 1 ports from {port} to {port} are free"):
            free_ports("127.0.0.1", range(port, port + 1), 1)
    assert free_ports("127.0.0.1", range(port, port + 1), 1) == [port]


def test_ports_are_different_and_in_the_range() -> None:
    """Ports that are found together are different ones of the range."""
    ports = free_ports("127.0.0.1", range(23_000, 23_100), 5)
    assert len(set(ports)) == 5
    assert all(23_000 <= port <= 23_099 for port in ports)


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.2", "127.0.0.2")],  # noqa: S104 - nobody binds to it
)
def test_a_server_that_listens_everywhere_is_reached_nearby(host: str, reached: str) -> None:
    """This machine dials its own address, not the one that means all."""
    assert near(host) == reached


def test_a_process_has_the_ports_that_it_listens_on() -> None:
    """And neither those of others, nor any when it is gone."""
    with socket.create_server(("127.0.0.1", 0)) as mine, subprocess.Popen(["/bin/sleep", "60"]) as other:
        port = mine.getsockname()[1]
        assert listens(os.getpid(), port)
        assert not listens(other.pid, port)
        other.kill()
        other.wait()
        assert not listens(other.pid, port)
    assert not listens(os.getpid(), port)
