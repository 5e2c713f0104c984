"""A model that says who it is: the number that its artifact was made with, and the version that Triton serves it as.

Triton's stub imports it, in a process of its own, so it may import nothing of this project.
"""

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the number that was written into the artifact."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self._made_as = int((folder / "number.txt").read_text())
        self._served_as = int(args["model_version"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in their order: both numbers for each of its rows."""
        return [self._answer(triton.get_input_tensor_by_name(request, "x").shape()[0]) for request in requests]

    def _answer(self, rows: int) -> Any:  # noqa: ANN401 - Triton ships no types
        numbers = {"made_as": self._made_as, "served_as": self._served_as}
        return triton.InferenceResponse(
            [triton.Tensor(name, np.full((rows, 1), number, np.int64)) for name, number in numbers.items()]
        )
