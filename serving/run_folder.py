"""One installation a state folder: the lock that says who runs from it, and the file that says where that answers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.errors import AlreadyRunning


class Lock:
    """Held by whoever runs from a state folder, for exactly as long as it lives."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._file: int | None = None

    def __enter__(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise AlreadyRunning(*_already(self._path.parent, self.holder())) from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._path.parent / "run.json").unlink()
        if self._file is not None:
            os.close(self._file)

    def holder(self) -> int | None:
        """The process that runs from the folder, None where none does."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(file, 32, 0) or b"0") or None
        finally:
            os.close(file)
        return None


def _already(state_dir: Path, pid: int | None) -> tuple[str, str]:
    run = read_run_file(state_dir)
    where = f", predictions at {run['http_url']}, control API at {run['control_url']}" if run else ", still starting"
    return f"Sluice already runs from {state_dir} (process {pid}{where}).", "End it with `sluice down`."


def write_run_file(state_dir: Path, urls: Mapping[str, str]) -> None:
    """Says what runs from this folder and where it answers, `http_url` and `control_url` among it."""
    temporary = state_dir / "run.json.new"
    temporary.write_text(json.dumps({"pid": os.getpid(), **urls}))
    temporary.replace(state_dir / "run.json")


def read_run_file(state_dir: Path) -> Mapping[str, Any] | None:
    """What runs from this folder and where it answers; None where nothing does, or nothing is ready."""
    try:
        run = json.loads((state_dir / "run.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return run if isinstance(run, dict) else None


def write_private(file: Path, text: str) -> None:
    """Written whole and then put in place, so that a crash leaves no half of a password behind; only we may read it."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
