"""Logs models to a tracking server as their makers would: `python -m tests.serving.control.importing.logged URI`.

A program of its own, because mlflow in a process of tests would bring its warnings and its settings along. Everything
is logged to the experiment of the server's choice; the registered models are `iris` (versions 1 to 4) and `halves`.
"""

from __future__ import annotations

import sys
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow.data.numpy_dataset import from_numpy
from mlflow.models import infer_signature
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.serving.control.importing.logged_facts import COMMIT


def main(uri: str) -> None:
    """Logs everything."""
    mlflow.set_tracking_uri(uri)
    rows, kinds = load_iris(return_X_y=True)
    _on_arrays(rows, kinds)
    _on_columns(rows, kinds)
    _as_pickle(rows, kinds)
    _without_signature(rows, kinds)
    _onnx()


def _on_arrays(rows: NDArray[Any], kinds: NDArray[Any]) -> None:
    """Version 1 of iris: everything that can be said of a model."""
    model = LogisticRegression(max_iter=500).fit(rows, kinds)
    with mlflow.start_run():
        mlflow.log_params({"C": 1.0, "solver": "lbfgs", "notes": "x" * 2_000})
        mlflow.log_metrics({"accuracy": 0.97, "broken": float("nan")})
        mlflow.set_tags({"team": "fruit", "mlflow.source.git.commit": COMMIT})
        mlflow.log_input(from_numpy(rows, targets=kinds, name="iris"), context="training")
        _log(
            mlflow.sklearn, model, "iris", signature=infer_signature(rows, model.predict(rows)), input_example=rows[:2]
        )
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("iris", "champion", "1")
    client.set_registered_model_alias("iris", "best-of-all", "1")
    client.set_model_version_tag("iris", "1", "reviewed", "yes")


def _on_columns(rows: NDArray[Any], kinds: NDArray[Any]) -> None:
    """Version 2 of iris: fitted on a DataFrame."""
    frame = pd.DataFrame(rows, columns=["sepal length", "sepal width", "petal length", "petal width"])
    model = LogisticRegression(max_iter=500).fit(frame, kinds)
    with mlflow.start_run():
        signature = infer_signature(frame, model.predict(frame))
        _log(mlflow.sklearn, model, "iris", signature=signature, input_example=frame[:2])


def _as_pickle(rows: NDArray[Any], kinds: NDArray[Any]) -> None:
    """Version 3 of iris: a pickle."""
    model = LogisticRegression(max_iter=500).fit(rows, kinds)
    signature = infer_signature(rows, model.predict(rows))
    with mlflow.start_run():
        _log(mlflow.sklearn, model, "iris", signature=signature, serialization_format="cloudpickle")


def _without_signature(rows: NDArray[Any], kinds: NDArray[Any]) -> None:
    """Version 4 of iris: nobody said what it takes."""
    with mlflow.start_run():
        _log(mlflow.sklearn, LogisticRegression(max_iter=500).fit(rows, kinds), "iris")


def _onnx() -> None:
    """Version 1 of halves: large enough to have its weights in a file beside it."""
    weights = numpy_helper.from_array(np.eye(64, dtype=np.float32) / 2, "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["half"])],
        "halves",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("half", TensorProto.FLOAT, ["batch", 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    rows = np.ones((2, 64), np.float32)
    with mlflow.start_run():
        mlflow.log_param("layers", 1)
        _log(mlflow.onnx, model, "halves", signature=infer_signature(rows, rows / 2), input_example=rows)
    mlflow.MlflowClient().set_registered_model_alias("halves", "champion", "1")


def _log(flavor: object, model: object, name: str, **how: object) -> None:
    """Logs and registers; without looking for requirements, which takes seconds and which nobody reads."""
    flavor.log_model(model, name="model", registered_model_name=name, pip_requirements=[], **how)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1])
