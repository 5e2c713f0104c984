"""The last one out: a process that ends whatever a run has left behind, however the run ended.

Children by `serving.child` die with their parent, and Ray's processes notice that theirs has gone. But Ray's agents
first report that to a server which is gone too, and may wait for it for a minute; and what a killed tritonserver had
started for itself is nobody's child. So every process of a run inherits a mark in its environment, and the sweeper,
which holds the other end of a pipe from the command, looks for that mark once the pipe is closed. Only the guards of
servers (`serving.triton.guard`) carry none: they end by themselves, once they have removed what their owners left.

It runs as a file of its own (`python -I -S sweeper.py MARK`), beside the command and not below it, so that it outlives
it; it imports nothing but the standard library. Processes of a Ray cluster that is somebody else's carry no mark.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "SLUICE_RUN"
"""The environment variable that marks a run's processes."""

GRACE_S = 4.0
"""How long they may take to end by themselves, in seconds: what dies in order leaves nothing half written."""

_LIMIT_S = 30.0
_LOOK_S = 0.05


@contextlib.contextmanager
def sweeping() -> Iterator[None]:
    """While the block lasts, this process's environment is marked; at its end, nothing of the run is left."""
    mark = secrets.token_hex(16)
    told, tell = os.pipe()
    try:
        sweeper = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, mark],
            stdin=told,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException:
        os.close(tell)
        raise
    finally:
        os.close(told)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = mark
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
        os.close(tell)
        sweeper.wait()


def sweep(mark: str, grace_s: float = GRACE_S, limit_s: float = _LIMIT_S) -> None:
    """Returns when no process carries the mark; those that still do after `grace_s` seconds are killed.

    Gives up after `limit_s` seconds: what the kernel cannot end, nobody can.
    """
    began = time.monotonic()
    while found := list(_marked(mark)):
        waited = time.monotonic() - began
        if waited > limit_s:
            return
        if waited >= grace_s:
            for pid in found:
                _kill(pid, mark)
        time.sleep(_LOOK_S)


def _marked(mark: str) -> Iterator[int]:
    """All running processes with the mark, except for this one."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid() and _carries(int(folder.name), mark):
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


def _main() -> None:
    while os.read(0, 1):
        pass
    sweep(sys.argv[1])


if __name__ == "__main__":
    _main()
