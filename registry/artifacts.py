"""The artifact store: every artifact once, in a folder that is called by its digest, wherever fsspec can write.

Files are copied under a temporary name, measured while they are copied, and moved only when they are whole. They are
measured again at every load, for a disk, a backup or a person can change a byte without telling anybody. Nothing here
opens a model: an artifact is bytes until somebody serves it.

The only file that knows fsspec. Everything here blocks; a coroutine calls it in a thread.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from registry.errors import ArtifactsUnavailable, Corrupted, NotFound, Unacceptable
from registry.kinds import ArtifactKind, kind_of
from registry.models import Artifact, check_digest
from registry.roots import Location, Roots, locate
from registry.tree import Bounds, File, Hear, LocalTree, Measured, Tree, check_count, check_path, measure, read, tree_of

_INCOMING = ".incoming"
_ABANDONED_S = 86_400.0
_LARGEST_GLANCE = 1_048_576


class ArtifactStore:
    """One folder of artifacts.

    Args:
        root: its address: a local path, or any that fsspec has the driver for.
        sources: where artifacts may be brought from.
        allow_pickle: whether a scikit-learn model's pickle is an artifact; loading one runs its author's code.
        bounds: how large an artifact may be that is brought in; one that is there is read whatever its size.

    Raises:
        Unacceptable: the address cannot be used.
    """

    def __init__(self, root: str, sources: Roots, *, allow_pickle: bool = False, bounds: Bounds | None = None) -> None:
        self._where = locate(root)
        self._files, self._root = _opened(self._where)
        self._sources = sources
        self._allow_pickle = allow_pickle
        self._bounds = bounds or Bounds()

    def look(self, address: str, kind: ArtifactKind | None = None) -> tuple[Location, ArtifactKind]:
        """Where the address leads, and what kind of artifact lies there by its files' names. Nothing is copied.

        Raises:
            ArtifactsUnavailable: it cannot be read.
            Unacceptable: it is not admitted, or no artifact, or of another kind, or too large.
        """
        place = self._sources.admit(address)
        files = _tree_at(place).files()
        self._bounds.check(files)
        return place, kind_of(files, kind, allow_pickle=self._allow_pickle)

    def measured(self, address: str, kind: ArtifactKind | None = None) -> Artifact:
        """What `bring` would give, without copying anything: all of it is read.

        Raises:
            ArtifactsUnavailable, Unacceptable: as for `look`.
        """
        place, found = self.look(address, kind)
        measured = measure(_tree_at(place), self._bounds)
        return Artifact(found, measured.digest, measured.size_bytes)

    def bring(
        self,
        address: str,
        *,
        kind: ArtifactKind | None = None,
        expected: str | None = None,
        hear: Callable[[int], object] = lambda _: None,
    ) -> Artifact:
        """Copies what is at the address into the store, unless it is there already.

        Args:
            address: below one of the sources.
            kind: what its sender takes it for; None to have it told from the files.
            expected: the digest that its sender computed; None for none.
            hear: is told how many bytes were copied, block by block; what it raises breaks off, and nothing is left.

        Raises:
            Corrupted: it has another digest.
            ArtifactsUnavailable: the store cannot be written.
            Unacceptable: it is not admitted, or no artifact, or too large.
        """
        tree = _tree_at(self._sources.admit(address))
        files = tree.files()
        self._bounds.check(files)
        found = kind_of(files, kind, allow_pickle=self._allow_pickle)
        metered = self._bounds.metered(lambda block: hear(len(block)))
        incoming = f"{self._root}/{_INCOMING}/{secrets.token_hex(16)}"
        with self._translated("be written"):
            try:
                measured = tree_of(self._copied_in(tree, path, incoming, metered) for path in files)
                if expected not in (None, measured.digest):
                    raise Corrupted(address, str(expected), measured.digest)
                self._keep(measured, incoming)
            finally:
                self._discard(incoming)
        return Artifact(found, measured.digest, measured.size_bytes)

    def load(self, digest: str, folder: Path) -> Path:
        """Copies the artifact into a new folder on this machine; what lies there is what was registered.

        Raises:
            Corrupted: the store's copy is not what was registered; the folder is not made.
            FileExistsError: the folder is there already.
            NotFound: the store has no such artifact.
        """
        if folder.exists():
            raise FileExistsError(f"{folder} is there already, and an artifact is loaded into a new folder.")
        tree = self._tree(digest)
        folder.parent.mkdir(parents=True, exist_ok=True)
        incoming = folder.parent / f".{folder.name}.{secrets.token_hex(8)}"
        try:
            with self._translated("be read"):
                measured = tree_of(_copied_out(tree, path, incoming) for path in tree.files())
            self._check(digest, measured)
            incoming.rename(folder)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return folder

    def verify(self, digest: str) -> None:
        """Reads all of the store's copy.

        Raises:
            Corrupted: it is not what was registered.
            NotFound: the store has no such artifact.
        """
        with self._translated("be read"):
            self._check(digest, measure(self._tree(digest)))

    def glance(self, digest: str, path: str) -> bytes | None:
        """One small file of the store's copy, to be shown and not to be served: it is not measured.

        Args:
            digest: of the artifact.
            path: of the file in it.

        Returns:
            What is in it; None where there is no such file.

        Raises:
            NotFound: the store has no such artifact.
            Unacceptable: the file is too large to be shown.
        """
        check_path(path)
        tree = self._tree(digest)
        with self._translated("be read"):
            if path not in tree.files():
                return None
            with tree.reading(path) as file:
                found = file.read(_LARGEST_GLANCE + 1)
        if len(found) > _LARGEST_GLANCE:
            raise Unacceptable(f"The artifact's {path} is larger than {_LARGEST_GLANCE:,} bytes.")
        return found

    def has(self, digest: str) -> bool:
        """Whether there is a copy; whether it is whole is said by `verify`."""
        check_digest("artifact's digest", digest)
        with self._translated("be read"):
            return bool(self._files.exists(f"{self._root}/{digest}"))

    def remove(self, digest: str) -> None:
        """Takes the copy away, whoever may still need it; nothing where there is none."""
        check_digest("artifact's digest", digest)
        with self._translated("be written"):
            self._discard(f"{self._root}/{digest}")

    def sweep(self, older_s: float = _ABANDONED_S) -> int:
        """Removes copies that were begun that long ago and never ended, for whoever made them was killed.

        On this machine's disk only; an object store has rules of its own for what is old.

        Returns:
            How many there were.
        """
        if not self._is_local:
            return 0
        begun = Path(self._root) / _INCOMING
        limit = time.time() - older_s
        old = [place for place in begun.glob("*") if place.stat().st_mtime < limit]
        for place in old:
            shutil.rmtree(place, ignore_errors=True)
        return len(old)

    # Below: how files get from one place to another.

    def _tree(self, digest: str) -> Tree:
        if not self.has(digest):
            raise NotFound(f"The artifact store at {self._where} has no artifact {digest}.", "Register it again.")
        return _tree_in(self._files, f"{self._root}/{digest}")

    def _check(self, digest: str, measured: Measured) -> None:
        if measured.digest != digest:
            raise Corrupted(f"The artifact in {self._where}/{digest}", digest, measured.digest)

    @property
    def _is_local(self) -> bool:
        return isinstance(self._files, LocalFileSystem)

    def _copied_in(self, tree: Tree, path: str, incoming: str, hear: Hear) -> File:
        target = f"{incoming}/{path}"
        if self._is_local:
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        with self._files.open(target, "wb") as copy:

            def write(block: bytes) -> None:
                hear(block)  # first: what is too much is not even written
                copy.write(block)

            file = read(tree, path, write)
            if self._is_local:  # or a version could be on disk, and its files not
                copy.flush()
                os.fsync(copy.fileno())
        return file

    def _keep(self, measured: Measured, incoming: str) -> None:
        """Gives the copy its name, unless a whole one is there by that name."""
        final = f"{self._root}/{measured.digest}"
        if self.has(measured.digest):
            try:
                return self.verify(measured.digest)
            except (Corrupted, NotFound, Unacceptable):
                self._discard(final)
        if self._is_local:
            return self._named(Path(incoming), Path(final))
        # An object store has no move of folders. A copy that was broken off is not whole, and is made anew next time.
        for file in measured.files:
            self._files.cp_file(f"{incoming}/{file.path}", f"{final}/{file.path}")
        return None

    def _named(self, incoming: Path, final: Path) -> None:
        for folder in (incoming, *(place for place in incoming.rglob("*") if place.is_dir())):
            _to_disk(folder)
        try:
            incoming.rename(final)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            # Another process was faster, and a folder that is not empty is not replaced.
            self.verify(final.name)
        _to_disk(final.parent)

    def _discard(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm(path, recursive=True)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Within it, errors of the file system become ours."""
        try:
            yield
        except OSError as error:
            raise ArtifactsUnavailable(
                f"The artifact store at {self._where} cannot {what}: {error.strerror or error}.",
                "See that it is there, has room, and may be used by this user.",
            ) from error


