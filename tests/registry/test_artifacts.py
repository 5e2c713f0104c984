"""What is loaded is what was registered, to the byte, or nothing is loaded."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.artifacts import ArtifactStore
from registry.errors import Corrupted, NotFound, StoreUnavailable, Unacceptable
from registry.kinds import ArtifactKind
from registry.roots import Roots
from registry.tree import LocalTree, measure

FILES = {"model.pt2": b"weights" * 1_000, "signature.json": b"{}", "extra/labels.txt": b"zero\none\n"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with an artifact in it."""
    for path, content in FILES.items():
        (tmp_path / "sources" / "digits" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sources" / "digits" / path).write_bytes(content)
    return tmp_path / "sources" / "digits"


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """A store in a folder, and one that is no folder of this machine."""
    root = str(tmp_path / "store") if request.param == "local" else f"memory://store-{secrets.token_hex(8)}"
    return ArtifactStore(root, Roots.of([str(tmp_path / "sources"), "memory://sources"]))


def damage(store: ArtifactStore, digest: str, path: str, content: bytes) -> None:
    """Changes a file of the store's copy."""
    with store._files.open(f"{store._root}/{digest}/{path}", "wb") as file:
        file.write(content)


def leftovers(store: ArtifactStore) -> list[str]:
    """What lies under temporary names."""
    folder = f"{store._root}/.incoming"
    return list(store._files.find(folder)) if store._files.exists(folder) else []


def test_an_artifact_comes_back_as_it_was(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    """Every byte under its name, and a digest that its sender could compute as well."""
    artifact = store.bring(str(source))
    assert (artifact.kind, artifact.size_bytes) == (ArtifactKind.TORCH_EXPORT, sum(map(len, FILES.values())))
    assert artifact.digest == measure(LocalTree(source)).digest
    loaded = store.load(artifact.digest, tmp_path / "pools" / "digits")
    assert {str(file.relative_to(loaded)): file.read_bytes() for file in loaded.rglob("*") if file.is_file()} == FILES
    store.verify(artifact.digest)
    assert leftovers(store) == []


def test_bringing_it_twice_keeps_one_copy(store: ArtifactStore, source: Path) -> None:
    """The second finds the first."""
    assert store.bring(str(source)) == store.bring(str(source))
    assert leftovers(store) == []


async def test_many_bring_the_same_at_once(store: ArtifactStore, source: Path) -> None:
    """Whoever comes second finds a whole copy, or makes one."""
    brought = await asyncio.gather(*(asyncio.to_thread(store.bring, str(source)) for _ in range(8)))
    assert len(set(brought)) == 1
    store.verify(brought[0].digest)
    assert leftovers(store) == []


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_refused_with_both_digests(
    store: ArtifactStore, source: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Wherever it is; and bringing the artifact again mends the copy."""
    digest = store.bring(str(source)).digest
    path = data.draw(st.sampled_from(sorted(FILES)))
    place = data.draw(st.integers(0, len(FILES[path]) * 8 - 1))
    flipped = bytearray(FILES[path])
    flipped[place // 8] ^= 1 << place % 8
    damage(store, digest, path, bytes(flipped))
    for refuse in (lambda: store.verify(digest), lambda: store.load(digest, tmp_path / "pools" / "digits")):
        with pytest.raises(Corrupted) as refused:
            refuse()
        assert refused.value.expected == digest
        assert refused.value.expected in str(refused.value)
        assert refused.value.found in str(refused.value)
    assert list((tmp_path / "pools").iterdir()) == []
    assert store.bring(str(source)).digest == digest
    store.verify(digest)


def test_a_file_more_or_less_is_refused(store: ArtifactStore, source: Path) -> None:
    """Not only the bytes count."""
    digest = store.bring(str(source)).digest
    damage(store, digest, "more", b"")
    with pytest.raises(Corrupted):
        store.verify(digest)
    store.remove(digest)
    assert store.bring(str(source)).digest == digest
    store._files.rm(f"{store._root}/{digest}/signature.json")
    with pytest.raises(Corrupted):
        store.verify(digest)


def test_what_was_announced_otherwise_is_not_taken(store: ArtifactStore, source: Path) -> None:
    """A sender says which digest it computed, and nothing is left of anything else."""
    with pytest.raises(Corrupted) as refused:
        store.bring(str(source), expected="0" * 64)
    assert not store.has(refused.value.found)
    assert leftovers(store) == []


def test_what_is_not_there_is_not_loaded(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    """Nor is what was removed; removing it twice is harmless."""
    digest = store.bring(str(source)).digest
    store.remove(digest)
    store.remove(digest)
    assert not store.has(digest)
    with pytest.raises(NotFound, match=digest):
        store.load(digest, tmp_path / "new")
    with pytest.raises(Unacceptable, match="must be a SHA-256"):
        store.verify("../../etc")


def test_a_folder_that_is_there_is_not_loaded_into(store: ArtifactStore, source: Path) -> None:
    """What lies in it would be mixed with what was verified."""
    with pytest.raises(FileExistsError):
        store.load(store.bring(str(source)).digest, source)


def test_only_admitted_places_are_read(store: ArtifactStore, tmp_path: Path) -> None:
    """Not even to say whether anything is there."""
    for address in ("/etc/passwd", str(tmp_path / "secret.pt2"), "https://example.org/model.onnx"):
        with pytest.raises(Unacceptable, match="lies in none of the roots"):
            store.bring(address)


def test_an_artifact_comes_from_elsewhere(store: ArtifactStore) -> None:
    """A folder or a file of another file system, if its root is listed."""
    files = fsspec.filesystem("memory")
    name = secrets.token_hex(8)
    files.pipe_file(f"/sources/{name}/model.onnx", b"graph")
    brought = store.bring(f"memory://sources/{name}")
    assert (brought.kind, brought.size_bytes) == (ArtifactKind.ONNX, 5)
    assert store.bring(f"memory://sources/{name}/model.onnx") == brought
    with pytest.raises(Unacceptable, match="has 0 files"):
        store.bring(f"memory://sources/{name}/nothing")


def test_what_is_no_artifact_leaves_nothing(store: ArtifactStore, source: Path) -> None:
    """It is refused before a byte is copied."""
    (source / "other.onnx").write_bytes(b"")
    with pytest.raises(Unacceptable, match="several model files"):
        store.bring(str(source))
    assert not store._files.exists(store._root)


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, source: Path) -> None:
    """In a sentence with its address."""
    (tmp_path / "file").write_text("in the way")
    store = ArtifactStore(str(tmp_path / "file"), Roots.of([str(source)]))
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.bring(str(source))


def test_a_store_without_a_driver_says_so() -> None:
    """When it is opened, not at the first artifact."""
    with pytest.raises(Unacceptable, match="There is no way to"):
        ArtifactStore("nosuchprotocol://bucket/x", Roots(()))


def test_an_artifact_is_looked_at_and_measured_without_a_copy(store: ArtifactStore, source: Path) -> None:
    """Where it leads, what it is, and the digest that it would get."""
    place, kind = store.look(str(source))
    assert (place.path, kind) == (str(source.resolve()), ArtifactKind.TORCH_EXPORT)
    artifact = store.measured(str(source))
    assert not store.has(artifact.digest)
    assert store.bring(str(source)) == artifact
    for ask in (store.look, store.measured):
        with pytest.raises(Unacceptable, match="not admitted"):
            ask("/etc")
        with pytest.raises(Unacceptable, match="cannot be read"):
            ask(str(source.parent / "nothing"))


def test_a_copy_is_heard_of_and_can_be_broken_off(store: ArtifactStore, source: Path) -> None:
    """Every byte is told; whoever does not want it any more leaves nothing behind."""
    heard: list[int] = []
    artifact = store.bring(str(source), hear=heard.append)
    assert sum(heard) == artifact.size_bytes
    store.remove(artifact.digest)

    def enough(_size: int) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError):
        store.bring(str(source), hear=enough)
    assert (store.has(artifact.digest), leftovers(store)) == (False, [])


def test_a_small_file_can_be_shown(store: ArtifactStore, source: Path) -> None:
    """What is in it, None where there is none; too large a one, and one outside, are refused."""
    (source / "large").write_bytes(b"x" * 1_048_577)
    digest = store.bring(str(source)).digest
    assert store.glance(digest, "signature.json") == FILES["signature.json"]
    assert store.glance(digest, "config.pbtxt") is None
    with pytest.raises(Unacceptable, match="larger than"):
        store.glance(digest, "large")
    with pytest.raises(Unacceptable):
        store.glance(digest, "../x")
    with pytest.raises(NotFound):
        store.glance("0" * 64, "signature.json")


def test_a_pickle_is_an_artifact_only_where_it_is_allowed(tmp_path: Path) -> None:
    """Both ways."""
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04N.")
    roots = Roots.of([str(tmp_path)])
    with pytest.raises(Unacceptable, match="pickle"):
        ArtifactStore(str(tmp_path / "store"), roots).look(str(tmp_path / "model.pkl"))
    allowed = ArtifactStore(str(tmp_path / "store"), roots, allow_pickle=True)
    assert allowed.bring(str(tmp_path / "model.pkl")).kind is ArtifactKind.SKLEARN


def test_copies_that_nobody_will_end_are_swept(source: Path, tmp_path: Path) -> None:
    """Those that are old enough; one that is being made, and what was kept, stay."""
    store = ArtifactStore(str(tmp_path / "store"), Roots.of([str(tmp_path)]))
    kept = store.bring(str(source))
    incoming = tmp_path / "store" / ".incoming"
    for name, age_s in (("abandoned", 200_000), ("under-way", 60)):
        (incoming / name / "deep").mkdir(parents=True)
        os.utime(incoming / name, (time.time() - age_s, time.time() - age_s))
    assert store.sweep() == 1
    assert [place.name for place in incoming.iterdir()] == ["under-way"]
    store.verify(kept.digest)
