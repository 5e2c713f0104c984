"""Adds up the values of each sequence: a model with a memory, which its sequence batcher keeps in order.

Triton's stub imports this file, so it imports nothing of this project.
"""

from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Remembers no sequence."""
        del args
        self._sums: dict[int, int] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """The sum of each request's sequence so far; a sequence's end forgets it."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:  # noqa: ANN401 - Triton ships no types
        sequence = _control(request, "sequence")
        before = 0 if _control(request, "start") else self._sums.get(sequence, 0)
        self._sums[sequence] = total = before + _control(request, "value")
        if _control(request, "end"):
            del self._sums[sequence]
        return triton.InferenceResponse([triton.Tensor("sum", np.array([[total]], np.int32))])


def _control(request: Any, name: str) -> int:  # noqa: ANN401 - Triton ships no types
    return int(triton.get_input_tensor_by_name(request, name).as_numpy().ravel()[0])
