"""What kind of artifact a tree of files is, told from their names alone: nothing is opened, for opening can run code.

A pickle is none of them. Loading one runs whatever its author wrote into it, so a scikit-learn model comes through
skops, and a torch model as an exported program; what can run code all the same is listed (`RUNS_CODE`). Only where the
caller allows pickles is one taken for what it most often holds, a scikit-learn model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType

from registry.errors import Unacceptable


class ArtifactKind(StrEnum):
    """What can be registered."""

    TORCH_EXPORT = "torch-export"
    TORCHSCRIPT = "torchscript"
    ONNX = "onnx"
    SKLEARN = "sklearn"
    TRITON = "triton"


RUNS_CODE = frozenset({ArtifactKind.TORCH_EXPORT, ArtifactKind.TORCHSCRIPT, ArtifactKind.TRITON})
"""Registering one of these is running its author's code, in its trial.

A Triton directory holds Python, and TorchScript is a language that can write files. A program of torch.export is no
more than operators as torch saves it, but torch evaluates its sizes and guards as Python, and an archive may bring
compiled libraries that it loads. An ONNX model and one of skops hold nothing that is run but what their runtimes know.
"""

_SUFFIXES: Mapping[str, ArtifactKind] = MappingProxyType(
    {
        ".pt2": ArtifactKind.TORCH_EXPORT,
        ".pt": ArtifactKind.TORCHSCRIPT,
        ".onnx": ArtifactKind.ONNX,
        ".skops": ArtifactKind.SKLEARN,
    }
)
_SKLEARN_PICKLES = frozenset({".pkl", ".pickle", ".joblib"})
_PICKLES = _SKLEARN_PICKLES | {".pth"}
_TRITON_CONFIGURATION = "config.pbtxt"


def kind_of(paths: Iterable[str], declared: ArtifactKind | None = None, *, allow_pickle: bool = False) -> ArtifactKind:
    """The kind of the tree with these files (relative paths, separated by slashes).

    A Triton model directory has `config.pbtxt` and a numbered folder; anything else has exactly one model file at its
    top, beside whatever belongs to it. With `allow_pickle`, that may be a scikit-learn model's pickle.

    Raises:
        Unacceptable: it is none, it could be several, or it is not what was declared.
    """
    files = [PurePosixPath(path) for path in paths]
    found = _found(files, allow_pickle=allow_pickle)
    if declared is not None and declared is not found:
        raise Unacceptable(
            f"The artifact was declared as {declared}, and its files are of the kind {found}.",
            "Leave the kind out to have it told from the files.",
        )
    return found


def model_file(paths: Iterable[str], *, allow_pickle: bool = False) -> str:
    """The one model file at the top of a tree that is no Triton model directory.

    Raises:
        Unacceptable: there is none, or there are several.
    """
    files = [PurePosixPath(path) for path in paths]
    top = [file for file in files if len(file.parts) == 1]
    models = [file for file in top if file.suffix in _SUFFIXES]
    if not models and allow_pickle:
        models = [file for file in top if file.suffix in _SKLEARN_PICKLES]
    if not models:
        raise _none_found(files)
    if len(models) > 1:
        names = ", ".join(sorted(map(str, models)))
        raise Unacceptable(f"The artifact has several model files: {names}.", "Keep one; each is a version of its own.")
    return str(models[0])


def _found(files: list[PurePosixPath], *, allow_pickle: bool) -> ArtifactKind:
    if PurePosixPath(_TRITON_CONFIGURATION) in files:
        if not any(len(file.parts) > 1 and _is_version(file.parts[0]) for file in files):
            raise Unacceptable("The Triton model directory has no version's folder, such as 1/, beside config.pbtxt.")
        return ArtifactKind.TRITON
    model = PurePosixPath(model_file(map(str, files), allow_pickle=allow_pickle))
    return _SUFFIXES.get(model.suffix, ArtifactKind.SKLEARN)


def _none_found(files: list[PurePosixPath]) -> Unacceptable:
    if pickles := sorted(str(file) for file in files if file.suffix in _PICKLES):
        return Unacceptable(
            f"{', '.join(pickles[:3])} is a pickle, and loading a pickle runs whatever its author wrote into it.",
            "Save a scikit-learn model with skops (.skops), a torch model with torch.export (.pt2).",
        )
    return Unacceptable(
        "The artifact has no model file at its top.",
        f"Give a file that ends in {', '.join(_SUFFIXES)}, or a Triton model directory with its config.pbtxt.",
    )


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0")
