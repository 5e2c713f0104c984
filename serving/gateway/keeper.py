"""Keeps the keeper: the one process beside a replica's workers that answers are compared and kept in.

Nothing that a client waits for passes through it, so nobody waits for it either: it is started beside the workers,
started again when it ends, after a pause that grows while it keeps ending, and asked to end after them. What it does is
`serving.keeping`; here it is known by its module and by the one line that it is told. The loop that this runs on must
be that of a thread that lives as long as the process: the keeper dies with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from serving import child
from serving.errors import StartFailed

_log = logging.getLogger(__name__)
MODULE: Final = "serving.keeping"
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_LONG_LIFE_S: Final = 10.0
_GRACE_S: Final = 6.0
_LONGEST_PATH: Final = 100
_NAME: Final = "keeper"


class Keeper:
    """The keeper's process.

    Args:
        line: what it is told on its standard input; it may hold a secret, and is shown nowhere.
        module: that is run.
        first_pause_s: before it is started again for the first time.
    """

    def __init__(self, line: str, *, module: str = MODULE, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        self._line = line.encode() + b"\n"
        self._argv = (sys.executable, "-m", module)
        self._first_pause_s = first_pause_s
        self._process: subprocess.Popen[bytes] | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is no process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Keeps it from here on."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Lets it write what it has, and sees it gone."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        process, self._process = self._process, None
        if process is not None:
            await child.stop_async(process, _GRACE_S)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._first_pause_s
        while True:
            since = loop.time()
            try:
                process = self._process = self._spawn()
            except (StartFailed, OSError) as error:  # out of descriptors or processes, which may pass
                _log.error("The keeper cannot be started (%s): answers are not compared.", error)
            else:
                await child.ended(process)
                self._process = None
                _log.error("The keeper ended with %s: starting it again in %.1f s.", process.wait(), pause_s)
            if loop.time() - since > _LONG_LIFE_S:
                pause_s = self._first_pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        process = child.spawn(self._argv, env=environment, stdin=subprocess.PIPE)
        if process.stdin is not None:
            with contextlib.suppress(OSError), process.stdin as stdin:  # it has ended already: it will be seen
                stdin.write(self._line)
        return process


def socket_file(state_dir: Path) -> Path:
    """Where a keeper listens: a file that is this process's own, in a folder that nobody else may enter.

    Args:
        state_dir: of the installation; where its path is too long for a Unix socket, a temporary folder is made.
    """
    folder = state_dir / "gateway"
    path = folder / f"{_NAME}-{os.getpid()}"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return Path(tempfile.mkdtemp(prefix="sluice-")) / _NAME
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return path
