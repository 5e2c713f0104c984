"""Tiny models of every kind, made on the spot, each in an artifact folder as somebody would bring it."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import skops.io
import torch
from onnx import TensorProto, helper

Tensors = Sequence[tuple[str, str, list[int]]]


class Halves(torch.nn.Module):
    """Half of each number, and each row's sum; a row that begins with a negative number is an error."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """FP32 [n, 3] to FP32 [n, 3] and [n]."""
        if bool((x[:, 0] < 0).any()):
            raise ValueError("a row begins with a negative number")
        return x / 2, x.sum(dim=1)


class Named(torch.nn.Module):
    """The same by name, and something that nobody asks for."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """FP32 [n, 3] to FP32 [n, 3], [n] and [n]."""
        return {"sum": x.sum(dim=1), "other": x[:, 0], "half": x / 2}


class Total(torch.nn.Module):
    """The sum of all rows, which is no row for each row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """FP32 [n, 3] to FP32 [1, 1]."""
        return x.sum().reshape(1, 1)


def signed(folder: Path, inputs: Tensors, outputs: Tensors) -> Path:
    """The folder with a signature.json."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        what: [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in tensors]
        for what, tensors in (("inputs", inputs), ("outputs", outputs))
    }
    (folder / "signature.json").write_text(json.dumps(said))
    return folder


HALVES: tuple[Tensors, Tensors] = ([("x", "FP32", [3])], [("half", "FP32", [3]), ("sum", "FP32", [1])])


def torchscript(folder: Path, module: torch.nn.Module, inputs: Tensors, outputs: Tensors) -> Path:
    """A TorchScript module."""
    signed(folder, inputs, outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled: Any = torch.jit.script(module)
        compiled.save(str(folder / "scripted.pt"))
    return folder


def torch_export(folder: Path) -> Path:
    """A torch.export program that gives half of each number and each row's sum."""

    class Exported(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x / 2, x.sum(dim=1)

    signed(folder, *HALVES)
    batch = torch.export.Dim("batch", min=1, max=1_024)
    program = torch.export.export(Exported(), (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "halves.pt2")
    return folder


def onnx_model(folder: Path, *, external: bool = False) -> Path:
    """An ONNX model: a row's product with a matrix [3, 2], each row's largest position, and one of three words."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = onnx.numpy_helper.from_array(WEIGHTS, "w")
    words = onnx.numpy_helper.from_array(np.array([b"one", "zwölf".encode(), b"three"], np.object_), "words")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("ArgMax", ["y"], ["place"], axis=1, keepdims=0),
            helper.make_node("Gather", ["words", "pick"], ["word"], axis=0),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("pick", TensorProto.INT64, ["batch"]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("place", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("word", TensorProto.STRING, ["batch"]),
        ],
        [weights, words],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "weights").mkdir()
    onnx.save_model(
        model, folder / "tiny.onnx", save_as_external_data=external, location="weights/w.bin", size_threshold=0
    )
    return folder


WEIGHTS = np.array([[1, 0], [0, 2], [-1, 1]], np.float32)


def onnx_text(folder: Path) -> Path:
    """An ONNX model that gives back texts [n, 2], their first column first."""
    folder.mkdir(parents=True, exist_ok=True)
    text = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n", 2]) for name in ("said", "heard")]
    graph = helper.make_graph([helper.make_node("Identity", ["said"], ["heard"])], "echo", text[:1], text[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, folder / "model.onnx")
    return folder


def sklearn(folder: Path, model: object, inputs: Tensors, outputs: Tensors) -> Path:
    """A scikit-learn model as skops keeps it."""
    signed(folder, inputs, outputs)
    skops.io.dump(model, folder / "classifier.skops")
    return folder
