"""Counts up to a number, an answer for each step: a decoupled model that can be slow, and can fail on the way.

Triton's stub imports this file, so it imports nothing of this project.
"""

import time
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def execute(self, requests: list[Any]) -> None:
        """Sends `times` answers for each request, the step's number in each; at step `fail_at` an error, and no more.

        A request that is given up gets no further answers.
        """
        for request in requests:
            sender = request.get_response_sender()
            pause_s = _number(request, "wait_ms", 0) / 1000
            fail_at = _number(request, "fail_at", -1)
            for step in range(_number(request, "times", 0)):
                if step == fail_at or sender.is_cancelled():
                    break
                sender.send(triton.InferenceResponse([triton.Tensor("step", np.array([step], np.int32))]))
                time.sleep(pause_s)
            if fail_at >= 0:
                sender.send(triton.InferenceResponse(error=triton.TritonError(f"failed at step {fail_at}, as asked")))
            sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _number(request: Any, name: str, otherwise: int) -> int:  # noqa: ANN401 - Triton ships no types
    tensor = triton.get_input_tensor_by_name(request, name)
    return otherwise if tensor is None else int(tensor.as_numpy().ravel()[0])
