"""The security log: one JSON line per attempt that was refused, so that guessing and probing can be seen.

Who was let in, and what they changed, stands in the ledger; here is who was not. Whoever knocks decides how often this
is written, so each process writes so many lines a second of each kind and counts the rest: the next line of that kind
says how many it stands for. The file is opened anew for each line, appended to and closed: it can be moved away by any
log rotation, several processes write to it without a lock (one `write` with O_APPEND is one line, whole), and at ten
lines a second this costs nothing that could be measured.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

MOST_KINDS: Final = 32
"""Kinds that are counted apart; more than are there, so that a caller's mistake cannot make this grow."""

_LONGEST: Final = 200
_SECRET: Final = re.compile(r"(sluice_[0-9a-f]{12})_[A-Za-z0-9_-]+|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9._-]+")
_OTHER: Final = "other"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bucket:
    """Lines of one kind that may still be written; `at_s` is when it was last filled, seconds of the log's clock."""

    left: float
    at_s: float
    suppressed: int = 0

    def takes(self, now_s: float, per_s: float) -> bool:
        """Whether a line may be written now; else it is counted."""
        size = max(1.0, per_s)
        self.left = min(size, self.left + max(0.0, now_s - self.at_s) * per_s)
        self.at_s = now_s
        if self.left < 1.0:
            self.suppressed += 1
            return False
        self.left -= 1.0
        return True


class SecurityLog:
    """Writes down who was refused, at most so often. One per process and door; not for several threads.

    Args:
        path: the file, made with mode 0600 where it is not there; empty writes warnings to `logging` instead.
        per_s: lines a second and kind; as many may come at once.
        clock: seconds since 1970.
    """

    def __init__(self, path: str, *, per_s: float = 10.0, clock: Callable[[], float] = time.time) -> None:
        if not per_s > 0:
            raise ValueError(f"a security log writes more than {per_s} lines a second")
        self._path = path
        self._per_s = per_s
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._failed = False

    def refused(  # noqa: PLR0917  each is a member of the line
        self, door: str, address: str, kind: str, operation: str, key_id: str = "", now_s: float | None = None
    ) -> None:
        """Writes one attempt down, or counts it. Raises nothing: a full disk refuses nobody more and lets nobody in.

        Args:
            door: which listener: `prediction`, `control` or `metrics`.
            address: of the peer, as its socket has it.
            kind: why, in a word: `missing`, `wrong`, `revoked`, `role`, `origin`...
            operation: what was wanted, such as `GET /api/v1/keys`. Never a header's value.
            key_id: of the key that was shown, where one of that id exists; never its secret.
            now_s: seconds since 1970; None asks the clock.
        """
        now_s = self._clock() if now_s is None else now_s
        bucket = self._bucket(kind, now_s)
        if not bucket.takes(now_s, self._per_s):
            return
        line = {
            "at": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds"),
            "door": _fit(door),
            "address": _fit(address),
            "kind": _fit(kind),
            "operation": _fit(operation),
            "key": _fit(key_id),
            "suppressed": bucket.suppressed,
        }
        bucket.suppressed = 0
        self._write(json.dumps(line))  # ASCII: whatever was sent, a line stays one line

    def _bucket(self, kind: str, now_s: float) -> _Bucket:
        counted = kind if kind in self._buckets or len(self._buckets) < MOST_KINDS else _OTHER
        return self._buckets.setdefault(counted, _Bucket(max(1.0, self._per_s), now_s))

    def _write(self, line: str) -> None:
        if not self._path:
            _log.warning("refused: %s", line)
            return
        try:
            _append(self._path, line)
        except OSError as error:
            if not self._failed:  # once, not at each attempt: this log is not to be flooded either
                _log.error("The security log %s cannot be written: %s. Lines go here meanwhile.", self._path, error)
            self._failed = True
            _log.warning("refused: %s", line)
        else:
            self._failed = False


def _fit(said: str) -> str:
    """No longer than a line should be, and without keys and tokens, wherever somebody has put them."""
    return _SECRET.sub(lambda found: f"{found[1] or 'token'}_…", said[: 4 * _LONGEST])[:_LONGEST]


def _append(path: str, line: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(opened, f"{line}\n".encode())
    finally:
        os.close(opened)
