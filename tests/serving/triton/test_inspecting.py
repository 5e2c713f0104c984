"""What an artifact says of itself is its signature; what it does not say is not guessed."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from serving.triton import inspecting
from serving.triton.inspecting import signature_in
from serving.triton.layout import ArtifactRefused
from tests.serving.triton.artifacts import onnx_model, onnx_text
from tests.serving.triton.made import SIGNATURE, artifact, ready_artifact


def told(folder: Path, kind: str) -> Any:  # noqa: ANN401 - JSON
    """The signature, decoded."""
    text = signature_in(folder, kind)
    return text and json.loads(text)


def identity(folder: Path, shape: list[int | str | None] | None, kind: int = TensorProto.FLOAT) -> Path:
    """An ONNX model that gives back what it takes."""
    folder.mkdir(exist_ok=True)
    taken, given = (helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, folder / "x.onnx")
    return folder


@pytest.mark.parametrize("kind", ["torch-export", "torchscript", "onnx", "sklearn", "triton"])
def test_a_signature_beside_the_model_comes_first(tmp_path: Path, kind: str) -> None:
    """Whatever the kind; nothing is opened then."""
    assert told(artifact(tmp_path / "a", "broken.onnx"), kind) == SIGNATURE


@pytest.mark.parametrize("kind", ["torch-export", "torchscript", "sklearn", "triton"])
def test_what_does_not_say_it_is_not_guessed(tmp_path: Path, kind: str) -> None:
    """These files name no tensors, or none that could be relied on."""
    folder = artifact(tmp_path / "a", "model.bin")
    (folder / "signature.json").unlink()
    assert told(folder, kind) is None


def test_an_onnx_model_says_its_tensors(tmp_path: Path) -> None:
    """Datatypes, shapes without the batch dimension; a row of one value is one element."""
    assert told(onnx_model(tmp_path / "a"), "onnx") == {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [3]},
            {"name": "pick", "datatype": "INT64", "shape": [1]},
        ],
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2]},
            {"name": "place", "datatype": "INT64", "shape": [1]},
            {"name": "word", "datatype": "BYTES", "shape": [1]},
        ],
    }
    assert told(onnx_text(tmp_path / "b"), "onnx")["inputs"] == [{"name": "said", "datatype": "BYTES", "shape": [2]}]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (["n", "seq", 4], [-1, 4]),
        ([1, 3, None], [3, -1]),
        ([None], [1]),
        ([7, 3], None),
        ([], None),
    ],
)
def test_the_first_dimension_of_an_onnx_model_is_the_batch(
    tmp_path: Path, shape: list[int | str | None], expected: list[int] | None
) -> None:
    """If it varies or is 1; else nobody knows what it is."""
    found = told(identity(tmp_path / "a", shape), "onnx")
    assert (found and found["inputs"][0]["shape"]) == expected


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x09" * 500])
def test_a_broken_onnx_model_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    """Whatever its reader makes of it."""
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtifactRefused, match=r"x\.onnx is not an ONNX model") as refused:
        signature_in(tmp_path, "onnx")
    assert "\n" not in str(refused.value)


def test_an_onnx_model_that_keeps_its_reader_busy_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it is one that cannot be read."""
    monkeypatch.setattr(inspecting, "_READ_WITHIN_S", 0.001)
    with pytest.raises(ArtifactRefused, match="could not be read within"):
        signature_in(onnx_text(tmp_path / "a"), "onnx")


def test_what_is_no_tensor_is_refused_by_its_name(tmp_path: Path) -> None:
    """bfloat16, which numpy has not, as well as sequences and maps."""
    with pytest.raises(ArtifactRefused, match=r"x of x\.onnx is a tensor\(bfloat16\)"):
        signature_in(identity(tmp_path / "a", ["n", 2], TensorProto.BFLOAT16), "onnx")


def test_a_triton_directory_says_what_its_configuration_says(tmp_path: Path) -> None:
    """Triton's datatypes in the protocol's words, and what may be left out."""
    config = """
    max_batch_size: 8
    input { name: "text" data_type: TYPE_STRING dims: [1] }
    input { name: "n" data_type: TYPE_BF16 dims: [2] optional: true }
    output [ { name: "y" data_type: TYPE_FP32 dims: [-1, 3] } ]
    """
    assert told(ready_artifact(tmp_path / "a", config, 1), "triton") == {
        "inputs": [
            {"name": "text", "datatype": "BYTES", "shape": [1]},
            {"name": "n", "datatype": "BF16", "shape": [2], "optional": True},
        ],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_a_triton_directory_that_leaves_it_to_its_backend_says_nothing(tmp_path: Path) -> None:
    """Triton completes it when the model is loaded."""
    assert told(ready_artifact(tmp_path / "a", 'backend: "onnxruntime"', 1), "triton") is None


def test_a_broken_configuration_is_a_sentence(tmp_path: Path) -> None:
    """Not a guess."""
    with pytest.raises(ArtifactRefused, match="not a model configuration"):
        signature_in(ready_artifact(tmp_path / "a", "input [", 1), "triton")
