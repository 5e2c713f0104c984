"""What `nvidia-smi` says about the GPU: its name, the memory in use, how busy it is.

The memory is the whole GPU's, whoever uses it, so a figure says something only beside one from before. While there is
load, a shell beside us asks again and again, one program each time: what has ended has written all that it had to say.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving import child

_AGAIN = 'while "$@"; do sleep 0.5; done'
_TIMEOUT_S = 30.0
_FIELDS = "name,driver_version,memory.used,utilization.gpu"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the GPU.

    Attributes:
        name: of the GPU.
        driver: its release.
        memory_mib: memory in use, MiB.
        busy: per cent of the last moments in which it ran something.
    """

    name: str
    driver: str
    memory_mib: float
    busy: float


def chosen(environ: Mapping[str, str] = os.environ) -> str:
    """The one GPU that is used: the first that CUDA_VISIBLE_DEVICES names, or number 0."""
    return environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"


def found() -> bool:
    """Whether there is an `nvidia-smi` on PATH."""
    return shutil.which("nvidia-smi") is not None


def look() -> Snapshot | None:
    """The GPU as it is now; None where nobody can say."""
    if not found():
        return None
    done = subprocess.run(_command(), capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    return next(iter(read(done.stdout)), None)


@contextmanager
def watched(folder: Path) -> Iterator[list[Snapshot]]:
    """A list that is filled when the block has ended: looks at the GPU, up to two a second; empty without a GPU."""
    seen: list[Snapshot] = []
    if not found():
        yield seen
        return
    said = folder / "nvidia-smi.csv"
    with said.open("wb") as file:
        command = ["sh", "-c", _AGAIN, "sh", *_command()]
        watching = child.spawn(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL)
    try:
        yield seen
    finally:
        child.stop(watching, 1.0)
        seen += read(said.read_text())


def read(text: str) -> Sequence[Snapshot]:
    """The looks that a CSV holds; a line that is none, such as one that was cut off, is passed over."""
    return tuple(look for line in text.splitlines() if (look := _snapshot(line)))


def _snapshot(line: str) -> Snapshot | None:
    try:
        name, driver, memory, busy = (part.strip() for part in line.split(","))
        return Snapshot(name, driver, float(memory), float(busy))
    except ValueError:
        return None


def _command() -> list[str]:
    return ["nvidia-smi", f"--id={chosen()}", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
