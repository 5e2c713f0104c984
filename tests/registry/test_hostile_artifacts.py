"""What somebody who may write into a source, or into the store's own folder, tries with an artifact."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from registry.artifacts import ArtifactStore
from registry.errors import Corrupted, RegistryError, Unacceptable
from registry.roots import Roots
from registry.tree import Bounds, LocalTree, check_path, measure

SECRET = b"root:x:0:0"


class Ran:
    """A pickle that tells when it is opened."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        """Creates a file."""
        return os.mkdir, ("opened",)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder beside the sources that nobody listed."""
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(SECRET)
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The one listed root, with one artifact."""
    folder = tmp_path / "sources"
    (folder / "digits" / "extra").mkdir(parents=True)
    (folder / "digits" / "model.onnx").write_bytes(b"weights")
    (folder / "digits" / "extra" / "labels.txt").write_bytes(b"zero")
    return folder


def store_of(sources: Path, **bounds: int) -> ArtifactStore:
    """A store beside the sources."""
    return ArtifactStore(str(sources.parent / "store"), Roots.of([str(sources)]), bounds=Bounds(**bounds))


def kept(sources: Path) -> list[str]:
    """Everything that lies in the store's folder."""
    return [str(path) for path in (sources.parent / "store").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "path",
    [
        "../model.onnx", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", "..", "a\\..\\b", "a\0b", "a\nb",
        "a\x1b[2Jb",
        "\u202egpj.onnx", "C:\\x", "a" * 256, "a/" * 600 + "b", "", "\udcff",
    ],
)  # fmt: skip
def test_a_name_that_leads_out_or_means_two_things_is_none(path: str) -> None:
    """Whatever wrote it: a listing of an object store can hold any of them."""
    with pytest.raises(Unacceptable, match="cannot be kept"):
        check_path(path)


def test_no_digest_leads_out_of_the_store(sources: Path, tmp_path: Path) -> None:
    """What names an artifact is 64 hexadecimal digits, whatever is done with it."""
    store = store_of(sources)
    for digest in ("../secret", "..", "", "/etc", "a" * 63 + "/", "a" * 64 + "/..", "A" * 64):
        attempts: list[Callable[[], object]] = [
            lambda d=digest: store.load(d, tmp_path / "out"),  # type: ignore[misc]
            lambda d=digest: store.verify(d),  # type: ignore[misc]
            lambda d=digest: store.glance(d, "model.onnx"),  # type: ignore[misc]
            lambda d=digest: store.has(d),  # type: ignore[misc]
            lambda d=digest: store.remove(d),  # type: ignore[misc]
        ]
        for attempt in attempts:
            with pytest.raises(RegistryError):
                attempt()
    assert not (tmp_path / "out").exists()


def test_no_file_outside_of_an_artifact_is_glanced_at(sources: Path, secret: Path) -> None:
    """Not by dots, and not by an absolute path."""
    store = store_of(sources)
    digest = store.bring(str(sources / "digits")).digest
    for path in ("../../secret/model.onnx", str(secret / "model.onnx"), "extra/../../x"):
        with pytest.raises(Unacceptable):
            store.glance(digest, path)


@pytest.mark.parametrize("where", ["model.onnx", "extra/labels.txt", "extra", "deeper"])
def test_a_link_out_of_a_source_is_not_brought(sources: Path, secret: Path, where: str) -> None:
    """A file or a folder, at the top or below, to a file or a folder; nothing is left in the store."""
    place = sources / "digits" / where
    if place.is_dir():
        (place / "labels.txt").unlink()
        place.rmdir()
    place.unlink(missing_ok=True)
    place.symlink_to(secret if "." not in where else secret / "model.onnx")
    with pytest.raises(Unacceptable, match="neither a file nor a folder"):
        store_of(sources).bring(str(sources / "digits"))
    assert kept(sources) == []


def test_a_link_to_a_place_outside_is_judged_by_where_it_leads(sources: Path, secret: Path) -> None:
    """A root's own link into what is not listed is not admitted."""
    (sources / "innocent").symlink_to(secret)
    with pytest.raises(Unacceptable, match="not admitted"):
        store_of(sources).bring(str(sources / "innocent"))


