"""What ends the rest of a server whose owner could not: a small process that outlives both.

A server dies with its owner (`serving.child`), but what the server has started for itself does not: its Python stubs
ask every now and then whether a process with their parent's number is there, and one that has died and was not waited
for still is. They may then run for ever, as large as the model. Nor does anybody remove shared memory and folders of a
process that was killed, nor what its Python backend has made in /tmp (`scratch.py`). So a guard is started before them.
Each server has a mark, an inherited environment variable that begins with its guard's; when the server has ended, the
guard ends what carries exactly that mark, for the server that follows one which lost its port has another. When its
owner has ended it ends and removes all the rest: that is when the pipe between them is closed, however the owner ended.

It runs alone (`serving.marks`), as nobody's child and without the mark of its run, so that neither whoever ends the
owner's children nor the sweeper of the run (`serving.sweeper`) ends it as well.
"""

import asyncio
import contextlib
import os
import secrets
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from serving import marks
from serving.sweeper import VARIABLE as RUN
from serving.triton import scratch

VARIABLE = "SLUICE_TRITON"
"""The environment variable that marks a server, its stubs, and whatever they start."""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps POSIX shared memory


class Guard:
    """A running guard; made by `start`.

    Attributes:
        mark: what the servers' values of `VARIABLE` begin with, and the names of their shared memory.
    """

    def __init__(self, mark: str, pipe: int, done: int) -> None:
        """Use `start`."""
        self.mark = mark
        self._pipe: int | None = pipe
        self._done = done

    @classmethod
    def start(cls, *folders: Path) -> "Guard":
        """A guard that removes these folders in the end. Blocks for some milliseconds."""
        mark = f"sluice-{secrets.token_hex(8)}"
        told, tell = os.pipe()
        done, hold = os.pipe()
        try:
            command = marks.alone(__name__, mark, *map(str, folders))
            unswept = {name: value for name, value in os.environ.items() if name != RUN}
            subprocess.run(command, env=unswept, stdin=told, stdout=hold, start_new_session=True, check=True)
        except BaseException:
            os.close(tell)
            os.close(done)
            raise
        finally:
            os.close(told)
            os.close(hold)
        return cls(mark, tell, done)

    def server_mark(self) -> str:
        """A mark that no other server has."""
        return f"{self.mark}-{secrets.token_hex(4)}"

    def watch(self, pid: int, mark: str) -> None:
        """From now on, what carries that mark ends with that process. A guard that was killed guards no more."""
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, f"{pid} {mark}\n".encode())

    def close(self) -> None:
        """Returns when nothing with the mark is left. Closing it twice is harmless."""
        if self._pipe is None:
            return
        os.close(self._pipe)
        self._pipe = None
        os.read(self._done, 1)  # nothing is ever written: it returns when the guard has ended
        os.close(self._done)


async def gone(guard: Guard) -> None:
    """Returns when nothing with the guard's mark is left, nor its folders; goes on doing that when it is cancelled."""
    await asyncio.shield(asyncio.to_thread(guard.close))


def main(words: Sequence[str]) -> None:
    """Guards until standard input is closed; then nothing with the mark is left, nor the folders.

    Args:
        words: the mark, and the folders.
    """
    if os.fork():
        os._exit(0)
    mark, *folders = words
    began_s = time.time()
    _guard()
    marks.end(marks.beginning(VARIABLE, mark))
    for region in _SHARED_MEMORY.glob(f"{mark}*"):
        region.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    scratch.remove_orphans(began_s)


def _guard() -> None:
    """Returns when the owner has ended, or has closed the pipe."""
    watched: dict[int, str] = {}
    while True:
        for ready in select.select([0, *watched], [], [])[0]:
            if ready != 0:
                marks.end(marks.entry(VARIABLE, watched.pop(ready)))
                os.close(ready)
            elif told := os.read(0, select.PIPE_BUF):
                watched |= _opened(told.decode())
            else:
                return


def _opened(told: str) -> dict[int, str]:
    """The servers by descriptors that are ready when they have ended, and their marks."""
    opened = {}
    for line in told.splitlines():
        pid, mark = line.split()
        try:
            opened[os.pidfd_open(int(pid))] = mark
        except ProcessLookupError:  # it has ended, and somebody has waited for it
            marks.end(marks.entry(VARIABLE, mark))
    return opened
