"""Gives back every tensor that it gets, under the same name, whatever its datatype.

Triton's stub imports this file, so it imports nothing of this project. BF16, for which numpy has no type, and with it
everything else that is only passed on, travels by DLPack; strings do not, and go by numpy.
"""

from typing import Any

import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer for each request."""
        return [triton.InferenceResponse([_copy(tensor) for tensor in request.inputs()]) for request in requests]


def _copy(tensor: Any) -> Any:  # noqa: ANN401 - Triton ships no types
    if tensor.name() == "bf16":
        return triton.Tensor.from_dlpack(tensor.name(), tensor.to_dlpack())
    return triton.Tensor(tensor.name(), tensor.as_numpy())
