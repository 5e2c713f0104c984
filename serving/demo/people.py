"""People who ask the demo, and say a little later what was true: requests to the gateway, feedback by request id.

What they say goes to two places, as in life: to the control API, which counts it, and into a file of their own, which
is all that ties a label to a request. Nobody else keeps that.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import numpy as np

from serving.control.client import ControlClient
from serving.control.feedback_client import send
from serving.demo.train import MODEL
from serving.demo.world import Part
from serving.errors import ControlError, SluiceError

_LATER_S: Final = 2.0
"""How long after an answer somebody says what was true; days, in life."""
_BATCH_S: Final = 1.0
_REMEMBERED: Final = 50_000
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer that somebody got.

    Attributes:
        at_s: when, seconds since 1970.
        version: that answered.
        right: whether it was.
        turned: whether the digit was askew.
    """

    at_s: float
    version: int
    right: bool
    turned: bool


class People:
    """They ask one row after the other, each row of a part before any again. A context manager.

    Args:
        url: where predictions go.
        control: where feedback goes; this alone uses it.
        labels: the file of what was true, a line of feedback each.
        per_s: requests a second, as long as answers come in time.
        clock: seconds since 1970.

    Attributes:
        asked: requests that were answered.
        failed: requests that were not.
        said: labels that the control API has taken.
        trouble: what went wrong last; empty for nothing.
    """

    def __init__(
        self, url: str, control: ControlClient, labels: Path, per_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._url = f"{url}/v2/models/{MODEL}/infer"
        self._control, self._labels, self._pace_s, self._clock = control, labels, 1 / per_s, clock
        self._rng = np.random.default_rng(11)
        self._part: tuple[Part, bool] | None = None
        self._waiting: deque[tuple[float, dict[str, Any]]] = deque()
        self._answered: deque[Answered] = deque(maxlen=_REMEMBERED)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="people")
        self.asked = 0
        self.failed = 0
        self.said = 0
        self.trouble = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(2 * _PATIENCE_S)

    def ask(self, part: Part, *, turned: bool) -> None:
        """From now on they ask these rows."""
        self._part = (part, turned)

    def answered(self, since_s: float = 0.0) -> list[Answered]:
        """What they got since then, oldest first."""
        return [one for one in self._answered.copy() if one.at_s >= since_s]

    def _run(self) -> None:
        due_s = sent_s = time.monotonic()
        order: list[int] = []
        asked = None
        with httpx.Client(timeout=_PATIENCE_S, trust_env=False) as http, self._labels.open("a") as labels:
            while not self._over.wait(max(0.0, due_s - time.monotonic())):
                due_s = max(due_s + self._pace_s, time.monotonic())
                if self._part is None:
                    continue
                if asked is not self._part or not order:
                    asked = self._part
                    order = self._rng.permutation(len(asked[0].labels)).tolist()
                self._ask(http, *asked, order.pop())
                if time.monotonic() >= sent_s + _BATCH_S:
                    sent_s = time.monotonic()
                    self._say(labels)

    def _ask(self, http: httpx.Client, part: Part, turned: bool, number: int) -> None:  # noqa: FBT001 - one of a pair
        pixels, label = part.pixels[number], int(part.labels[number])
        tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, len(pixels)], "data": pixels.tolist()}
        try:
            answer = http.post(self._url, json={"inputs": [tensor]}).raise_for_status()
            outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
            predicted, version = int(outputs["digit"][0]), int(answer.headers["sluice-version"])
            request_id = answer.headers["sluice-request-id"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self.failed += 1
            self.trouble = f"a request failed: {str(error) or type(error).__name__}"
            return
        now_s = self._clock()
        self.asked += 1
        self._answered.append(Answered(now_s, version, predicted == label, turned))
        self._waiting.append((now_s + _LATER_S, {"request_id": request_id, "label": label, "predicted": predicted}))

    def _say(self, labels: Any) -> None:  # noqa: ANN401 - a text file
        due = []
        while self._waiting and self._waiting[0][0] <= self._clock():
            due.append(self._waiting.popleft()[1])
        labels.writelines(json.dumps(one) + "\n" for one in due)
        labels.flush()
        try:
            for _ in send(self._control, due):
                pass
            self.said += len(due)
        except ControlError as error:
            self.trouble = f"feedback was not taken: {error}"


def status_of(url: str) -> dict[str, Any]:
    """What the trainer at this address says.

    Raises:
        SluiceError: it does not answer.
    """
    try:
        found: dict[str, Any] = (
            httpx.get(f"{url}/status", timeout=_PATIENCE_S, trust_env=False).raise_for_status().json()
        )
    except (httpx.HTTPError, ValueError) as error:
        raise SluiceError(f"the trainer does not answer: {error}") from error
    return found
