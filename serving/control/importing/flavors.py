"""From the files of an MLflow model to an artifact of ours: which flavor it has, and which of its files are the model.

Nothing is opened that could run: an `MLmodel` is read as plain YAML, and of a torch file only the table of contents.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import yaml

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind

MLMODEL = "MLmodel"
PREDICT = "predict"

_LARGEST_MLMODEL = 4 * 1_048_576
_NOT_THE_MODEL = frozenset(
    {
        *(MLMODEL, "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"),
        *("input_example.json", "serving_input_example.json", "environment_variables.txt"),
    }
)
"""What MLflow writes beside a model's own files."""


@dataclass(frozen=True, slots=True)
class Model:
    """An MLflow model's files on this machine: the folder, and what its `MLmodel` says."""

    folder: Path
    said: Mapping[str, Any]

    @property
    def flavors(self) -> Mapping[str, Any]:
        """By name; `python_function` is how MLflow itself calls the others."""
        flavors = self.said.get("flavors")
        return flavors if isinstance(flavors, Mapping) else {}

    def flavor(self, name: str) -> Mapping[str, Any]:
        """What is said of one flavor; empty where nothing is."""
        said = self.flavors.get(name)
        return said if isinstance(said, Mapping) else {}

    def file(self, name: object) -> Path:
        """A file or folder of the model by the name that `MLmodel` gives it.

        Raises:
            Unacceptable: there is none within the folder.
        """
        path = PurePosixPath(str(name or ""))
        if not path.parts or path.is_absolute() or ".." in path.parts or not (self.folder / path).exists():
            raise Unacceptable(f"The model's MLmodel names a file {str(name)[:200]!r}, which is not among its files.")
        return self.folder / path


@dataclass(frozen=True, slots=True)
class Chosen:
    """The artifact of a model.

    Attributes:
        kind: of the artifact.
        files: what it is made of, by the names that it is to have.
        output: what an output without a name is called.
    """

    kind: ArtifactKind
    files: Mapping[str, Path]
    output: str = "output"

    def place(self, folder: Path) -> None:
        """Moves the files into the folder, which is made."""
        folder.mkdir()
        for name, path in self.files.items():
            shutil.move(path, folder / name)


def read(folder: Path) -> Model:
    """The MLflow model in the folder.

    Raises:
        Unacceptable: there is none.
    """
    try:
        if (folder / MLMODEL).stat().st_size > _LARGEST_MLMODEL:
            raise Unacceptable(f"The model's MLmodel is larger than {_LARGEST_MLMODEL:,} bytes.")
        said = yaml.safe_load((folder / MLMODEL).read_text())
    except FileNotFoundError as error:
        raise Unacceptable("The version has no MLmodel file, so it is no MLflow model.") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise Unacceptable(f"The model's MLmodel cannot be read: {str(error)[:200]}") from error
    if not isinstance(said, Mapping):
        raise Unacceptable("The model's MLmodel is no mapping.")
    return Model(folder, said)


def choose(model: Model, *, allow_pickle: bool) -> Chosen:
    """The artifact that can be made of the model.

    Raises:
        Unacceptable: none can, naming the flavors that there are and what to do.
    """
    for name, chosen in _KNOWN.items():
        if name in model.flavors:
            return chosen(model, allow_pickle)
    found = ", ".join(sorted(set(map(str, model.flavors)) - {"python_function"})) or "python_function alone"
    raise Unacceptable(
        f"The model cannot be served as it is: its flavors are {found}, and {', '.join(_KNOWN)} can be imported.",
        "Convert it to ONNX and log that (mlflow.onnx.log_model), or register a Triton model directory.",
    )


def _onnx(model: Model, _allow_pickle: bool) -> Chosen:  # noqa: FBT001 - the shape of all of these
    file = model.file(model.flavor("onnx").get("data"))
    # Large weights lie in files of any name beside it, which the model names.
    beside = {path.name: path for path in file.parent.iterdir() if path.is_file() and path.name not in _NOT_THE_MODEL}
    return Chosen(ArtifactKind.ONNX, {**beside, file.name: file})


def _pytorch(model: Model, _allow_pickle: bool) -> Chosen:  # noqa: FBT001 - as above
    folder = model.file(model.flavor("pytorch").get("model_data"))
    if (folder / "model.pt2").is_file():
        return Chosen(ArtifactKind.TORCH_EXPORT, {"model.pt2": folder / "model.pt2"})
    if _is_torchscript(folder / "model.pth"):
        return Chosen(ArtifactKind.TORCHSCRIPT, {"model.pt": folder / "model.pth"})
    raise Unacceptable(
        "The pytorch flavor was saved as a pickle, and loading a pickle runs whatever its author wrote into it.",
        'Log it with serialization_format="pt2" and an input example of two rows or more, or as TorchScript.',
    )


def _is_torchscript(file: Path) -> bool:
    """Whether the archive has code in it: torch.save writes the same archive without."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [PurePosixPath(name).parts for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return False
    return {"code", "constants.pkl"} <= {parts[1] for parts in names if len(parts) > 1}


def _sklearn(model: Model, allow_pickle: bool) -> Chosen:  # noqa: FBT001 - as above
    flavor = model.flavor("sklearn")
    file, form = model.file(flavor.get("pickled_model")), flavor.get("serialization_format") or "pickle"
    output = str(model.flavor("python_function").get("predict_fn") or PREDICT)
    if form == "skops":
        return Chosen(ArtifactKind.SKLEARN, {"model.skops": file}, output)
    if allow_pickle:
        return Chosen(ArtifactKind.SKLEARN, {"model.pkl": file}, output)
    raise Unacceptable(
        f"The sklearn flavor was saved as {form}, and loading that runs whatever its author wrote into it.",
        'Log it with serialization_format="skops", or set registry.allow_pickle if you trust everybody who can write '
        "to the tracking server.",
    )


_KNOWN: Mapping[str, Callable[[Model, bool], Chosen]] = MappingProxyType(
    {"onnx": _onnx, "pytorch": _pytorch, "sklearn": _sklearn}
)
"""In this order: a model that was converted to ONNX as well is served as that."""
