"""How a gateway replica of this machine is told to drain before its time: `sluice drain --local`.

Whoever takes a machine away (Kubernetes, by a hook of the pod that ends) knows nothing of Ray's replicas, and Ray hears
of it last. So each replica listens on a Unix socket in its state folder: whoever may open that asks it to drain, and is
answered when the last worker is gone. How workers drain is left to `gateway.supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Self

from serving.errors import SluiceError

_log = logging.getLogger(__name__)
_PATTERN = "drain-*"
_ASKED = b"drain\n"
_DONE = b"drained\n"

Drain = Callable[[], Awaitable[None]]
"""Drains a replica, and returns when that is done; may be called again meanwhile, and afterwards."""


class DrainDoor:
    """Where one replica is told to drain; made by `open`.

    Args:
        server: listens.
        path: of its socket.
    """

    def __init__(self, server: asyncio.Server, path: Path) -> None:
        self._server = server
        self._path = path

    @classmethod
    async def open(cls, state_dir: Path, drain: Drain) -> Self | None:
        """The door of this process; None, with a line in the log, where the folder takes no socket.

        Args:
            state_dir: of the installation, which only its own user may look into.
            drain: what is done when somebody asks.
        """
        path = state_dir / f"drain-{os.getpid()}"
        try:
            return cls(await asyncio.start_unix_server(_answering(drain), sock=_socket(path)), path)
        except OSError as error:
            _log.warning("`sluice drain --local` will not find this gateway (%s: %s)", path, error)
            return None

    def close(self) -> None:
        """No more; who is being answered is answered."""
        self._server.close()
        self._path.unlink(missing_ok=True)


def _answering(drain: Drain) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readline() == _ASKED:
                await drain()
                writer.write(_DONE)
                await writer.drain()
        except OSError:  # whoever asked waits no longer
            _log.info("nobody waits for the end of the drain")
        finally:
            writer.close()

    return answer


def _socket(path: Path) -> socket.socket:
    """Bound, for this user alone; what an earlier process with this number has left is out of the way."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound


def drain_local(state_dir: Path, within_s: float) -> int:
    """Has every gateway replica of this machine that runs from the folder drain; how many there were.

    Call it where no event loop runs.

    Args:
        state_dir: of the installation.
        within_s: how long that may take, seconds.

    Raises:
        SluiceError: one did not end within that time, or broke off.
    """
    doors = sorted(state_dir.glob(_PATTERN))
    try:
        return asyncio.run(_all_drained(doors, within_s))
    except TimeoutError as error:
        raise SluiceError(
            f"A gateway of {state_dir} still drains after {within_s:g} s.",
            "gateway.drain_limit_s says how long it may.",
        ) from error


async def _all_drained(doors: Iterable[Path], within_s: float) -> int:
    async with asyncio.timeout(within_s):
        return sum(await asyncio.gather(*map(_drained, doors)))


async def _drained(door: Path) -> bool:
    """Whether there was a replica behind the door; it is drained then."""
    try:
        reader, writer = await asyncio.open_unix_connection(door)
    except (ConnectionRefusedError, FileNotFoundError):  # it is gone, and may have left this behind
        return False
    with contextlib.closing(writer):
        writer.write(_ASKED)
        said = await reader.readline()
    if said != _DONE:
        raise SluiceError(f"The gateway behind {door} ended before it was drained.", "Its log says why.")
    return True
