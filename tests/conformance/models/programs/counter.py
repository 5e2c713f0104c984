"""Says how often it was executed, waits as long as it is told, and stops waiting when its request is cancelled.

Triton's stub imports this file, so it imports nothing of this project.
"""

import time
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

_LOOK_S = 0.005


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Counts from nothing."""
        del args
        self._begun = 0
        self._cancelled = 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer for each request: how many were begun, this one included, and how many were given up."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:  # noqa: ANN401 - Triton ships no types
        self._begun += 1
        wait_ms = int(triton.get_input_tensor_by_name(request, "wait_ms").as_numpy()[0])
        deadline = time.monotonic() + wait_ms / 1000
        while time.monotonic() < deadline:
            if request.is_cancelled():
                self._cancelled += 1
                break
            time.sleep(_LOOK_S)
        counts = {"begun": self._begun, "cancelled": self._cancelled}
        return triton.InferenceResponse([triton.Tensor(name, np.array([n], np.int64)) for name, n in counts.items()])
