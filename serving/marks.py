"""Processes that are known by a mark: an environment variable that each inherits from whoever was marked first.

The kernel keeps the environment that a process was started with, so a mark cannot be lost on the way, whatever
detached itself or lost its parents; a process that is found by it is ended while its number is held, so that nobody
who came to that number meanwhile is ended instead.

What looks for marks (`serving.sweeper`, `serving.triton.guard`) must outlive all the rest, and is started by `alone`:
an interpreter that knows the standard library and these few files. So they, and this one, import nothing else.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

LIMIT_S = 30.0
"""For how long processes are killed, in seconds: what the kernel has not ended by then, nobody can."""

_LOOK_S = 0.05
_ROOT = Path(__file__).parents[1]
_RUN = "import importlib, sys; sys.path.append(sys.argv[1]); importlib.import_module(sys.argv[2]).main(sys.argv[3:])"


def alone(module: str, *words: str) -> list[str]:
    """The command line of an interpreter that calls a module's `main` with those words, and imports little else."""
    return [sys.executable, "-I", "-S", "-c", _RUN, str(_ROOT), module, *words]


def entry(variable: str, mark: str) -> bytes:
    """That mark and no other, as an environment has it."""
    return beginning(variable, mark) + b"\0"


def beginning(variable: str, mark: str) -> bytes:
    """That mark and all that begin with it, as an environment has them."""
    return f"{variable}={mark}".encode()


def carriers(wanted: bytes) -> list[int]:
    """The processes that carry `wanted`, an entry or the beginning of one; this one is never among them."""
    numbers = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return [pid for pid in numbers if pid != os.getpid() and _carries(pid, wanted)]


def end(wanted: bytes, grace_s: float = 0.0, limit_s: float = LIMIT_S) -> None:
    """Returns when no process carries `wanted`, or after `limit_s` seconds.

    Args:
        wanted: an entry, or the beginning of one.
        grace_s: how long they may take to end by themselves before they are killed, in seconds.
        limit_s: when to give up, in seconds.
    """
    began = time.monotonic()
    while found := carriers(wanted):
        waited_s = time.monotonic() - began
        if waited_s > limit_s:
            return
        if waited_s >= grace_s:
            for pid in found:
                _kill(pid, wanted)
        time.sleep(_LOOK_S)


def _carries(pid: int, wanted: bytes) -> bool:
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
