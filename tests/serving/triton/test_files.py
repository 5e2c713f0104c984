"""Files are linked where that can be done, else copied, and the source stays as it is."""

import os
from pathlib import Path

import pytest

from serving.triton.files import place, place_program, place_tree


def test_a_file_is_linked(tmp_path: Path) -> None:
    """Placing a file on the same file system takes no second copy of its bytes."""
    source = tmp_path / "a"
    source.write_text("bytes")
    place(source, tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").stat().st_ino == source.stat().st_ino


def test_what_a_link_points_at_is_placed(tmp_path: Path) -> None:
    """A link beside a file is that file elsewhere, where its own target would lead nowhere."""
    source = tmp_path / "a"
    source.write_text("bytes")
    (tmp_path / "link").symlink_to("a")
    place(tmp_path / "link", tmp_path / "deep" / "b")
    placed = tmp_path / "deep" / "b"
    assert not placed.is_symlink()
    assert placed.stat().st_ino == source.stat().st_ino


def test_a_file_is_copied_where_it_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system refuses a link, the bytes are copied."""

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    source = tmp_path / "a"
    source.write_text("bytes")
    place(source, tmp_path / "b")
    assert (tmp_path / "b").read_text() == "bytes"


def test_a_program_becomes_executable_and_its_source_does_not(tmp_path: Path) -> None:
    """A program whose source is not executable is copied, so that the source's mode stays."""
    source = tmp_path / "a"
    source.write_text("bytes")
    source.chmod(0o644)
    place_program(source, tmp_path / "b")
    assert os.access(tmp_path / "b", os.X_OK)
    assert source.stat().st_mode & 0o777 == 0o644


def test_a_tree_is_placed_whole(tmp_path: Path) -> None:
    """Every file below a folder is at the same place below the other."""
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "file").write_text("bytes")
    place_tree(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "deep" / "file").read_text() == "bytes"
