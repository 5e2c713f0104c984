"""A model that returns what it gets, never answers, dies, or answers with 50 MB: as the file beside it says.

Triton's stub imports it, in a process of its own, so it may import nothing of this project.
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

MUCH = 50 * 1024 * 1024
"""Bytes of an answer that is far too long."""
_FOR_EVER_S = 3_600.0


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def initialize(self, _arguments: dict[str, str]) -> None:
        """Reads what it is to do."""
        self._does = Path(__file__).with_name("does.txt").read_text().strip()
        self._much = np.zeros(MUCH // 4, np.float32)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer to each request, if any."""
        if self._does == "hangs":
            time.sleep(_FOR_EVER_S)
        if self._does == "crashes":
            os._exit(1)
        return [self._answer(triton.get_input_tensor_by_name(one, "x").as_numpy()) for one in requests]

    def _answer(self, given: Any) -> Any:  # noqa: ANN401 (of Triton's)
        value = self._much if self._does == "talks" else given
        return triton.InferenceResponse([triton.Tensor("y", value)])
