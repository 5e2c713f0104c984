"""The access log and the log of errors: one line for each request that stands in it.

`access.log` has a share of all requests, `errors.log` those that failed by no fault of their client's, as far as
workers tell of them. Neither has a unit, a header or a tensor. Lines are gathered and written a few times a second, in
a thread; each write opens the file anew, so that any log rotation may move it away, and one that has reached its size
becomes `….log.1` in the place of the one before. What cannot be written is counted, and said once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from serving.logs import line_of
from serving.noted import CopyNoted, Noted

_log = logging.getLogger(__name__)
ACCESS: Final = "access.log"
ERRORS: Final = "errors.log"
_MOST_HELD: Final = 8 * 1024 * 1024
_MILLISECONDS: Final = 1_000


class LineWriter:
    """Writes both files of one keeper.

    Args:
        folder: that they are in; made where it is not there.
        form: of a line, one of `serving.logs.FORMS`.
        max_bytes: of a file.
        most_held: bytes of lines that may wait to be written.
    """

    def __init__(self, folder: Path, form: str, max_bytes: int, *, most_held: int = _MOST_HELD) -> None:
        self._folder = folder
        self._form = form
        self._max_bytes = max_bytes
        self._most_held = most_held
        self._held: dict[str, list[bytes]] = {ACCESS: [], ERRORS: []}
        self._size = 0
        self._lost: Counter[str] = Counter()
        self._failing = False
        self._one_at_a_time = asyncio.Lock()

    def take(self, noted: Noted) -> None:
        """One more request: into the files that it is to stand in."""
        if noted.access:
            self._add(ACCESS, line_of(self._form, noted.at_s, "request", access_fields(noted)))
        if noted.failed:
            self._add(ERRORS, line_of(self._form, noted.at_s, "request failed", error_fields(noted)))

    def take_copy(self, noted: CopyNoted) -> None:
        """Copies have no line of their own."""

    def lost(self) -> Mapping[str, int]:
        """Lines that are in no file, by "line_why"."""
        return self._lost

    async def write(self) -> None:
        """Writes all lines that came."""
        async with self._one_at_a_time:
            held, self._held, self._size = self._held, {ACCESS: [], ERRORS: []}, 0
            if any(held.values()):
                await asyncio.to_thread(self._append_all, held)  # goes on where whoever waits for it does not

    async def close(self) -> None:
        """The same."""
        await self.write()

    def _add(self, name: str, line: str) -> None:
        data = f"{line}\n".encode()
        if self._size + len(data) > self._most_held:
            self._lost["line_queue"] += 1
            return
        self._held[name].append(data)
        self._size += len(data)

    def _append_all(self, held: Mapping[str, list[bytes]]) -> None:
        for name, lines in held.items():
            if lines:
                self._append(name, lines)

    def _append(self, name: str, lines: list[bytes]) -> None:
        path = self._folder / name
        try:
            _append(path, b"".join(lines), self._max_bytes)
        except OSError as error:
            self._lost["line_disk"] += len(lines)
            if not self._failing:
                _log.error("%s cannot be written (%s): its lines are lost until it can.", path, error.strerror)
            self._failing = True
        else:
            self._failing = False


def access_fields(noted: Noted) -> dict[str, Any]:
    """What the access log says of a request."""
    return {
        **_common(noted),
        "ms": round(noted.took_s * _MILLISECONDS, 3), "bytes_in": noted.bytes_in, "bytes_out": noted.bytes_out,
    }  # fmt: skip


def error_fields(noted: Noted) -> dict[str, Any]:
    """What the log of errors says of a request; `suppressed` are those before it that nothing was said of."""
    why = noted.error or "the model answered with an error"
    tried = [f"{step.version}@{step.place or 'nowhere'} {step.outcome}" for step in noted.steps]
    return {
        **_common(noted), "error": why, **({"tried": ", ".join(tried)} if tried else {}),
        **({"suppressed": noted.suppressed} if noted.suppressed else {}),
    }  # fmt: skip


def _common(noted: Noted) -> dict[str, Any]:
    said: dict[str, Any] = {
        "request_id": noted.request_id, "protocol": noted.protocol, "operation": noted.operation,
        "model": noted.model, "version": noted.version or noted.assigned, "reason": noted.reason, "unit": noted.unit,
        "status": noted.status, "attempts": len(noted.steps),
    }  # fmt: skip
    if noted.refused:
        said["refused"] = noted.refused
    if noted.synthetic:
        said["synthetic"] = True
    if noted.traced is not None:
        said["trace"] = f"{noted.traced.trace:032x}"
    return said


def _append(path: Path, data: bytes, max_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while data:
            data = data[os.write(opened, data) :]
        if os.fstat(opened).st_size >= max_bytes:
            _make_room(path, opened)
    finally:
        os.close(opened)


def _make_room(path: Path, opened: int) -> None:
    """Moves a full file away, unless another keeper has: what stands there now would take the full one's place."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed
        if os.path.samestat(path.stat(), os.fstat(opened)):
            path.replace(path.with_suffix(".log.1"))
