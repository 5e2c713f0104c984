"""The least that a decoupled model of Triton's Python backend can do: `x` comes back `n` times, then the end.

Triton's stub imports it, in a process of its own, so it may import nothing of this project. It sends without waiting
for anything: a benchmark of what stands in front of a model wants as little as can be of the model itself.
"""

from typing import Any

import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def execute(self, requests: list[Any]) -> None:
        """All answers to each request, in the requests' order."""
        for request in requests:
            sender = request.get_response_sender()
            answer = triton.InferenceResponse([triton.get_input_tensor_by_name(request, "x")])
            for _ in range(int(triton.get_input_tensor_by_name(request, "n").as_numpy()[0])):
                sender.send(answer)
            sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
