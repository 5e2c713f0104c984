"""Where workers hand over what they captured: one socket, a stream from each worker, one queue with a bound.

Workers never wait for a keeper, so a keeper never waits for itself: what comes while too much is queued is dropped and
counted. A stream that makes no sense is closed, and its worker dials again. What a worker says of itself (by which
rules answers are compared, how many copies it did not make) is taken over at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from router.agreement import Comparison, comparison_from
from router.errors import PolicyError
from serving.captured import LONGEST, Captured, Frames, Kind, Shed, Terms, framed
from serving.keeping.findings import Told
from serving.keeping.noting import Notes
from serving.noted import Lost

_log = logging.getLogger(__name__)
USUAL: Final = Comparison()
_PER_FRAME: Final = 1_024
_MOST_WORKERS: Final = 1_024
_AT_THE_DOOR_S: Final = 0.05
"""In which the loop meets whoever has dialled already."""
_NOTHING: Final = Told()
_NOTES: Final = frozenset((Kind.NOTED, Kind.COPIED))
_Shadow = tuple[str, str, int]


class Rules:
    """By which rules each model's answers are compared: those of the newest policy that a worker told of."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, Comparison | None]] = {}

    def take(self, terms: Terms) -> None:
        """Takes over what is newer; rules that nobody can read are as good as none."""
        for model, one in terms.models.items():
            if one.epoch >= self._of.get(model, (-1, None))[0]:
                self._of[model] = one.epoch, _comparison(model, one.comparison)

    def of(self, model: str) -> Comparison | None:
        """Those of this model; None where it has none of its own."""
        return self._of.get(model, (0, None))[1]


class Sheds:
    """What all workers together said of the copies that they did and did not make.

    A worker that was there before this keeper goes on counting: what it says first is where it is counted from.
    """

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], Shed] = {}
        self._newest: dict[tuple[str, str], Shed] = {}

    def take(self, shed: Shed) -> None:
        """Takes over a worker's totals."""
        life = (shed.worker, shed.boot)
        if life not in self._begun and len(self._begun) >= _MOST_WORKERS:
            return  # workers come and go a few times in the life of a keeper, not a thousand
        self._begun.setdefault(life, shed)
        self._newest[life] = shed

    def told(self) -> dict[_Shadow, Told]:
        """By model, salt and version."""
        found: dict[_Shadow, Told] = {}
        for life, newest in self._newest.items():
            before = {(one.model, one.salt, one.version): one for one in self._begun[life].shadows}
            for one in newest.shadows:
                named = (one.model, one.salt, one.version)
                then, so_far = before.get(named), found.get(named, _NOTHING)
                shed = Counter(so_far.shed)
                shed.update({why: count - (then.shed.get(why, 0) if then else 0) for why, count in one.shed.items()})
                found[named] = Told(
                    so_far.offered + one.offered - (then.offered if then else 0),
                    so_far.sent + one.sent - (then.sent if then else 0),
                    {why: count for why, count in shed.items() if count > 0},
                )
        return found

    def dropped(self) -> Counter[str]:
        """What workers could not hand over, by the reason."""
        found: Counter[str] = Counter()
        for life, newest in self._newest.items():
            found.update(newest.dropped)
            found.subtract(self._begun[life].dropped)
        return +found


class Reception:
    """The socket and the queue behind it.

    Args:
        path: of the socket; its folder is there and nobody else may enter it.
        max_queued: bytes that may wait.
        notes: who gets what workers noted; None for nobody.
    """

    def __init__(self, path: Path, max_queued: int, notes: Notes | None = None) -> None:
        self._notes = notes
        self.rules = Rules()
        self.sheds = Sheds()
        self.dropped: Counter[str] = Counter()
        """What came and was not looked at, by the reason."""
        self._path = path
        self._most = max_queued
        self._held = 0
        self._queue: deque[bytes] = deque()
        self._there = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: asyncio.AbstractServer | None = None
        self._lines: dict[_Line, None] = {}  # in the order in which they came
        self._alone = asyncio.Event()

    async def open(self) -> None:
        """Listens; a socket that an earlier keeper left behind makes room.

        Raises:
            OSError: the file cannot be made.
        """
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Line(self), str(self._path))
        self._path.chmod(0o600)

    async def hung_up(self) -> None:
        """Every worker that was there, or at the door, has said what it had to say and is gone."""
        await asyncio.sleep(_AT_THE_DOOR_S)
        while self._lines:
            self._alone.clear()
            await self._alone.wait()

    def close(self) -> None:
        """Takes nothing more; what is queued stays."""
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.end()
        self._path.unlink(missing_ok=True)

    async def emptied(self) -> None:
        """Everything that came was asked for, and whoever asked has asked again."""
        await self._empty.wait()

    async def next(self) -> Captured | None:
        """What comes next, as soon as there is something; None where it cannot be read, which is counted."""
        while not self._queue:
            self._empty.set()
            self._there.clear()
            await self._there.wait()
        payload = self._queue.popleft()
        self._held -= len(payload) + _PER_FRAME
        try:
            return Captured.decode(payload)
        except ValueError:
            self.dropped["damaged"] += 1
            return None

    def take(self, kind: int, payload: bytes) -> None:
        """One frame; of a kind that is not known it is passed over.

        Raises:
            ValueError: it is damaged.
        """
        if kind == Kind.CAPTURED:
            self._queued(payload)
        elif kind == Kind.TERMS:
            self.rules.take(Terms.decode(payload))
        elif kind == Kind.SHED:
            self.sheds.take(Shed.decode(payload))
        elif kind in _NOTES and self._notes is not None:
            self._notes.take(kind, payload)

    def say(self, lost: Lost) -> bool:
        """Tells the youngest worker what was lost of what all of them noted; whether there is one."""
        data = framed(Kind.LOST, lost.encode())
        return any(line.say(data) for line in reversed(self._lines))

    def all_dropped(self) -> Mapping[str, int]:
        """What was captured and not looked at, here and by workers."""
        return +(self.dropped + self.sheds.dropped())

    def came(self, line: _Line) -> None:
        """One more worker."""
        self._lines[line] = None

    def went(self, line: _Line) -> None:
        """It is gone."""
        self._lines.pop(line, None)
        if not self._lines:
            self._alone.set()

    def _queued(self, payload: bytes) -> None:
        size = len(payload) + _PER_FRAME
        if self._held + size > self._most:
            self.dropped["queue"] += 1
            return
        self._held += size
        self._queue.append(payload)
        self._empty.clear()
        self._there.set()


class _Line(asyncio.Protocol):
    """One worker's stream."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._frames = Frames(LONGEST)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._reception.came(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._reception.take(frame.kind, frame.payload)
        except ValueError as error:
            _log.warning("a worker's stream makes no sense and is closed: %s", str(error)[:200])
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._reception.went(self)

    def say(self, data: bytes) -> bool:
        """Whether there is somebody to hear it."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return True

    def end(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _comparison(model: str, said: Mapping[str, object] | None) -> Comparison | None:
    if said is None:
        return None
    try:
        return comparison_from(dict(said))
    except PolicyError as error:
        _log.warning("the rules of comparison of %s cannot be read: %s", model, str(error)[:200])
        return None
