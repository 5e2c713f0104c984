"""A tree of files as a value: its paths, its sizes, and one SHA-256 over all of it.

The digest is taken over the files sorted by path, for each of them its relative path, its size and the SHA-256 of its
bytes; modes, owners and times are not part of it, for no copy keeps them all. So any change of a byte, a name or a
place changes it, and the order in which files were made does not. A single file is a tree with that one file.

What could not be copied as it is is refused instead of being passed over: symbolic links (they lead elsewhere on
another machine), anything that is no file, and empty folders (object stores have none). Of a local tree every name on
the way, from the root of the file system on, is opened as what it is, so that a link that somebody puts in the place of
a folder meanwhile leads nowhere. A file with several names (a hard link) is a file: a copy has bytes of its own.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.errors import Unacceptable

MOST_FILES = 100_000
MOST_BYTES = 100 * 2**30
_LONGEST_PATH = 1_024
_LONGEST_NAME = 255
_BLOCK_BYTES = 1_048_576
_FORM = b"sluice-tree-1\n"

Hear = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large an artifact may be when it is brought in.

    Attributes:
        most_bytes: of all files together.
        most_files: how many.
    """

    most_bytes: int = MOST_BYTES
    most_files: int = MOST_FILES

    def check(self, files: Mapping[str, int]) -> None:
        """Refuses what is listed as too large, before anything is read.

        Args:
            files: bytes by path.

        Raises:
            Unacceptable: with both figures.
        """
        check_count(len(files), self.most_files)
        if (size := sum(files.values())) > self.most_bytes:
            raise self._too_large(f"has {size:,} bytes")

    def metered(self, hear: Hear) -> Hear:
        """The same listener, which breaks off once it has heard too much: a listed size can be wrong, or grow."""
        heard = 0

        def metering(block: bytes) -> object:
            nonlocal heard
            heard += len(block)
            if heard > self.most_bytes:
                raise self._too_large("has more than was listed")
            return hear(block)

        return metering

    def _too_large(self, figure: str) -> Unacceptable:
        return Unacceptable(
            f"The artifact {figure}: {self.most_bytes:,} bytes are the most.",
            "Make it smaller, or let an administrator raise registry.max_artifact_bytes.",
        )


class Tree(Protocol):
    """Files to read, wherever they are."""

    def files(self) -> Mapping[str, int]:
        """Bytes by path, as listed, 0 where that is not told. Paths are relative, and checked by `check_path`."""

    def reading(self, path: str) -> AbstractContextManager[BinaryIO]:
        """One of them, open from its beginning."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a tree: where it is, how many bytes it has, and their SHA-256."""

    path: str
    size_bytes: int
    digest: str

    def __post_init__(self) -> None:
        check_path(self.path)


@dataclass(frozen=True, slots=True)
class Measured:
    """All files of a tree, sorted by path."""

    files: tuple[File, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the tree, in hexadecimal."""
        whole = sha256(_FORM)
        for file in self.files:
            whole.update(json.dumps([file.path, file.size_bytes, file.digest]).encode() + b"\n")
        return whole.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)


def tree_of(files: Iterable[File]) -> Measured:
    """The tree of these files, in whatever order they come.

    Raises:
        Unacceptable: there is none, there are too many, or two have one path.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path.encode()))
    check_count(len(ordered))
    if len({file.path for file in ordered}) < len(ordered):
        raise Unacceptable("The artifact has two files of one path.")
    return Measured(ordered)


def measure(tree: Tree, bounds: Bounds | None = None) -> Measured:
    """Reads all of a tree, if it is within the bounds.

    Raises:
        Unacceptable: it is not.
    """
    files = tree.files()
    hear: Hear = _nobody
    if bounds is not None:
        bounds.check(files)
        hear = bounds.metered(hear)
    return tree_of(read(tree, path, hear) for path in files)


def _nobody(_: bytes) -> None:
    """Hears nothing."""


