"""Which `tritonserver` is run, and with what environment.

The first of: what the settings name, what SLUICE_TRITON_BINARY names, a `tritonserver` on PATH, the one that the
`nvidia-pytriton` wheel carries. The wheel is read as a folder of files; its Python code is never imported. Its
Python backend needs the stub of this interpreter beside its library, and site-packages is not ours to write
into, so the few files that count are placed in a cache folder, once for each release of wheel and Python.

How the server is started and watched is `process.py`.
"""

import contextlib
import ctypes.util
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import StartFailed
from serving.triton.files import place, place_program

VARIABLE = "SLUICE_TRITON_BINARY"
"""The environment variable that names a `tritonserver` to use in place of the wheel's."""

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_OLDEST_GLIBC = (2, 35)
_NVIDIA = Path("/opt/tritonserver")
_STUB = "triton_python_backend_stub"
_CACHE_LIBRARY = Path("local/libtritoncache_local.so")
_HINT = f"Name a tritonserver with {VARIABLE} or triton.binary, or install nvidia-pytriton 0.7.0."


@dataclass(frozen=True, slots=True)
class TritonBinary:
    """A `tritonserver` that can be started.

    Args:
        path: the program.
        backend_directory: for its --backend-directory; None where its own default is right.
        environment: the variables to set over those of this process.
        source: who named it: "settings", "SLUICE_TRITON_BINARY", "PATH" or "wheel".
        cache_directory: for its --cache-directory; None where its own default is right.
    """

    path: Path
    backend_directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    source: str = "settings"
    cache_directory: Path | None = None

    def has_backend(self, name: str) -> bool:
        """Whether it can run models with the backend of that name, such as onnxruntime."""
        folders = self._folders(self.backend_directory, "backends")
        return any((folder / name / f"libtriton_{name}.so").is_file() for folder in folders)

    @property
    def has_response_cache(self) -> bool:
        """Whether it can keep answers in its memory."""
        return any((folder / _CACHE_LIBRARY).is_file() for folder in self._folders(self.cache_directory, "caches"))

    def _folders(self, named: Path | None, default: str) -> tuple[Path, ...]:
        """Where it looks for such libraries: where it is told to, else beside its own folder or where NVIDIA has it."""
        if named is not None:
            return (named,)
        return self.path.resolve().parent.parent / default, _NVIDIA / default


@dataclass(frozen=True, slots=True)
class _Wheel:
    """The unpacked nvidia-pytriton: its server's folder, its libraries and its version."""

    server: Path
    libraries: Path
    version: str

    @property
    def stub(self) -> Path:
        return self.server / "python_backend_stubs" / _PYTHON / _STUB

    def files(self) -> Iterator[tuple[Path, Path]]:
        """Every file that counts, and where it goes below the cache folder."""
        yield self.server / "bin" / "tritonserver", Path("bin/tritonserver")
        yield self.stub, Path("backends/python") / _STUB
        for file in sorted((self.server / "backends" / "python").iterdir()):
            if file.is_file():
                yield file, Path("backends/python") / file.name
        yield self.server / "caches" / _CACHE_LIBRARY, Path("caches") / _CACHE_LIBRARY