class _RemoteTree:
    """Files that fsspec reads."""

    def __init__(self, files: Any, root: str) -> None:  # noqa: ANN401 - fsspec has no types
        self._files = files
        self._root = root

    def files(self) -> Mapping[str, int]:
        """All files below the root, or the one file, and their sizes."""
        with _reading(self._root):
            found = {str(path): int(told.get("size") or 0) for path, told in self._found().items()}
        check_count(len(found))
        root = self._root if [*found] != [self._root] else self._root.rpartition("/")[0]
        files = {path.removeprefix(f"{root.rstrip('/')}/"): size for path, size in found.items()}
        for path in files:
            check_path(path)
        self._root = root
        return files

    def _found(self) -> Mapping[str, Mapping[str, Any]]:
        return cast("Mapping[str, Mapping[str, Any]]", self._files.find(self._root, detail=True))

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        """One of them."""
        with _reading(path), self._files.open(f"{self._root}/{path}", "rb") as file:
            yield cast("BinaryIO", file)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactsUnavailable(
            f"{what} cannot be read: {error.strerror or error}.", "Try again in a moment."
        ) from error


def _to_disk(folder: Path) -> None:
    """Writes down which files a folder has: a file that is on disk has no name there before that."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _opened(place: Location) -> tuple[Any, str]:
    try:
        # What is listed must be what is there now: another process may have written it.
        files, root = url_to_fs(str(place), use_listings_cache=False)
    except (ImportError, ValueError, OSError) as error:
        raise Unacceptable(
            f"There is no way to {place}: {error}", "Install fsspec's driver for it, or use a local folder."
        ) from error
    return files, str(root)


def _tree_at(place: Location) -> Tree:
    files, root = _opened(place)
    return _tree_in(files, root)


def _tree_in(files: Any, root: str) -> Tree:  # noqa: ANN401 - fsspec has no types
    return LocalTree(Path(root)) if isinstance(files, LocalFileSystem) else _RemoteTree(files, root)


def _copied_out(tree: Tree, path: str, folder: Path) -> File:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as copy:
        return read(tree, path, copy.write)
