"""The folder that Triton's Python backend makes for each server in /tmp, and leaves there when the server is killed.

Nothing tells the backend to make it elsewhere, and nothing says which server made which. So one is removed only where
whoever made it is surely gone: it is ours and empty, and no tritonserver that runs had begun before it was made.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_TEMPORARY = Path("/tmp")  # noqa: S108 - written into the backend
_NAMES = "python_env_*"
_INACCURACY_S = 3.0
"""Of a process's beginning: the kernel tells the machine's own in whole seconds."""


def remove_orphans(since_s: float) -> None:
    """Removes those that were made since then, in seconds of the Unix clock."""
    remove(_TEMPORARY, since_s, _servers_began())


def remove(folder: Path, since_s: float, servers_began_s: Iterable[float]) -> None:
    """Removes those in the folder that were made since then, and before the first of these servers began."""
    first_s = min(servers_began_s, default=float("inf")) - _INACCURACY_S
    for one in folder.glob(_NAMES):
        try:
            about = one.lstat()
            if about.st_uid == os.geteuid() and since_s <= about.st_ctime < first_s:
                one.rmdir()
        except OSError:  # it is in use, or it is gone
            continue


def _servers_began() -> Iterator[float]:
    """When the tritonservers began that run on this machine."""
    booted_s = next(
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
    )
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            if name == "tritonserver" and rest.split()[0] != "Z":
                yield booted_s + int(rest.split()[19]) / os.sysconf("SC_CLK_TCK")