def find(setting: str | None = None, environ: Mapping[str, str] = os.environ) -> TritonBinary:
    """The `tritonserver` to run; `setting` is what the settings name, if they name one.

    Raises:
        StartFailed: none can be found, or the one that was named cannot be run here.
    """
    named = ((setting, "settings"), (environ.get(VARIABLE), VARIABLE))
    for program, source in named:
        if program:
            return TritonBinary(_named(program, source, environ), None, _environment(environ), source)
    on_path = shutil.which("tritonserver", path=environ.get("PATH", os.defpath))
    if on_path is not None:
        return TritonBinary(Path(on_path), None, _environment(environ), "PATH")
    return _from_wheel(environ)


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this project keeps what it can make again: SLUICE_CACHE_DIR, XDG_CACHE_HOME/sluice or ~/.cache/sluice."""
    if own := environ.get("SLUICE_CACHE_DIR"):
        return Path(own)
    if shared := environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "sluice"
    return Path.home() / ".cache" / "sluice"


def _named(program: str, source: str, environ: Mapping[str, str]) -> Path:
    found = shutil.which(program, path=environ.get("PATH", os.defpath))
    if found is None:
        raise StartFailed(
            f"The tritonserver that {source} names, {program!r}, is not an executable program.",
            "Correct it, or remove it to use the one on PATH or in the nvidia-pytriton wheel.",
        )
    return Path(found).absolute()


def _environment(environ: Mapping[str, str], libraries: tuple[Path, ...] = ()) -> dict[str, str]:
    """What Triton's Python stub needs to find this interpreter's packages, and Triton its libraries."""
    packages = dict.fromkeys((sysconfig.get_path("platlib"), sysconfig.get_path("purelib")))
    added = {
        # The stub's embedded interpreter finds its standard library through the `python3` that comes first on PATH.
        "PATH": (str(Path(sys.executable).parent), environ.get("PATH", os.defpath)),
        "PYTHONPATH": (environ.get("PYTHONPATH", ""), *packages),
        "LD_LIBRARY_PATH": (*map(str, libraries), environ.get("LD_LIBRARY_PATH", "")),
    }
    return {name: ":".join(filter(None, parts)) for name, parts in added.items() if any(parts)}


def _from_wheel(environ: Mapping[str, str]) -> TritonBinary:
    wheel = _wheel()
    _refuse_old_glibc()
    _refuse_missing_stub(wheel)
    home = _placed(wheel, cache_folder(environ) / "triton" / f"pytriton-{wheel.version}-python{_PYTHON}")
    environment = _environment(environ, (wheel.libraries, *_folder_of_libpython()))
    return TritonBinary(home / "bin" / "tritonserver", home / "backends", environment, "wheel", home / "caches")


def _wheel() -> _Wheel:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise StartFailed("There is no tritonserver: none is named, none is on PATH, and no wheel carries one.", _HINT)
    package = Path(spec.submodule_search_locations[0])
    version = importlib.metadata.version("nvidia-pytriton")
    return _Wheel(package / "tritonserver", package.parent / "nvidia_pytriton.libs", version)


def _refuse_old_glibc() -> None:
    library, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if library != "glibc" or numbers < _OLDEST_GLIBC:
        found = f"{library} {version}".strip() or "another C library"
        raise StartFailed(
            f"The tritonserver of the nvidia-pytriton wheel needs glibc 2.35 or newer, and this machine has {found}.",
            f"Name another tritonserver with {VARIABLE} or triton.binary, or run in the container image.",
        )


def _refuse_missing_stub(wheel: _Wheel) -> None:
    if not wheel.stub.is_file():
        found = ", ".join(sorted(folder.name for folder in wheel.stub.parents[1].glob("*")))
        raise StartFailed(
            f"nvidia-pytriton {wheel.version} has no Python backend for Python {_PYTHON}, only for {found or 'none'}.",
            _HINT,
        )


def _folder_of_libpython() -> tuple[Path, ...]:
    """The folder of the shared library of this Python, which the stub embeds; none if the system finds it itself."""
    name = f"libpython{_PYTHON}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"):
        if folder and (Path(folder) / name).is_file():
            return (Path(folder),)
    if ctypes.util.find_library(f"python{_PYTHON}") is None:
        raise StartFailed(
            f"This Python has no shared library {name}, which Triton's Python backend needs.",
            f"Install the system's libpython{_PYTHON} package, or use a Python that was built with --enable-shared.",
        )
    return ()


def _placed(wheel: _Wheel, home: Path) -> Path:
    """The folder `home` with the wheel's files in it: all of them or, for whoever looks meanwhile, none."""
    if _whole(wheel, home):
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}-") as made:
            _fill(wheel, Path(made) / "new")
            _swap(wheel, Path(made), home)
    except OSError as error:
        raise StartFailed(
            f"Triton's files cannot be placed in {home}: {error.strerror or error}.",
            "Name a folder that can be written to with SLUICE_CACHE_DIR.",
        ) from error
    return home


def _whole(wheel: _Wheel, folder: Path) -> bool:
    return all((folder / where).is_file() for _, where in wheel.files())


def _fill(wheel: _Wheel, folder: Path) -> None:
    for source, where in wheel.files():
        put = place_program if where.name in {"tritonserver", _STUB} else place
        put(source, folder / where)


def _swap(wheel: _Wheel, made: Path, home: Path) -> None:
    """Renames made/new to `home`, unless another process was faster.

    A `home` that lacks files (a cleaner of caches took some) is moved out of the way; whoever runs from it keeps
    the files that are open.
    """
    for attempt in range(3):
        with contextlib.suppress(OSError):
            (made / "new").rename(home)
        if _whole(wheel, home):
            return
        with contextlib.suppress(OSError):
            home.rename(made / f"old-{attempt}")
    raise OSError("another process keeps taking files out of it")
