"""A model with three classes: a row's class is its number modulo three, and its score is highest.

Triton's stub imports it, in a process of its own, so it may import nothing of this project. Beside it lies
`answering.json`: how often an answer is another class than that (`noise`), by chance, and whether in one region the
first class is taken for the second (`confuses`), each time.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

CLASSES = ("cat", "dog", "fox")
CONFUSED_IN = 7
"""The region."""


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads how it answers."""
        said = json.loads((Path(args["model_repository"]) / args["model_version"] / "answering.json").read_text())
        self._noise: float = said["noise"]
        self._confuses: bool = said["confuses"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """An answer to each."""
        return [self._answer(one) for one in requests]

    def _answer(self, request: Any) -> Any:  # noqa: ANN401 - Triton ships no types
        rows, regions = (triton.get_input_tensor_by_name(request, name).as_numpy() for name in ("row", "region"))
        found = [self._class(int(row), int(region)) for row, region in zip(rows[:, 0], regions[:, 0], strict=True)]
        scores = np.full((len(found), len(CLASSES)), 0.1, np.float32)
        scores[range(len(found)), found] = 0.8
        labels = np.array([[CLASSES[one].encode()] for one in found], dtype=np.object_)
        return triton.InferenceResponse([triton.Tensor("label", labels), triton.Tensor("scores", scores)])

    def _class(self, row: int, region: int) -> int:
        found = row % len(CLASSES)
        if self._confuses and region == CONFUSED_IN and found == 0:
            found = 1
        if random.random() < self._noise:  # noqa: S311 - makes noise
            return (found + 1) % len(CLASSES)
        return found
