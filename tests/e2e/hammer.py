"""A client that does not stop: requests from several threads, each answer noted with its time and version."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: its unit, when it was sent (seconds of the monotonic clock), and what came of it."""

    unit: str
    sent_s: float
    status: int
    version: int
    epoch: int
    error: str = ""


class Hammer:
    """Sends one row again and again, each time for another unit, until the block ends.

    Args:
        place: host:port of the gateway.
        model: whom to ask.
        body: the JSON request.
        threads: how many clients at once, each with a connection of its own.
    """

    def __init__(self, place: str, model: str, body: bytes, threads: int = 4) -> None:
        self.answers: list[Answered] = []
        self._place = place
        self._path = f"/v2/models/{model}/infer"
        self._body = body
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._beat, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def failures(self) -> list[Answered]:
        """Whatever was not a 200."""
        return [answer for answer in self.answers if answer.status != 200]

    def since(self, moment_s: float) -> list[Answered]:
        """What was sent after this moment."""
        return [answer for answer in self.answers if answer.sent_s >= moment_s]

    def _beat(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._place, timeout=10)
        count = 0
        while not self._over.is_set():
            count += 1
            self.answers.append(self._ask(connection, f"unit-{number}-{count}"))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, unit: str) -> Answered:
        sent_s = time.monotonic()
        try:
            connection.request("POST", self._path, self._body, {"sluice-unit": unit})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            epoch = int(answer.headers.get("sluice-epoch", "0"))
            return Answered(
                unit, sent_s, answer.status, int(said.get("model_version", 0)), epoch, said.get("error", "")
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()  # what the gateway broke off is a failure, and the next request a new connection
            return Answered(unit, sent_s, 0, 0, 0, repr(error))
