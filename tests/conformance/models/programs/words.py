"""Says a text word by word, an answer for each: a model whose answers are a stream.

Triton's stub imports this file, so it imports nothing of this project.
"""

import time
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

_PAUSE_S = 0.05


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def execute(self, requests: list[Any]) -> None:
        """Sends the answers of each request, with a pause between them."""
        for request in requests:
            sender = request.get_response_sender()
            (text,) = triton.get_input_tensor_by_name(request, "text").as_numpy()
            for word in text.split():
                sender.send(triton.InferenceResponse([triton.Tensor("word", np.array([word], np.object_))]))
                time.sleep(_PAUSE_S)
            sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
