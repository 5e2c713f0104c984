"""A Valkey for each installation, that keeps as the embedded one does, and what it says of how busy it is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.compare.peers import HOST, free_port, running
from loadtests.compare.stores import program, wrong_at

_KEEPS = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a store has counted since it began.

    Attributes:
        commands: that clients sent.
        read_bytes: that came from them.
        written_bytes: that went to them.
        clients: connections that are open now.
    """

    commands: int
    read_bytes: int
    written_bytes: int
    clients: int


@contextmanager
def store(folder: Path) -> Iterator[tuple[str, int]]:
    """Its address and its process, for as long as the block lasts.

    Raises:
        NotStarted: there is none on this machine, or it does not answer.
    """
    port = free_port()
    argv = [str(program()), "--bind", HOST, "--port", str(port), "--dir", str(folder), "--save", "", *_KEEPS]
    with running(argv, lambda: wrong_at(port), folder / "store.log") as pid:
        yield f"redis://{HOST}:{port}/0", pid


def asked(url: str) -> Said:
    """What the store of this address says; asking costs it two commands."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.create_connection((HOST, port), _WITHIN_S) as line, line.makefile("rb") as answers:
        line.sendall(b"INFO stats\r\nINFO clients\r\n")
        told: dict[str, str] = {}
        for _ in range(2):
            text = answers.read(int(answers.readline()[1:]) + 2).decode()
            told |= dict(one.split(":", 1) for one in text.splitlines() if ":" in one)
    return Said(
        int(told["total_commands_processed"]), int(told["total_net_input_bytes"]),
        int(told["total_net_output_bytes"]), int(told["connected_clients"]),
    )  # fmt: skip
