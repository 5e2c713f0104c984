"""The files of a payload log: what they are called, how one appears whole or not at all, and which are removed.

    FOLDER/model=fraud/version=2/1763800000000000-3f9c2a71d0b4e865-000004.parquet
                                 microseconds     process           number

A file is written under a name that begins with a dot, brought to the disk, and then renamed: what ends in `.parquet`
is whole. A process that is killed leaves the former behind, and whoever opens the folder next removes it. It can tell
its own from what another process is still writing, for a writer holds a lock on its file until it has its name.

Folders have mode 0700 and files 0600: what is in them is what clients sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote, unquote

MOST_FILES: Final = 10_000
"""Files that a log may have, whatever their size."""
SUFFIX: Final = ".parquet"
_UNFINISHED: Final = ".part"
_MODEL, _VERSION = "model=", "version="
_NAME: Final = re.compile(r"(\d{16})-([0-9a-f]{16})-(\d{6,})\.parquet")


@dataclass(frozen=True, slots=True, order=True)
class Finished:
    """A file that is whole.

    Attributes:
        begun_us: when its first row came, microseconds since 1970; files sort by it.
        path: where it is.
        model: whose rows it has.
        version: of that model.
        size: bytes.
    """

    begun_us: int
    path: Path
    model: str
    version: int
    size: int


class Unfinished:
    """A file that is being written.

    Args:
        folder: of the log.
        model: whose rows it is to have.
        version: of that model.
        name: without the suffix: '1763800000000000-3f9c2a71d0b4e865-000004'.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path, model: str, version: int, name: str) -> None:
        place = place_of(folder, model, version)
        for part in (folder, place.parent, place):  # the mode of parents that mkdir makes along is another one
            part.mkdir(mode=0o700, exist_ok=True)
        self._path = place / f".{name}{_UNFINISHED}"
        self._final = place / f"{name}{SUFFIX}"
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.file: IO[bytes] = os.fdopen(number, "wb")
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def finish(self) -> Path:
        """Gives it its name, once all that was written is on the disk.

        Raises:
            OSError: that failed; `discard` it.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        self._path.rename(self._final)
        self.file.close()
        _to_disk(self._final.parent)
        return self._final

    def discard(self) -> None:
        """Removes it."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            self.file.close()


def place_of(folder: Path, model: str, version: int) -> Path:
    """Where the files of a version are. Readers of Parquet take both parts for columns."""
    return folder / f"{_MODEL}{quote(model, safe='')}" / f"{_VERSION}{version}"


def finished_in(folder: Path, model: str | None = None) -> list[Finished]:
    """The whole files of a log, the oldest first; those of one model where it is named."""
    return sorted(one for one in _finished(folder) if model in {None, one.model})


def sweep(folder: Path) -> int:
    """Removes what killed writers have left behind, and says how many that was."""
    return sum(_remove_orphan(path) for path in folder.glob(f"{_MODEL}*/{_VERSION}*/.*{_UNFINISHED}"))


def remove_oldest(folder: Path, *, most_bytes: int, before_us: int, most_files: int = MOST_FILES) -> int:
    """Removes the oldest files of a log, and says how many those were.

    Args:
        folder: of the log.
        most_bytes: that those which stay may have together.
        before_us: files that began before this go in any case, microseconds since 1970.
        most_files: that may stay.
    """
    files = finished_in(folder)
    size, gone = sum(one.size for one in files), 0
    for one in files:
        if size <= most_bytes and len(files) - gone <= most_files and one.begun_us >= before_us:
            break
        one.path.unlink(missing_ok=True)
        size, gone = size - one.size, gone + 1
    return gone


def _finished(folder: Path) -> Iterator[Finished]:
    for path in folder.glob(f"{_MODEL}*/{_VERSION}*/*{SUFFIX}"):
        found, version = _NAME.fullmatch(path.name), path.parent.name.removeprefix(_VERSION)
        if found and version.isdecimal():
            with contextlib.suppress(FileNotFoundError):  # another process may remove it meanwhile
                size = path.stat().st_size
                model = unquote(path.parent.parent.name.removeprefix(_MODEL))
                yield Finished(int(found[1]), path, model, int(version), size)


def _remove_orphan(path: Path) -> bool:
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:  # somebody writes it
        return False
    finally:
        os.close(number)
    return True


def _to_disk(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
