"""Ports for servers that start, and where this machine reaches a server that listens everywhere."""

import contextlib
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from serving.errors import StartFailed

_EVERY_INTERFACE: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound, here

# Columns of /proc/PID/net/tcp, and a state.
_ADDRESS, _STATE, _INODE = 1, 3, 9
_LISTENING = "0A"


def free_ports(host: str, within: range, count: int) -> list[int]:
    """Ports of the range that nobody listens on now, in no order, so that servers that start together rarely meet.

    Raises:
        StartFailed: there are not that many.
    """
    # Not a matter of security; the system's generator has no state that forked processes would share.
    candidates = secrets.SystemRandom().sample(within, len(within))
    found = [port for port, _ in zip(_bindable(host, candidates), range(count), strict=False)]
    if len(found) < count:
        raise StartFailed(
            f"No {count} ports from {within.start} to {within.stop - 1} are free on {host}.",
            "Widen triton.port_range.",
        )
    return found


def near(host: str) -> str:
    """Where this machine reaches a server that binds to `host`."""
    return _EVERY_INTERFACE.get(host, host)


def listens(pid: int, port: int) -> bool:
    """Whether that process has the port; yes where this process may not know."""
    try:
        own = set(_held(pid))
        rows = [line.split() for name in ("tcp", "tcp6") for line in _lines(Path(f"/proc/{pid}/net/{name}"))]
    except PermissionError:
        return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(
        int(row[_ADDRESS].rpartition(":")[2], 16) == port and f"socket:[{row[_INODE]}]" in own
        for row in rows
        if row[_STATE] == _LISTENING
    )


def _held(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield str(descriptor.readlink())


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []


def _bindable(host: str, candidates: Sequence[int]) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in candidates:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As Triton binds: a connection of an earlier server that lingers does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                yield port
