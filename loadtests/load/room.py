"""What the users of one worker share: the timetables, the requests that are ready to go, and where answers are noted.

Runs in the generator's processes; imported by nobody else.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import gevent
from gevent.event import AsyncResult

from loadtests.load.asking import Heard
from loadtests.load.payloads import Payload, drawn, from_file, prepared
from loadtests.load.records import Error, Kind, Row, Writer, numbered
from loadtests.load.spec import Spec

_MOST_TOLD = 20
_NOT_SENT = "not sent"
_MOST_WAITING = 10_000
"""Answers that wait for feedback; of those beyond, only how many there were is known."""


class Room:
    """One worker's.

    Args:
        spec: of the run.
        worker: which worker it is, from 0.

    Attributes:
        begun: the moment of the begin, by `time.monotonic`, once there is one.
        unfed: ids of answers that get feedback.
        fed: what became of feedback.
        moves: what operators did: (seconds from the begin, words).
        busy_s: for how long of the run this process was never idle, seconds.
    """

    def __init__(self, spec: Spec, worker: int) -> None:
        self.spec = spec
        self.begun: AsyncResult[float] = AsyncResult()
        self.unfed: deque[str] = deque()
        self.fed: Counter[str] = Counter()
        self.moves: list[tuple[float, str]] = []
        self.busy_s = 0.0
        self._worker = worker
        self._payloads = _payloads(spec)
        self._due = {kind: _timetable(spec, kind, worker) for kind in spec.users}
        self._told: Counter[str] = Counter()
        self._writer = Writer(records_of(spec.folder, worker))

    def now_s(self) -> float:
        """Seconds from the begin; negative before it."""
        return time.monotonic() - float(self.begun.get())

    def wait_for_begin(self) -> None:
        """Returns at the begin of the run."""
        gevent.sleep(max(0.0, -self.now_s()))

    def next(self, kind: Kind) -> tuple[int, float | None] | None:
        """The next request: its number, and when it is due, None for at once; None where there are no more."""
        if self.spec.closed and self.now_s() >= self.spec.shape.seconds:
            return None
        return next(self._due[kind], None)

    @property
    def late(self) -> bool:
        """Whether what has not been sent by now never will be."""
        return self.now_s() > self.spec.shape.seconds + self.spec.timeout_s

    def payload(self, kind: Kind, number: int) -> Payload:
        """What request number n holds."""
        made = self._payloads[kind]
        return made[number // len(Kind) % len(made)]

    def note(self, row: Row, heard: Heard) -> None:
        """Takes down what came of a request."""
        self._writer.note(row)
        if heard.error is not Error.NONE and (len(self._told) < _MOST_TOLD or heard.words in self._told):
            self._told[heard.words] += 1
        if heard.request_id and self.spec.feedback and row.number % 1_000 < self.spec.feedback * 1_000:
            if len(self.unfed) < _MOST_WAITING:
                self.unfed.append(heard.request_id)
            else:
                self.fed[_NOT_SENT] += 1

    def flush(self) -> None:
        """Writes what was noted."""
        self._writer.flush()
        said = {"told": self._told, "fed": self.fed, "moves": self.moves, "busy_s": self.busy_s}
        place = notes_of(self.spec.folder, self._worker)
        place.with_suffix(".new").write_text(json.dumps(said))
        place.with_suffix(".new").replace(place)

    def close(self) -> None:
        """Writes what was noted, how much feedback is left over among it, and ends."""
        if self.unfed:
            self.fed[_NOT_SENT] += len(self.unfed)
            self.unfed.clear()
        self.flush()
        self._writer.close()


def records_of(folder: Path, worker: int) -> Path:
    """Where a worker's rows are."""
    return folder / f"worker-{worker}.rows"


def notes_of(folder: Path, worker: int) -> Path:
    """Where a worker says what has no place in a row."""
    return folder / f"worker-{worker}.json"


def _payloads(spec: Spec) -> dict[Kind, list[Payload]]:
    samples = from_file(Path(spec.data)) if spec.data else drawn(spec.inputs, spec.seed, rows=spec.rows)
    return {kind: [prepared(one, kind, spec.model, spec.version) for one in samples] for kind in spec.users}


def _timetable(spec: Spec, kind: Kind, worker: int) -> Iterator[tuple[int, float | None]]:
    if spec.closed:
        return ((numbered(kind, nth), None) for nth in _every(worker, spec.workers))
    return ((numbered(kind, nth), due) for nth, due in spec.timetable(kind, worker))


def _every(first: int, step: int) -> Iterator[int]:
    while True:
        yield first
        first += step
