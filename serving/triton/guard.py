"""What ends the rest of a server whose owner could not: a small process that outlives both.

A server dies with its owner (`serving.child`), but what the server has started for itself does not: its Python stubs
ask every now and then whether a process with their parent's number is there, and one that has died and was not waited
for still is. They may then run for ever, as large as the model. Nor does anybody remove shared memory and folders of a
process that was killed. So a guard is started before them. It ends whatever carries its mark, an inherited environment
variable, when the server that it watches has ended, and removes the rest when its owner has: that is when the pipe
between them is closed, however the owner ended.

It runs as a file of its own (`python -I -S guard.py MARK FOLDER…`), as nobody's child, so that whoever ends the owner's
children does not end it as well; it imports nothing but the standard library.
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

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps POSIX shared memory
_LIMIT_S = 30.0
_LOOK_S = 0.05


class Guard:
    """A running guard; made by `start`.

    Attributes:
        mark: the value of `VARIABLE`, and what names of the server's shared memory begin with.
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
            subprocess.run(command, stdin=told, stdout=hold, start_new_session=True, check=True)
        except BaseException:
            os.close(tell)
            os.close(done)
            raise
        finally:
            os.close(told)
            os.close(hold)
        return cls(mark, tell, done)

    def watch(self, pid: int) -> None:
        """From now on, what carries the mark ends with that process. A guard that was killed guards no more."""
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, f"{pid}\n".encode())

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
    _guard(mark)
    _end(mark)
    for region in _SHARED_MEMORY.glob(f"{mark}*"):
        region.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _guard(mark: str) -> None:
    """Returns when the owner has ended, or has closed the pipe."""
    watched: set[int] = set()
    while True:
        for ready in select.select([0, *watched], [], [])[0]:
            if ready != 0:
                _end(mark)
                watched.discard(ready)
                os.close(ready)
            elif told := os.read(0, 4_096):
                watched |= set(_opened(told))
            else:
                return


def _opened(told: bytes) -> Iterator[int]:
    for pid in told.split():
        with contextlib.suppress(ProcessLookupError):
            yield os.pidfd_open(int(pid))


def _end(mark: str) -> None:
    """Kills what carries the mark until nothing does. What the kernel cannot end within its time, nobody can."""
    deadline = time.monotonic() + _LIMIT_S
    while (found := list(_marked(mark))) and time.monotonic() < deadline:
        for pid in found:
            _kill(pid, mark)
        time.sleep(_LOOK_S)


def _marked(mark: str) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _carries(int(folder.name), mark):
            yield int(folder.name)


def _carries(pid: int, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # ended meanwhile, a zombie, or somebody else's
        return False
    return f"{VARIABLE}={mark}".encode() in environment.split(b"\0")


def _kill(pid: int, mark: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        held = os.pidfd_open(pid)
        try:
            if _carries(pid, mark):  # while it is held, its number is nobody else's
                signal.pidfd_send_signal(held, signal.SIGKILL)
        finally:
            os.close(held)


if __name__ == "__main__":
    _main(sys.argv[1], [Path(folder) for folder in sys.argv[2:]])
