"""A tree of files as a value: its paths, its sizes, and one SHA-256 over all of it.

The digest is taken over the files sorted by path, for each of them its relative path, its size and the SHA-256 of its
bytes; modes, owners and times are not part of it, for no copy keeps them all. So any change of a byte, a name or a
place changes it, and the order in which files were made does not. A single file is a tree with that one file.

What could not be copied as it is is refused instead of being passed over: symbolic links (they lead elsewhere on
another machine), anything that is no file, and empty folders (object stores have none).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.errors import Unacceptable

MOST_FILES = 100_000
_LONGEST_PATH = 1_024
_LONGEST_NAME = 255
_BLOCK_BYTES = 1_048_576
_FORM = b"sluice-tree-1\n"

Hear = Callable[[bytes], object]


class Tree(Protocol):
    """Files to read, wherever they are."""

    def paths(self) -> list[str]:
        """Relative, separated by slashes, each checked by `check_path`."""

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


def measure(tree: Tree) -> Measured:
    """Reads all of a tree."""
    return tree_of(read(tree, path) for path in tree.paths())


def read(tree: Tree, path: str, hear: Hear = lambda _: None) -> File:
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


def check_count(files: int) -> None:
    """Refuses a tree without files, and one with too many."""
    if not 1 <= files <= MOST_FILES:
        raise Unacceptable(f"The artifact has {files:,} files: it must have 1 to {MOST_FILES:,}.")


class LocalTree:
    """A file or a folder on this machine.

    Args:
        place: where it is; a symbolic link is refused here as well.
    """

    def __init__(self, place: Path) -> None:
        self._place = place

    def paths(self) -> list[str]:
        """All files below the folder, or the name of the one file.

        Raises:
            Unacceptable: there is nothing, or something that is refused.
        """
        try:
            mode = self._place.lstat().st_mode
            if stat.S_ISREG(mode):
                check_path(self._place.name)
                return [self._place.name]
            if not stat.S_ISDIR(mode):
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
            # Not to follow a link that has come in between, nor to wait for the other end of a pipe.
            number = os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Unacceptable(f"The artifact's {path} cannot be read: {error.strerror}.") from error
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise _refused(path)
            yield file

    def _below(self) -> list[str]:
        found: list[str] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            entries = list(os.scandir(self._place / folder))
            if not entries and folder:
                raise Unacceptable(
                    f"The artifact's folder {folder} is empty, and an artifact is made of files.",
                    "Put an empty file into it, such as .keep, or leave it out.",
                )
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                check_path(path)
                (folders if _is_folder(entry, path) else found).append(path)
            check_count(max(1, len(found)))
        return found


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