@pytest.mark.parametrize("swapped", ["digits", "digits/extra", "digits/extra/labels.txt"])
def test_what_becomes_a_link_between_listing_and_reading_is_not_followed(
    sources: Path, secret: Path, swapped: str
) -> None:
    """At whichever name on the way: each is opened as what it is."""
    (secret / "extra").mkdir()
    (secret / "labels.txt").write_bytes(SECRET)
    (secret / "extra" / "labels.txt").write_bytes(SECRET)
    tree = LocalTree(sources / "digits")
    assert "extra/labels.txt" in tree.paths()
    (sources / swapped).rename(sources / "moved")
    target = {"digits": secret, "digits/extra": secret / "extra"}.get(swapped, secret / "labels.txt")
    (sources / swapped).symlink_to(target)
    with pytest.raises(Unacceptable, match="cannot be read"), tree.reading("extra/labels.txt"):
        pass


def test_a_source_that_is_swapped_again_and_again_never_gives_a_secret(sources: Path, secret: Path) -> None:
    """Folders that change places with links while they are copied: what is kept is the source's, or nothing is."""
    store = store_of(sources)
    (secret / "labels.txt").write_bytes(SECRET)
    stop = threading.Event()
    there, aside = sources / "digits" / "extra", sources / "aside"

    def swap() -> None:
        while not stop.is_set():
            there.rename(aside)
            there.symlink_to(secret)
            there.unlink()
            aside.rename(there)

    swapping = threading.Thread(target=swap)
    swapping.start()
    brought = 0
    try:
        for _ in range(200):
            try:
                store.bring(str(sources / "digits"))
                brought += 1
            except RegistryError:
                continue
    finally:
        stop.set()
        swapping.join()
    assert all(SECRET not in Path(file).read_bytes() for file in kept(sources))
    assert all(".incoming" not in file for file in kept(sources))


