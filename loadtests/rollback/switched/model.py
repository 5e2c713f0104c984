"""A model that is well until it is told otherwise: it then fails, is slow, hangs, or takes its server along.

Triton's stub imports it, in a process of its own, so it may import nothing of this project. Its artifact names a
folder (`switch.txt`), through which whoever runs the proof and every server of the version talk: `behaviour.json` there
says what to do, and is read anew for each request; `PID.json` says it to the server with that stub alone. Each
server says that it is there (`up/PID`) and notes a line for each request, when it came and what becomes of it
(`noted/PID`), so that what a version did is known from the version itself.

Requests of nothing but zeros are those that a server is warmed up with: they are answered well, and not noted. Each
answer takes 20 ms in the median, with the noise of a lognormal distribution, which costs no CPU.
"""

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

from .behaviour import GOOD, Behaviour, behaviour_in

MEDIAN_S = 0.02
SIGMA = 0.5
_LOOK_S = 0.2


class TritonPythonModel:
    """The class that Triton's stub looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads where its switch is, and says that it is there."""
        artifact = Path(args["model_repository"]) / args["model_version"]
        self._folder = Path((artifact / "switch.txt").read_text())
        self._served_as = int(args["model_version"])
        self._ends = threading.Event()
        self._behaviour = Behaviour()
        self._requests = 0
        for name in ("up", "noted"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._up = self._folder / "up" / str(os.getpid())
        self._notes = (self._folder / "noted" / str(os.getpid())).open("a", buffering=1)
        self._up.touch()

    def execute(self, requests: list[Any]) -> None:
        """Begins an answer to each request."""
        for request in requests:
            row = triton.get_input_tensor_by_name(request, "x").as_numpy()
            arguments = request.get_response_sender(), *(self._next() if row.any() else (GOOD, 1.0))
            threading.Thread(target=self._answer, args=arguments, daemon=True).start()

    def finalize(self) -> None:
        """Ends what hangs."""
        self._ends.set()
        self._up.unlink(missing_ok=True)

    def _next(self) -> tuple[str, float]:
        """What becomes of the next request, noted before it comes to pass, and by what its time is multiplied."""
        before, self._behaviour = self._behaviour, behaviour_in(self._folder, os.getpid())
        self._requests = 1 if before != self._behaviour else self._requests + 1
        fate = self._behaviour.fate(self._requests, random.random())  # noqa: S311 - decides who gets an error
        self._notes.write(f"{time.time():.6f} {fate}\n")
        return fate, self._behaviour.slower

    def _answer(self, sender: Any, fate: str, slower: float) -> None:  # noqa: ANN401 - Triton ships no types
        if fate == "crashed":
            os.kill(os.getppid(), signal.SIGKILL)
        while fate == "hung" and behaviour_in(self._folder, os.getpid()).hangs and not self._ends.wait(_LOOK_S):
            pass
        time.sleep(MEDIAN_S * random.lognormvariate(0, SIGMA) * slower)
        error = triton.TritonError("This version fails as it was told to.") if fate == "failed" else None
        answer = triton.Tensor("served_as", np.full((1, 1), self._served_as, np.int64))
        response = triton.InferenceResponse(error=error) if error else triton.InferenceResponse([answer])
        sender.send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
