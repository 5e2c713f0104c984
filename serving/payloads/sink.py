"""The end of the keeper that writes: takes what is to be kept and returns at once.

What was taken waits in a queue of bounded size for a thread that decodes and writes it; what no longer fits is counted,
not waited for. The comparison of shadows beside it never waits for a disk.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from router.agreement import Comparison
from serving.captured import Captured
from serving.keeping.sinks import Disagreement
from serving.payloads.counts import Counts, write_counts
from serving.payloads.log import PayloadLog
from serving.payloads.rows import rows_of
from serving.payloads.rules import Kept, PayloadRules, kept_because

_log = structlog.get_logger(__name__)
QUEUE_BYTES: Final = 32 * 1024 * 1024
_PER_REQUEST: Final = 1_024
_TICK_S: Final = 0.5
_TELL_S: Final = 5.0
_Waiting = tuple[Captured, Kept, tuple[str, ...]]


class PayloadSink:
    """A payload log with a queue and a thread of its own.

    Args:
        rules: what is kept, where, and how much of it.
        queue_bytes: of requests and answers that may wait.
        now: seconds since 1970.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(
        self, rules: PayloadRules, *, queue_bytes: int = QUEUE_BYTES, now: Callable[[], float] = time.time
    ) -> None:
        self._rules = rules
        self._most = queue_bytes
        self._now = now
        self._log = PayloadLog(rules, now())
        self._waiting: deque[_Waiting] = deque()
        self._held = 0
        self._dropped: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closing = False
        self._told = Counts()
        self._told_s = now()
        self._thread = threading.Thread(target=self._run, name="payload log", daemon=True)
        self._thread.start()

    def take(self, captured: Captured, comparison: Comparison | None, found: Disagreement | None) -> None:
        """Keeps it where the rules say so; returns at once.

        Args:
            captured: a request with its answers.
            comparison: of its model; what it redacts is redacted here, too.
            found: what the comparison of its answers found; None for no disagreement.
        """
        why = kept_because(captured, self._rules.share_ppm, disagrees=found is not None)
        if why is None:
            return
        size = _size(captured)
        with self._changed:
            if self._held + size > self._most or self._closing:
                self._dropped["queue"] += 1
                return
            self._held += size
            self._waiting.append((captured, why, comparison.redact if comparison else ()))
            self._changed.notify()

    @property
    def counts(self) -> Counts:
        """What became of everything so far."""
        with self._changed:
            return self._log.counts.plus_dropped(self._dropped)

    def dropped(self) -> Mapping[str, int]:
        """Requests and rows that are in no file, by why."""
        return self.counts.dropped

    async def close(self) -> None:
        """Writes what waits and finishes the files."""
        await asyncio.to_thread(self.finish)

    def finish(self, timeout_s: float = 10.0) -> bool:
        """Writes what waits and finishes the files.

        Args:
            timeout_s: how long that may take.

        Returns:
            whether it was done by then.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        ticked_s = time.monotonic()
        while (one := self._next()) is not None or not self._closing:
            if one is not None:
                self._write(*one)
            if time.monotonic() - ticked_s >= _TICK_S:
                ticked_s = time.monotonic()
                self._log.tick(self._now())
                self._tell()
        self._log.close(self._now())
        self._tell(last=True)

    def _next(self) -> _Waiting | None:
        with self._changed:
            if not self._waiting and not self._closing:
                self._changed.wait(_TICK_S)
            if not self._waiting:
                return None
            one = self._waiting.popleft()
            self._held -= _size(one[0])
            return one

    def _write(self, captured: Captured, why: Kept, redact: tuple[str, ...]) -> None:
        try:
            self._log.add(rows_of(captured, why, self._rules.redact, redact), self._now())
        except Exception as error:  # noqa: BLE001 - one request must not end the log
            self._dropped["broken"] += 1
            if self._dropped["broken"] == 1:  # without the error's own words, which may quote values
                _log.warning("a request cannot be kept", model=captured.model, error=type(error).__name__)

    def _tell(self, *, last: bool = False) -> None:
        """Writes the counts beside the files, where `sluice payloads list` finds them."""
        counts, now_s = self.counts, self._now()
        if counts == self._told or (now_s - self._told_s < _TELL_S and not last):
            return
        self._told, self._told_s = counts, now_s
        write_counts(self._rules.folder, self._log.boot, counts, now_s)


def sink_of(rules: str) -> PayloadSink | None:
    """The sink that these rules ask for.

    Args:
        rules: as JSON (`PayloadRules.to_json`); empty for none.

    Returns:
        None where none is asked for, or where its folder cannot be used: the rest of a keeper goes on without it.
    """
    if not rules:
        return None
    wanted = PayloadRules.from_json(rules)
    try:
        return PayloadSink(wanted)
    except OSError as error:
        _log.error("no payload log is kept", folder=str(wanted.folder), error=error.strerror)
        return None


def _size(captured: Captured) -> int:
    bodies = (captured.request, *(answer.body for answer in (captured.first, *captured.copies)))
    return _PER_REQUEST + sum(len(body) for body in bodies if body)
