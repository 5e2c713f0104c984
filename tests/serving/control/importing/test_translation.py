"""What a tracking server says becomes what we register, and what cannot come along is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind
from registry.models import LONGEST_TEXT, MOST_PAIRS, TrainingData
from registry.signature import TensorSpec
from serving.control.importing.facts import Dataset, Facts, Run
from serving.control.importing.translation import Imported, translate

TENSORS = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}])
COLUMNS = json.dumps([{"type": "double", "name": name} for name in ("a b", "c")])
SIGNATURE = {"inputs": TENSORS, "outputs": TENSORS}
HEADER = json.dumps(
    {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "labels": ["one"]}],
    }
)
EXAMPLE = {"saved_input_example_info": {"serving_input_path": "serving_input_example.json"}}


def brought(folder: Path, facts: Facts, *, onnx: bool = False, example: object = None, **said: object) -> Imported:
    """A model with that MLmodel, translated."""
    model = folder / "model"
    model.mkdir()
    (model / "model.bin").write_bytes(b"weights")
    flavors: Mapping[str, Any] = {
        "sklearn": {"pickled_model": "model.bin", "serialization_format": "skops"},
        "python_function": {"predict_fn": "predict_proba"},
    }
    if onnx:
        flavors = {"onnx": {"data": "model.bin"}}
    if example is not None:
        (model / "serving_input_example.json").write_text(json.dumps(example))
        said = {**EXAMPLE, **said}
    (model / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, "signature": SIGNATURE, **said}))
    return translate(facts, model, folder / "artifact", lambda _folder, _kind: HEADER, allow_pickle=False)


def facts(run: Run | None = Run(), **more: Any) -> Facts:  # noqa: ANN401, B008 - fields of Facts; frozen
    """What the server says of version 3."""
    return Facts("iris", 3, **{"run_id": "r1", "run": run, **more})


def test_the_signature_is_translated_and_the_output_called_by_its_method(tmp_path: Path) -> None:
    """The example comes along."""
    imported = brought(tmp_path, facts(), example={"inputs": [[1, 2]]})
    assert (imported.number, imported.kind, imported.left_out) == (3, ArtifactKind.SKLEARN, ())
    assert imported.signature.inputs == (TensorSpec("input", "FP64", (2,)),)
    assert imported.signature.outputs == (TensorSpec("predict_proba", "FP64", (2,)),)
    assert json.loads(imported.example or "")["inputs"][0]["data"] == [1.0, 2.0]
    assert [path.name for path in (tmp_path / "artifact").iterdir()] == ["model.skops"]


def test_an_onnx_model_says_itself_what_it_takes(tmp_path: Path) -> None:
    """MLflow's signature only says how the example's columns are ordered."""
    frame = {"dataframe_split": {"columns": ["c", "a b"], "data": [[1, 2]]}}
    signature = {"inputs": COLUMNS, "outputs": TENSORS}
    imported = brought(tmp_path, facts(), onnx=True, example=frame, signature=signature)
    assert imported.signature.inputs == (TensorSpec("x", "FP32", (2,)),)
    assert imported.signature.outputs == (TensorSpec("y", "FP32", (1,)),)
    assert json.loads(imported.example or "")["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 1.0]}
    ]
    assert json.loads(imported.tags["mlflow.columns"]) == ["a b", "c"]


def test_an_onnx_model_needs_no_signature_of_mlflow(tmp_path: Path) -> None:
    """It was logged without one often enough."""
    assert brought(tmp_path, facts(), onnx=True, signature=None).signature.inputs[0].name == "x"


def test_others_do(tmp_path: Path) -> None:
    """Nothing else says what a pickled or exported model takes."""
    with pytest.raises(Unacceptable, match="without a signature"):
        brought(tmp_path, facts(), signature=None)


def test_an_example_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    """The version is imported all the same."""
    imported = brought(tmp_path, facts(), example={"inputs": [[1, 2, 3]]})
    assert imported.example is None
    assert [sentence for sentence in imported.left_out if sentence.startswith("The input example is left out")]


def test_an_example_file_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    """Or one whose name leads elsewhere."""
    imported = brought(tmp_path, facts(), saved_input_example_info={"serving_input_path": "../../secret"})
    assert imported.example is None
    assert "not among its files" in imported.left_out[0]


def test_the_run_comes_along(tmp_path: Path) -> None:
    """Its parameters, finite metrics, own tags and commit; MLflow's inner tags stay, and a version's tags win."""
    run = Run(
        params={"C": "1.0"},
        metrics={"accuracy": 0.97, "broken": float("nan"), "endless": float("inf")},
        tags={"team": "fruit", "stage": "one", "mlflow.user": "ada", "mlflow.source.git.commit": "0123abc"},
    )
    imported = brought(tmp_path, facts(run, tags={"stage": "two"}, description="the good one", aliases=("champion",)))
    assert imported.parameters == {"C": "1.0"}
    assert imported.metrics == {"accuracy": 0.97}
    assert imported.code_revision == "0123abc"
    assert imported.aliases == ("champion",)
    assert imported.tags == {
        "team": "fruit",
        "stage": "two",
        "mlflow.model": "iris",
        "mlflow.version": "3",
        "mlflow.run_id": "r1",
        "mlflow.description": "the good one",
    }
    assert [sentence.split("'")[1] for sentence in imported.left_out] == ["broken", "endless"]


def test_a_run_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    """The model is there, and that is what counts."""
    imported = brought(tmp_path, facts(None))
    assert (imported.parameters, imported.metrics, imported.data) == ({}, {}, None)
    assert "not there any more" in imported.left_out[0]


def test_what_is_too_long_or_too_much_is_left_out(tmp_path: Path) -> None:
    """MLflow's limits are wider than ours."""
    params = {"long": "x" * (LONGEST_TEXT + 1), **{f"p{number:05}": "1" for number in range(MOST_PAIRS + 5)}}
    imported = brought(tmp_path, facts(Run(params=params)))
    assert len(imported.parameters) == MOST_PAIRS
    assert "long" not in imported.parameters
    assert len(imported.left_out) == 2


@pytest.mark.parametrize(
    ("profile", "rows"),
    [
        ({"num_rows": 150, "num_elements": 600}, 150),
        ({"approx_count": 9}, 9),
        ({"features_shape": [150, 4]}, 150),
        ({"features_shape": {"a": [7, 4], "b": [7, 1]}}, 7),
    ],
)
def test_training_data_is_the_logged_data_set(tmp_path: Path, profile: object, rows: int) -> None:
    """By its digest; each kind of data set counts its rows in its own way."""
    datasets = (Dataset("test", "d0", "{}", "evaluation"), Dataset("iris", "d1", json.dumps(profile), "training"))
    assert brought(tmp_path, facts(Run(datasets=datasets))).data == TrainingData("d1", rows)


@pytest.mark.parametrize(
    "profile", ["", "[]", "{}", "3", '{"num_rows": "many"}', '{"num_rows": -1}', '{"num_rows": true}']
)
def test_a_data_set_without_a_number_of_rows_is_left_out(tmp_path: Path, profile: str) -> None:
    """Nobody guesses."""
    imported = brought(tmp_path, facts(Run(datasets=(Dataset("iris", "d1", profile, "training"),))))
    assert imported.data is None
    assert "'iris' (d1) is left out" in imported.left_out[0]
