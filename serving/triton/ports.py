"""Ports for servers that start, and where this machine reaches a server that listens everywhere."""

import contextlib
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence

from serving.errors import StartFailed

_EVERY_INTERFACE: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound, here


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


def _bindable(host: str, candidates: Sequence[int]) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in candidates:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As Triton binds: a connection of an earlier server that lingers does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                yield port
