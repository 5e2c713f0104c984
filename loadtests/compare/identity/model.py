"""The least that a model of Triton's Python backend can do: the answer is the question.

Triton's stub imports it, in a process of its own, so it may import nothing of this project. Input and output have the
same name so that the tensor goes back as the object that came, uncopied: a benchmark of what stands in front of a
model wants as little as can be of the model itself.
"""

from typing import Any

import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in their order."""
        return [triton.InferenceResponse(request.inputs()) for request in requests]