def read(tree: Tree, path: str, hear: Hear = _nobody) -> File:
    """Reads one file, and hands each block of it to `hear`: what is copied is then what was measured."""
    size, whole = 0, sha256()
    with tree.reading(path) as file:
        while block := file.read(_BLOCK_BYTES):
            size += len(block)
            whole.update(block)
            hear(block)
    return File(path, size, whole.hexdigest())


def check_path(path: str) -> None:
    """Refuses what is no relative path, could lead out of its folder, or could mean something else elsewhere."""
    names = path.split("/")
    dangerous = any(name in {"", ".", ".."} or len(name.encode(errors="replace")) > _LONGEST_NAME for name in names)
    if dangerous or len(path) > _LONGEST_PATH or "\\" in path or not path.isprintable():
        raise Unacceptable(
            f"The artifact has a file {path[:200]!r}, which cannot be kept everywhere under that name.",
            "Use printable names without backslashes, and paths within the artifact.",
        )


def check_count(files: int, most: int = MOST_FILES) -> None:
    """Refuses a tree without files, and one with too many."""
    if not 1 <= files <= most:
        raise Unacceptable(f"The artifact has {files:,} files: it must have 1 to {most:,}.")


class LocalTree:
    """A file or a folder on this machine.

    Args:
        place: where it is, without symbolic links on the way; one is refused.
    """

    def __init__(self, place: Path) -> None:
        self._place = place.absolute()

    def paths(self) -> list[str]:
        """The files' paths."""
        return list(self.files())

    def files(self) -> Mapping[str, int]:
        """All files below the folder, or the one file, and their sizes.

        Raises:
            Unacceptable: there is nothing, or something that is refused.
        """
        try:
            found = self._place.lstat()
            if stat.S_ISREG(found.st_mode):
                check_path(self._place.name)
                return {self._place.name: found.st_size}
            if not stat.S_ISDIR(found.st_mode):
                raise _refused(str(self._place))
            return self._below()
        except OSError as error:
            raise Unacceptable(f"The artifact at {self._place} cannot be read: {error.strerror}.") from error

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        """One of them, if it is still a file of its own."""
        check_path(path)
        whole = self._place if self._place.is_file() else self._place / path
        try:
            # Not to wait for the other end of a pipe.
            number = _open(whole, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise Unacceptable(f"The artifact's {path} cannot be read: {error.strerror}.") from error
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise _refused(path)
            yield file

    def _below(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        folders = [""]
        while folders:
            folder = folders.pop()
            inside = 0
            for entry in _entries(self._place / folder):
                inside += 1
                path = f"{folder}/{entry.name}" if folder else entry.name
                check_path(path)
                if _is_folder(entry, path):
                    folders.append(path)
                else:
                    found[path] = entry.stat(follow_symlinks=False).st_size
                check_count(max(1, len(found) + len(folders)))
            if not inside and folder:
                raise Unacceptable(
                    f"The artifact's folder {folder} is empty, and an artifact is made of files.",
                    "Put an empty file into it, such as .keep, or leave it out.",
                )
        check_count(len(found))
        return found


def _open(place: Path, flags: int) -> int:
    """A descriptor of what is at an absolute place.

    Raises:
        OSError: there is nothing, or a symbolic link on the way: at each name one could have come in between.
    """
    at = os.open(place.anchor, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, last = place.parts[1:] or ["."]
        for folder in folders:
            inner = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    number = _open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(number) as entries:
            yield from entries
    finally:
        os.close(number)


def _is_folder(entry: os.DirEntry[str], path: str) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return True
    if entry.is_file(follow_symlinks=False):
        return False
    raise _refused(path)


def _refused(path: str) -> Unacceptable:
    return Unacceptable(
        f"The artifact's {path} is neither a file nor a folder: links and special files cannot be registered.",
        "Put a copy of the file in its place.",
    )
