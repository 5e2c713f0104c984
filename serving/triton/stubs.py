"""The processes that a tritonserver starts for itself, one for each instance of a Python model.

Triton does not start a stub anew that has ended, and goes on saying that the model is ready: every request that it
gives to that instance then fails. So whoever watches a server watches these as well.
"""

import asyncio
import os
import signal
from collections.abc import Iterable
from pathlib import Path

_NAME = "triton_python_b"
"""As much of it as the kernel keeps."""

_PARENT = 1
_EXIT_CODE = 49
"""Where a process's parent and its wait status stand in /proc/PID/stat, counted after its name and its state at 0."""


def children_of(pid: int) -> tuple[int, ...]:
    """The stubs of this server, those that have ended unnoticed by it as well."""
    listed = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(one for one in listed if _field(one, _PARENT) == pid and _is_stub(one))


def dead_stubs_of(pid: int) -> frozenset[int]:
    """Those that have ended, and that the server has not noticed."""
    return frozenset(one for one in children_of(pid) if has_ended(one))


async def first_ended(pids: Iterable[int]) -> int:
    """Waits until one of them has ended; its number. None of them is waited for in the kernel's sense."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[int] = loop.create_future()
    watched: list[int] = []
    try:
        for pid in pids:
            try:
                held = os.pidfd_open(pid)
            except ProcessLookupError:
                return pid
            watched.append(held)
            loop.add_reader(held, _settle, first, pid)
        return await first
    finally:
        for held in watched:
            loop.remove_reader(held)
            os.close(held)


def has_ended(pid: int) -> bool:
    """Whether it runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True


def exit_code_of(pid: int) -> int | None:
    """How it ended, as Popen says it; None where that is not known, for it runs or somebody has waited for it."""
    status = _field(pid, _EXIT_CODE) if has_ended(pid) else None
    return None if status is None else os.waitstatus_to_exitcode(status)


def words_of(code: int | None) -> str:
    """'was killed by SIGKILL', or 'ended with exit code 1'."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _is_stub(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith(_NAME)
    except (FileNotFoundError, ProcessLookupError):
        return False


def _settle(first: asyncio.Future[int], pid: int) -> None:
    if not first.done():
        first.set_result(pid)


def _field(pid: int, number: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[number])
    except (FileNotFoundError, ProcessLookupError):
        return None