def test_a_file_that_changes_while_it_is_copied_is_kept_as_it_was_measured(sources: Path) -> None:
    """The digest is over the bytes that were written, whatever the source holds by then."""
    store = store_of(sources)
    changed = False

    def change(_: int) -> None:
        nonlocal changed
        if not changed:
            changed = True
            (sources / "digits" / "model.onnx").write_bytes(b"something else altogether")

    artifact = store.bring(str(sources / "digits"), hear=change)
    store.verify(artifact.digest)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_not_waited_for(sources: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe without a writer, a socket, a device: refused at once."""
    monkeypatch.chdir(sources / "digits")
    if kind == "pipe":
        os.mkfifo("other")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("other")
    elif os.geteuid() == 0:
        try:
            os.mknod("other", 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("no devices can be made here")
    else:
        pytest.skip("devices are made by root")
    with pytest.raises(Unacceptable, match="neither a file nor a folder"):
        store_of(sources).bring(str(sources / "digits"))


def test_a_hard_link_is_copied_and_its_other_name_changes_nothing(sources: Path, secret: Path) -> None:
    """The copy has bytes of its own: what is written under the other name later does not reach it."""
    other = sources / "other"
    os.link(sources / "digits" / "model.onnx", other)
    store = store_of(sources)
    digest = store.bring(str(sources / "digits")).digest
    other.write_bytes(b"changed under the other name")
    store.verify(digest)
    [copy] = [Path(file) for file in kept(sources) if file.endswith("model.onnx")]
    assert copy.stat().st_nlink == 1


@pytest.mark.parametrize("at", ["whole", "folder", "file"])
def test_a_link_in_the_store_is_neither_verified_nor_served(
    sources: Path, secret: Path, tmp_path: Path, at: str
) -> None:
    """Even where the bytes behind it are the registered ones: what it leads to is not under the store's eyes."""
    store = store_of(sources)
    digest = store.bring(str(sources / "digits")).digest
    inside = tmp_path / "store" / digest
    place = {"whole": inside, "folder": inside / "extra", "file": inside / "model.onnx"}[at]
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    for attempt in (store.verify, lambda digest: store.load(digest, tmp_path / "out")):
        with pytest.raises(Unacceptable):
            attempt(digest)
    with pytest.raises(Unacceptable):
        store.glance(digest, "model.onnx")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_taking_an_artifact_away_takes_nothing_behind_a_link(sources: Path, secret: Path, tmp_path: Path) -> None:
    """Neither by its own name nor below it."""
    store = store_of(sources)
    digest = store.bring(str(sources / "digits")).digest
    (tmp_path / "store" / digest / "extra" / "link").symlink_to(secret)
    store.remove(digest)
    (tmp_path / "store" / ("a" * 64)).symlink_to(secret)
    with suppress(RegistryError):
        store.remove("a" * 64)
    assert (secret / "model.onnx").read_bytes() == SECRET


def test_what_lies_in_the_store_beside_the_artifact_is_found(sources: Path, tmp_path: Path) -> None:
    """A file more is another artifact."""
    store = store_of(sources)
    digest = store.bring(str(sources / "digits")).digest
    (tmp_path / "store" / digest / "model.py").write_text("import os")
    with pytest.raises(Corrupted):
        store.load(digest, tmp_path / "out")


@pytest.mark.parametrize("look", ["look", "measured", "bring"])
def test_an_artifact_that_is_too_large_is_refused_with_the_figures(sources: Path, look: str) -> None:
    """Before a byte is read, at every door; the bound itself may come."""
    assert getattr(store_of(sources, most_bytes=11, most_files=2), look)(str(sources / "digits"))
    with pytest.raises(Unacceptable, match=r"has 11 bytes: 10 bytes are the most\.") as refused:
        getattr(store_of(sources, most_bytes=10), look)(str(sources / "digits"))
    assert "registry.max_artifact_bytes" in refused.value.hint
    with pytest.raises(Unacceptable, match="has 2 files: it must have 1 to 1"):
        getattr(store_of(sources, most_files=1), look)(str(sources / "digits"))


def test_an_enormous_file_with_nothing_in_it_is_refused_at_once(sources: Path) -> None:
    """A sparse file costs its author nothing, and would cost us the disk."""
    with (sources / "digits" / "huge").open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(Unacceptable, match="are the most"):
        store_of(sources).bring(str(sources / "digits"))
    assert kept(sources) == []


def test_a_file_that_grows_while_it_is_copied_ends_at_the_bound(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was listed is not believed: the copy breaks off, and nothing of it is left."""

    class Endless:
        def read(self, size: int) -> bytes:
            return bytes(min(size, 100))

    @contextmanager
    def endless(tree: LocalTree, path: str) -> Iterator[BinaryIO]:
        yield Endless()  # type: ignore[misc]

    monkeypatch.setattr(LocalTree, "reading", endless)
    with pytest.raises(Unacceptable, match="more than was listed"):
        store_of(sources, most_bytes=10_000).bring(str(sources / "digits"))
    assert kept(sources) == []
    with pytest.raises(Unacceptable, match="more than was listed"):
        measure(LocalTree(sources / "digits"), Bounds(most_bytes=10_000))


def test_an_artifact_from_before_a_lower_bound_is_still_served(sources: Path, tmp_path: Path) -> None:
    """The bound is for what comes in."""
    digest = store_of(sources).bring(str(sources / "digits")).digest
    later = store_of(sources, most_bytes=1, most_files=1)
    later.verify(digest)
    assert later.load(digest, tmp_path / "out").is_dir()


@pytest.mark.parametrize("name", ["model.skops", "model.pt2", "model.onnx", "model.pt", "model.pkl"])
def test_a_pickle_under_another_name_is_bytes_until_it_is_served(
    sources: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is called, nothing here opens it: it does not run, and what unpacks to much is not unpacked."""
    monkeypatch.chdir(tmp_path)
    folder = sources / "odd"
    folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(Ran()))
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(10_000_000))
    store = store_of(sources, most_bytes=100_000)
    if name.endswith(".pkl"):
        with pytest.raises(Unacceptable, match="is a pickle"):
            store.bring(str(folder))
    else:
        store.load(store.bring(str(folder)).digest, tmp_path / "out")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("root", ["https://models.example.com/x", "http://10.0.0.1/", "HTTP://h/x"])
def test_the_web_is_no_root(root: str) -> None:
    """Its servers send a reader on to wherever they like."""
    with pytest.raises(Unacceptable, match="cannot be a root"):
        Roots.of([root])
