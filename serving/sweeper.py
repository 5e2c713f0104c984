"""The last one out: a process that ends whatever a run has left behind, however the run ended.

Children by `serving.child` die with their parent, and Ray's processes notice that theirs has gone. But Ray's agents
first report that to a server which is gone too, and may wait for it for a minute; and what a killed tritonserver had
started for itself is nobody's child. So every process of a run inherits a mark in its environment, and the sweeper,
which holds the other end of a pipe from the command, looks for that mark once the pipe is closed. Only the guards of
servers (`serving.triton.guard`) carry none: they end by themselves, once they have removed what their owners left.

It runs alone (`serving.marks`), beside the command and not below it, so that it outlives it. Processes of a Ray
cluster that is somebody else's carry no mark.
"""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence

from serving import marks

VARIABLE = "SLUICE_RUN"
"""The environment variable that marks a run's processes."""

GRACE_S = 4.0
"""How long they may take to end by themselves, in seconds: what dies in order leaves nothing half written."""


@contextlib.contextmanager
def sweeping(grace_s: float = GRACE_S) -> Iterator[None]:
    """While the block lasts, this process's environment is marked; at its end, nothing of the run is left.

    Args:
        grace_s: how long its processes may then take to end by themselves, in seconds.
    """
    mark = secrets.token_hex(16)
    told, tell = os.pipe()
    try:
        sweeper = subprocess.Popen(
            marks.alone(__name__, mark, str(grace_s)),
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


def sweep(mark: str, grace_s: float = GRACE_S) -> None:
    """Returns when no process carries the mark; those that still do after `grace_s` seconds are killed."""
    marks.end(marks.entry(VARIABLE, mark), grace_s)


def main(words: Sequence[str]) -> None:
    """Waits until standard input is closed, and sweeps.

    Args:
        words: the mark, and the grace in seconds.
    """
    while os.read(0, 1):
        pass
    mark, grace_s = words
    sweep(mark, float(grace_s))
