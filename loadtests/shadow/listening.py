"""`python -m loadtests.shadow.listening SOCKET FILE`: a keeper that compares nothing, and notes what it is handed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from serving.captured import Captured, Frames, Kind, Shed

_PIECE: Final = 256 * 1024


@dataclass
class Heard:
    """What came.

    Attributes:
        pairs: requests with the answers of copies.
        copies: those answers, by outcome; with `, too long` where only the size was told.
        offered: requests in the shadow's sample.
        sent: copies that were made.
        shed: copies that were not, by reason.
    """

    pairs: int = 0
    copies: Counter[str] = field(default_factory=Counter)
    offered: int = 0
    sent: int = 0
    shed: dict[str, int] = field(default_factory=dict)

    def take(self, kind: int, payload: bytes) -> None:
        """One frame."""
        if kind == Kind.CAPTURED:
            captured = Captured.decode(payload)
            self.pairs += bool(captured.copies)
            for one in captured.copies:
                self.copies[one.outcome + (", too long" if one.size and one.body is None else "")] += 1
        elif kind == Kind.SHED:
            for shadow in Shed.decode(payload).shadows:
                self.offered, self.sent, self.shed = shadow.offered, shadow.sent, dict(shadow.shed)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pairs": self.pairs, "copies": dict(self.copies), "offered": self.offered, "sent": self.sent,
            "shed": self.shed,
        }  # fmt: skip


async def listen(socket: Path, file: Path) -> None:
    """Notes what comes, until the process is ended; the file is whole at any time."""
    heard = Heard()

    async def hear(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await reader.read(_PIECE):
            for frame in frames.feed(data):
                heard.take(frame.kind, frame.payload)
            await asyncio.to_thread(_write, file, heard.plain())

    async with await asyncio.start_unix_server(hear, socket) as server:
        await server.serve_forever()


def _write(file: Path, what: dict[str, Any]) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(what))
    beside.rename(file)


if __name__ == "__main__":
    asyncio.run(listen(Path(sys.argv[1]), Path(sys.argv[2])))
