"""A keeper that keeps what it is handed, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving.captured import Captured, Frames, Kind, Shed, Terms, framed
from serving.noted import CopyNoted, Lost, Noted


@dataclass
class HeardKeeper:
    """What came over its socket.

    Attributes:
        path: of the socket.
        captured: requests with their answers, in order.
        terms: likewise.
        sheds: likewise.
        noted: likewise.
        copied: likewise.
        lines: connections that were taken.
        reads: while it is not set, nothing is read.
    """

    path: Path
    captured: list[Captured] = field(default_factory=list)
    terms: list[Terms] = field(default_factory=list)
    sheds: list[Shed] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    copied: list[CopyNoted] = field(default_factory=list)
    lines: int = 0
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.lines += 1
        self._writers.add(writer)
        frames = Frames()
        try:
            while True:
                await self.reads.wait()
                data = await reader.read(65_536)
                if not data:
                    return
                for frame in frames.feed(data):
                    self._take(frame.kind, frame.payload)
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Drops its connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    def say(self, data: bytes) -> None:
        """To whoever is connected."""
        for writer in list(self._writers):
            writer.write(data)

    def say_lost(self, lost: Lost) -> None:
        """Likewise, what could not be written down."""
        self.say(framed(Kind.LOST, lost.encode()))

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == Kind.CAPTURED:
            self.captured.append(Captured.decode(payload))
        elif kind == Kind.TERMS:
            self.terms.append(Terms.decode(payload))
        elif kind == Kind.SHED:
            self.sheds.append(Shed.decode(payload))
        elif kind == Kind.NOTED:
            self.noted.append(Noted.decode(payload))
        elif kind == Kind.COPIED:
            self.copied.append(CopyNoted.decode(payload))


@asynccontextmanager
async def keeping(folder: Path) -> AsyncIterator[HeardKeeper]:
    """A keeper that listens in this folder."""
    keeper = HeardKeeper(folder / "keeper")
    keeper.reads.set()
    server = await asyncio.start_unix_server(keeper.hear, keeper.path)
    try:
        yield keeper
    finally:
        keeper.hang_up()
        server.close()
        await server.wait_closed()
