"""A decoupled model that says one token after another, as a language model does, and fails where it is told to.

Triton's stub imports it, in a process of its own, so it may import nothing of this project. What it does is in the
parameters of each request, all of them whole numbers: `tokens` (how many; 8), `pause_ms` (before each but the first;
0), `size` (bytes of each token; as short as it comes), `error_at` and `hang_at` (in the place of token n, counted from
1: an error, which ends the stream, or nothing for ever). Each token is its own number, and names the version that said
it. Requests are answered side by side, each in a thread of its own.
"""

import json
import threading
import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]


@dataclass(frozen=True)
class Wish:
    """What a request asks for."""

    tokens: int = 8
    pause_ms: int = 0
    size: int = 0
    error_at: int = 0
    hang_at: int = 0


def wish_of(parameters: str) -> Wish:
    """What the parameters say, as Triton has them: JSON, numbers or text."""
    said = json.loads(parameters or "{}")
    return Wish(**{one.name: int(said[one.name]) for one in fields(Wish) if one.name in said})


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Learns which version this is."""
        self._version = args["model_version"]
        self._ends = threading.Event()

    def execute(self, requests: list[Any]) -> None:
        """Begins an answer to each request."""
        for request in requests:
            arguments = request.get_response_sender(), wish_of(request.parameters())
            threading.Thread(target=self._say, args=arguments, daemon=True).start()

    def finalize(self) -> None:
        """Ends what hangs."""
        self._ends.set()

    def _say(self, sender: Any, wish: Wish) -> None:  # noqa: ANN401 - Triton ships no types
        for number in range(1, wish.tokens + 1):
            if number > 1 and wish.pause_ms:
                time.sleep(wish.pause_ms / 1000)
            if number == wish.hang_at:
                self._ends.wait()
            if sender.is_cancelled() or self._ends.is_set():
                break
            if number == wish.error_at:
                sender.send(triton.InferenceResponse(error=triton.TritonError(f"There is no token {number}.")))
                break
            sender.send(triton.InferenceResponse([self._token(number, wish.size)]))
        sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _token(self, number: int, size: int) -> Any:  # noqa: ANN401 - Triton ships no types
        word = f"{self._version}:{number}".ljust(size, ".")
        return triton.Tensor("text_output", np.array([word.encode()], np.object_))
