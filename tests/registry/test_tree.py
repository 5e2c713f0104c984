"""A tree's digest changes with every byte, name and place, and with nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from registry.errors import Unacceptable
from registry.tree import LocalTree, Measured, check_path, measure

names = st.text("ab.é-", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=4), min_size=1, max_size=5).filter(
    lambda files: not any(one.startswith(f"{other}/") for one in files for other in files)
)


def written(files: Mapping[str, bytes], folder: Path) -> Path:
    """The folder, with these files in it, made in this order."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def measured(files: Mapping[str, bytes]) -> Measured:
    """The tree of these files."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(LocalTree(written(files, Path(folder))))


@given(trees, st.data())
@settings(max_examples=40, deadline=None)
def test_the_order_in_which_files_are_made_is_no_difference(files: dict[str, bytes], data: st.DataObject) -> None:
    """Nor are their modes, nor the place of the whole."""
    shuffled = {path: files[path] for path in data.draw(st.permutations(list(files)))}
    with tempfile.TemporaryDirectory() as folder:
        place = written(shuffled, Path(folder) / "deeper")
        for path in files:
            (place / path).chmod(0o700)
        again = measure(LocalTree(place))
    assert again == measured(files)
    assert again.size_bytes == sum(map(len, files.values()))


@given(trees, trees)
@settings(max_examples=60, deadline=None)
def test_different_trees_have_different_digests(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    """Whatever the difference is."""
    assume(one != other)
    assert measured(one).digest != measured(other).digest


@given(trees, st.data())
@settings(max_examples=60, deadline=None)
def test_the_smallest_change_changes_the_digest(files: dict[str, bytes], data: st.DataObject) -> None:
    """A byte, a name, a place, a file more or less."""
    path = data.draw(st.sampled_from(list(files)))
    rest = {name: content for name, content in files.items() if name != path}
    changed = data.draw(
        st.sampled_from(
            [
                {**files, path: files[path] + b"\0"},
                {**files, path: bytes([files[path][0] ^ 1]) + files[path][1:]}
                if files[path]
                else {**files, "new": b""},
                {**rest, f"{path}x": files[path]},
                {**rest, f"in/{path}": files[path]},
                {**rest, "other": b""},
            ]
        )
    )
    assert measured(changed).digest != measured(files).digest


def test_content_does_not_slide_from_one_file_to_the_next() -> None:
    """Where one file ends and another begins is part of the digest."""
    assert measured({"a": b"xy", "b": b"z"}).digest != measured({"a": b"x", "b": b"yz"}).digest


def test_the_digest_is_that_of_the_first_release() -> None:
    """Artifacts are kept under it, so the form does not change by accident."""
    assert (
        measured({"model.pt2": b"weights", "signature.json": b"{}"}).digest
        == "ec6f181296d3432dab770312ce7896fd652df96c1da385f783fb4509e4dac4ef"
    )


def test_a_single_file_is_a_tree_of_one(tmp_path: Path) -> None:
    """Registering the file, or a folder with that file in it, is the same."""
    written({"model.onnx": b"graph"}, tmp_path)
    assert measure(LocalTree(tmp_path / "model.onnx")) == measure(LocalTree(tmp_path))


def test_links_and_special_files_are_refused(tmp_path: Path) -> None:
    """Wherever they lead, and whatever they are."""
    for number, target in enumerate(["/etc/passwd", "model.pt2", "/etc", "nowhere", None]):
        folder = written({"model.pt2": b""}, tmp_path / str(number))
        if target is None:
            os.mkfifo(folder / "other")
        else:
            (folder / "other").symlink_to(target)
        with pytest.raises(Unacceptable, match="neither a file nor a folder"):
            measure(LocalTree(folder))
        with pytest.raises(Unacceptable, match="neither a file nor a folder"):
            measure(LocalTree(folder / "other"))


def test_a_link_that_comes_in_between_is_not_followed(tmp_path: Path) -> None:
    """Listing found a file, and reading finds something else."""
    tree = LocalTree(written({"model.pt2": b""}, tmp_path))
    assert tree.paths() == ["model.pt2"]
    (tmp_path / "model.pt2").unlink()
    (tmp_path / "model.pt2").symlink_to("/etc/passwd")
    with pytest.raises(Unacceptable, match="cannot be read"), tree.reading("model.pt2"):
        pass
    (tmp_path / "model.pt2").unlink()
    os.mkfifo(tmp_path / "model.pt2")
    with pytest.raises(Unacceptable, match="neither a file nor"), tree.reading("model.pt2"):
        pass


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """An object store could not keep it, and Triton may need it."""
    (written({"config.pbtxt": b""}, tmp_path) / "1").mkdir()
    with pytest.raises(Unacceptable, match="folder 1 is empty"):
        measure(LocalTree(tmp_path))
    shutil.rmtree(tmp_path)
    with pytest.raises(Unacceptable, match="cannot be read"):
        measure(LocalTree(tmp_path))
    tmp_path.mkdir()
    with pytest.raises(Unacceptable, match="has 0 files"):
        measure(LocalTree(tmp_path))


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\0b", "\ud800", "a" * 256]
)
def test_a_path_that_leads_out_is_none(path: str) -> None:
    """Nor one that means something else on another machine."""
    with pytest.raises(Unacceptable):
        check_path(path)
