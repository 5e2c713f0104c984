"""Children that cannot outlive their parent: how this project starts every process that is not Ray's.

`spawn` starts a program through a launcher of a few lines. The launcher asks the kernel to kill it when its
parent dies (PR_SET_PDEATHSIG, which survives the exec), clears what it inherited in signal masks and
dispositions, and becomes the program. A `preexec_fn` would do the same between fork and exec, where, in a
process that has threads, any lock of the interpreter may be held for ever.

The kernel binds that promise to the THREAD that forks, not to its process: **call `spawn` from a thread that
lives as long as the process does**. From a thread of an executor the child is killed when that thread ends.

Every child leads a session of its own, so that Ctrl-C at a terminal reaches only the command that was typed,
and so that `stop` can also end what the child has left behind in its process group.

What the program is, when it is ready and what its output means is left to the caller.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from serving.errors import StartFailed

_LOOK_S = 0.02
"""How often a stopping child is looked at, in seconds."""

# All signals are reset, not only the blocked SIGINT that Ray's workers pass on: the launcher's own interpreter
# ignores SIGPIPE and SIGXFSZ, and an ignored signal stays ignored across exec.
_LAUNCHER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
if os.getppid() != int(sys.argv[1]):
    sys.exit(0)
os.execv(sys.argv[2], sys.argv[3:])
"""


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """A running child that is killed when the calling thread, and so its process, ends.

    Args:
        argv: the program, by path or by a name on PATH, and its arguments.
        env: the child's whole environment; None: this process's own.
        cwd: the folder it runs in; None: this process's own.
        stdin: as for `subprocess.Popen`, and so are stdout, stderr and pass_fds.
        stdout: see stdin.
        stderr: see stdin.
        pass_fds: see stdin.

    Raises:
        StartFailed: there is no such program, or no interpreter to launch it with.
    """
    program = _located(argv)
    launcher = [_interpreter(), "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), program]
    return subprocess.Popen(
        [*launcher, *argv],
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether it runs, without reaping it: until it is reaped, its number cannot be anyone else's."""
    if process.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


async def ended(process: subprocess.Popen[bytes]) -> None:
    """Waits until the child has ended, without reaping it."""
    try:
        watched = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watched, end.set)
    try:
        await end.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def stop(process: subprocess.Popen[bytes], grace_s: float) -> int:
    """Ends the child: SIGTERM, `grace_s` seconds of waiting, SIGKILL. Its return code, as Popen gives it.

    What it leaves behind in its process group is killed with it. Stopping a child twice is harmless.
    """
    for pause_s in _stopping(process, grace_s):
        time.sleep(pause_s)
    return process.wait()


async def stop_async(process: subprocess.Popen[bytes], grace_s: float) -> int:
    """`stop` for callers in an event loop, which goes on meanwhile."""
    for pause_s in _stopping(process, grace_s):
        await asyncio.sleep(pause_s)
    return process.wait()


def _located(argv: Sequence[str]) -> str:
    if not argv:
        raise StartFailed("An empty command line cannot be started: give the program's path first.")
    program = shutil.which(argv[0])
    if program is None:
        raise StartFailed(f"{argv[0]!r} is not an executable program: check its path and its mode.")
    return str(Path(program).absolute())


def _interpreter() -> str:
    if not sys.executable:
        raise StartFailed("This process does not know its Python interpreter: start it from one.")
    return sys.executable


def _stopping(process: subprocess.Popen[bytes], grace_s: float) -> Iterator[float]:
    """Carries the stop out; yields how long to pause, in seconds, before the next look."""
    if process.returncode is not None:
        return
    os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while alive(process) and time.monotonic() < deadline:
        yield _LOOK_S
    os.killpg(process.pid, signal.SIGKILL)
    while alive(process):
        yield _LOOK_S
