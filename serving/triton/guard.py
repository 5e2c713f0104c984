"""What ends the rest of a server whose owner could not: a small process that outlives both.

A server dies with its owner (`serving.child`), but what the server has started for itself does not: its Python stubs
ask every now and then whether a process with their parent's number is there, and one that has died and was not waited
for still is. They may then run for ever, as large as the model. Nor does anybody remove shared memory and folders of a
process that was killed. So a guard is started before them. Each server has a mark, an inherited environment variable
that begins with its guard's; when the server has ended, the guard ends what carries exactly that mark, for the server
that follows one which lost its port has another. When its owner has ended it ends and removes all the rest: that is
when the pipe between them is closed, however the owner ended.

It runs as a file of its own (`python -I -S guard.py MARK FOLDER…`), as nobody's child and without the mark of its run,
so that neither whoever ends the owner's children nor the sweeper of the run (`serving.sweeper`) ends it as well; it
imports nothing but the standard library.
"""

import asyncio
import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "SLUICE_TRITON"
"""The environment variable that marks a server, its stubs, and whatever they start."""

_RUN = "SLUICE_RUN"
"""The sweeper's variable."""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps POSIX shared memory
_LIMIT_S = 30.0
_LOOK_S = 0.05


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
            command = [sys.executable, "-I", "-S", __file__, mark, *map(str, folders)]
            unswept = {name: value for name, value in os.environ.items() if name != _RUN}
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


def _main(mark: str, folders: list[Path]) -> None:
    if os.fork():
        os._exit(0)
    _guard()
    _end(mark)
    for region in _SHARED_MEMORY.glob(f"{mark}*"):
        region.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _guard() -> None:
    """Returns when the owner has ended, or has closed the pipe."""
    watched: dict[int, str] = {}
    while True:
        for ready in select.select([0, *watched], [], [])[0]:
            if ready != 0:
                _end(watched.pop(ready), whole=True)
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
            _end(mark, whole=True)
    return opened


def _end(mark: str, *, whole: bool = False) -> None:
    """Kills what carries the mark until nothing does. What the kernel cannot end within its time, nobody can."""
    deadline = time.monotonic() + _LIMIT_S
    wanted = f"{VARIABLE}={mark}".encode() + (b"\0" if whole else b"")
    while (found := list(_marked(wanted))) and time.monotonic() < deadline:
        for pid in found:
            _kill(pid, wanted)
        time.sleep(_LOOK_S)


def _marked(wanted: bytes) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _carries(int(folder.name), wanted):
            yield int(folder.name)


def _carries(pid: int, wanted: bytes) -> bool:
    """Whether its environment has an entry that begins so; each entry ends with a zero."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # ended meanwhile, a zombie, or somebody else's
        return False
    return b"\0" + wanted in b"\0" + environment


def _kill(pid: int, wanted: bytes) -> None:
    with contextlib.suppress(ProcessLookupError):
        held = os.pidfd_open(pid)
        try:
            if _carries(pid, wanted):  # while it is held, its number is nobody else's
                signal.pidfd_send_signal(held, signal.SIGKILL)
        finally:
            os.close(held)


if __name__ == "__main__":
    _main(sys.argv[1], [Path(folder) for folder in sys.argv[2:]])
