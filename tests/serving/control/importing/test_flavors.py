"""Which files of an MLflow model become an artifact, told without opening anything that could run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind
from serving.control.importing.flavors import Chosen, choose, read

SKOPS = {"pickled_model": "model.skops", "serialization_format": "skops"}
PICKLE = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
PYFUNC = {"loader_module": "mlflow.something"}


class Boom:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("somebody opened the pickle",)


def saved(folder: Path, flavors: dict[str, Any], *files: str) -> Path:
    """An MLflow model with these files, none of which can be opened."""
    for name in ("conda.yaml", "requirements.txt", "input_example.json", *files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(Boom()))
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {**flavors, "python_function": PYFUNC}}))
    return folder


def chosen(folder: Path, *, allow_pickle: bool = False) -> Chosen:
    """What becomes of it."""
    return choose(read(folder), allow_pickle=allow_pickle)


def test_an_onnx_model_comes_with_its_weights(tmp_path: Path) -> None:
    """Which lie beside it under any name; what MLflow wrote there stays behind."""
    saved(tmp_path, {"onnx": {"data": "model.onnx"}}, "model.onnx", "9a7f-weights")
    found = chosen(tmp_path)
    found.place(tmp_path / "artifact")
    assert found.kind is ArtifactKind.ONNX
    assert sorted(path.name for path in (tmp_path / "artifact").iterdir()) == ["9a7f-weights", "model.onnx"]


def test_an_exported_program_is_taken(tmp_path: Path) -> None:
    """Of pytorch's two forms the safe one."""
    saved(tmp_path, {"pytorch": {"model_data": "data"}}, "data/model.pt2")
    assert chosen(tmp_path) == Chosen(ArtifactKind.TORCH_EXPORT, {"model.pt2": tmp_path / "data/model.pt2"})


def test_torchscript_is_told_from_a_pickle_by_its_table_of_contents(tmp_path: Path) -> None:
    """Both are archives called model.pth."""
    saved(tmp_path, {"pytorch": {"model_data": "data"}}, "data/model.pth")
    for names, kind in (
        (["m/data.pkl", "m/constants.pkl", "m/code/m.py"], ArtifactKind.TORCHSCRIPT),
        (["m/data.pkl"], None),
    ):
        with zipfile.ZipFile(tmp_path / "data/model.pth", "w") as archive:
            for name in names:
                archive.writestr(name, "")
        if kind is None:
            with pytest.raises(Unacceptable, match="saved as a pickle") as caught:
                chosen(tmp_path)
            assert "pt2" in caught.value.hint
        else:
            assert chosen(tmp_path).kind is kind


def test_a_skops_file_is_taken_and_its_output_is_the_method(tmp_path: Path) -> None:
    """The one that MLflow would call."""
    saved(tmp_path, {"sklearn": SKOPS}, "model.skops")
    assert chosen(tmp_path) == Chosen(ArtifactKind.SKLEARN, {"model.skops": tmp_path / "model.skops"}, "predict")


def test_a_pickle_needs_leave(tmp_path: Path) -> None:
    """Without it, what it was saved as and how to save it better."""
    saved(tmp_path, {"sklearn": PICKLE}, "model.pkl")
    with pytest.raises(Unacceptable, match="saved as cloudpickle") as caught:
        chosen(tmp_path)
    assert "skops" in caught.value.hint
    assert chosen(tmp_path, allow_pickle=True).files == {"model.pkl": tmp_path / "model.pkl"}


def test_other_flavors_are_named(tmp_path: Path) -> None:
    """With those that can be imported."""
    saved(tmp_path, {"xgboost": {"data": "model.ubj"}}, "model.ubj")
    with pytest.raises(Unacceptable, match="its flavors are xgboost, and onnx, pytorch, sklearn can be imported"):
        chosen(tmp_path)
    saved(tmp_path, {})
    with pytest.raises(Unacceptable, match="python_function alone"):
        chosen(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", None, "missing.skops", ["x"], "a/../../secret"])
def test_a_name_in_mlmodel_leads_nowhere_else(tmp_path: Path, name: object) -> None:
    """Whoever writes to the tracking server writes MLmodel too."""
    (tmp_path / "secret").write_text("x")
    saved(tmp_path / "model", {"sklearn": {**SKOPS, "pickled_model": name}})
    with pytest.raises(Unacceptable, match="which is not among its files"):
        chosen(tmp_path / "model")


@pytest.mark.parametrize("text", ["", "[]", "{", "!!python/object/apply:os.system [ls]", "flavors: 3", "\xff"])
def test_nonsense_in_mlmodel_is_a_sentence(tmp_path: Path, text: str) -> None:
    """And runs nothing."""
    (tmp_path / "MLmodel").write_text(text, encoding="latin-1")
    with pytest.raises(Unacceptable, match="model"):
        chosen(tmp_path)


def test_without_an_mlmodel_it_is_no_model(tmp_path: Path) -> None:
    """A version can be registered of any folder."""
    with pytest.raises(Unacceptable, match="no MLmodel file"):
        chosen(tmp_path)
