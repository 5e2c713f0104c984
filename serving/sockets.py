"""Listening sockets: opened once by whoever starts first, handed to whoever serves on them.

A port is taken before anything else has started, so a taken one is an error at once and not a gateway half up. On one
machine `sluice up` keeps the sockets and hands them on over a Unix socket (SCM_RIGHTS) as often as a replica asks:
while one is replaced, connections wait in the backlog and none is refused. Without SO_REUSEPORT, so that a second
gateway cannot share a port without a word.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from serving.errors import PortTaken

_BACKLOG = 4096
_LONGEST_NAME = 64
_PATIENCE_S = 5.0
_PAUSE_S = 0.1
_REACHED = MappingProxyType({"0.0.0.0": "127.0.0.1", "::": "::1"})  # noqa: S104 - compared, not bound
EVERY_ADDRESS = frozenset(_REACHED)
"""A listener that is bound to one of these is on every address of its machine."""


def open_listener(host: str, port: int, what: str, key: str) -> socket.socket:
    """A TCP socket that listens already, so that nobody is refused while its server is still on the way.

    Args:
        host: the address to bind.
        port: 0 for any free one.
        what: what will be served on it, for the error.
        key: the setting that chooses the port, for the error.

    Raises:
        PortTaken: somebody else has the port, or the address is not ours to bind.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without delay only where the protocol is named; else each small answer waits 40 ms for the client.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "somebody else listens there" if taken else error.strerror or str(error)
        hint = f"Choose another port with {key} (0: any free one)."
        raise PortTaken(
            f"{what} cannot listen on {host}:{port}: {reason}.", hint if taken else f"Name an address of ours. {hint}"
        ) from error
    return listener


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """Where a listener of ours is reached from this machine; one on every address is, by loopback."""
    host, port = listener.getsockname()[:2]
    host = _REACHED.get(host, host)
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


class Handover:
    """Gives listening sockets away by name, over a Unix socket that only this user can open.

    Args:
        path: of the Unix socket.
        listeners: by name.
    """

    def __init__(self, path: Path, listeners: Mapping[str, socket.socket]) -> None:
        self._path = path
        self._listeners = dict(listeners)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="socket-handover", daemon=True)

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._door.bind(str(self._path))
        finally:
            os.umask(before)
        self._door.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept
        self._door.close()
        self._thread.join(_PATIENCE_S)
        self._path.unlink(missing_ok=True)
        for listener in self._listeners.values():
            listener.close()

    def _serve(self) -> None:
        while True:
            try:
                asker, _ = self._door.accept()
            except OSError:
                if self._closed.wait(_PAUSE_S):
                    return
                continue  # such as too many open files: the next one may be luckier
            with asker, contextlib.suppress(OSError):
                asker.settimeout(_PATIENCE_S)
                listener = self._listeners.get(asker.recv(_LONGEST_NAME).decode("utf-8", "replace"))
                if listener is not None:
                    socket.send_fds(asker, [b"1"], [listener.fileno()])


def ask_for(path: str, name: str) -> socket.socket | None:
    """The listening socket of this name from the handover at `path`; None where there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(_PATIENCE_S)
        try:
            asker.connect(path)
            asker.sendall(name.encode())
            _, fds, _, _ = socket.recv_fds(asker, 1, 1)
        except OSError:
            return None
    return socket.socket(fileno=fds[0]) if fds else None
