"""Notes reach every writer, and what writers lose comes back to a worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from serving.captured import Frames, Kind, framed
from serving.keeping.keeper import Keeper, Nowhere
from serving.keeping.noting import Notes
from serving.keeping.reception import Reception
from serving.noted import CopyNoted, Lost, Noted, Step, Traced
from tests.serving.control.waiting import until

_WITHIN_S = 60.0
NOTED = Noted(1.0, 2.0, "http", "infer", traced=Traced(1, 2))
COPIED = CopyNoted("m", "http", Step(3, 1, "shadow", "h:1", "ok", 200, 1.0, 1.0), Traced(1, 3, 2))


class FakeWriter:
    """Remembers what it got."""

    def __init__(self) -> None:
        self.taken: list[Noted | CopyNoted] = []
        self.counts: Counter[str] = Counter()
        self.written = 0
        self.closed = False

    def take(self, noted: Noted) -> None:
        """One more."""
        self.taken.append(noted)

    def take_copy(self, noted: CopyNoted) -> None:
        """One more."""
        self.taken.append(noted)

    def lost(self) -> Mapping[str, int]:
        """As many as it was told."""
        return self.counts

    async def write(self) -> None:
        """Counts."""
        self.written += 1

    async def close(self) -> None:
        """The end."""
        self.closed = True


async def test_notes_come_in_and_losses_go_back(tmp_path: Path) -> None:
    """Over the one stream, each loss once; at the end every writer is closed."""
    path, writers, stop = tmp_path / "keeper", (FakeWriter(), FakeWriter()), asyncio.Event()
    notes = Notes(writers)
    keeper = Keeper("gw boot", Reception(path, 1 << 20, notes), Nowhere(), notes=notes)
    running = asyncio.create_task(keeper.run(stop))
    await until(path.is_socket, _WITHIN_S)
    writers[0].counts["span_queue"] += 2  # before there is anybody to be told
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(framed(Kind.NOTED, NOTED.encode()) + framed(Kind.COPIED, COPIED.encode()) + framed(Kind.LOST, b"{}"))
    heard, frames = Counter[str](), Frames()
    while heard != {"span_queue": 3, "line_disk": 1}:
        async with asyncio.timeout(_WITHIN_S):
            data = await reader.read(65_536)
        assert data
        for frame in frames.feed(data):
            assert frame.kind == Kind.LOST
            heard.update(Lost.decode(frame.payload).counts)
            writers[0].counts["span_queue"] = 3
            writers[1].counts["line_disk"] = 1
    assert [one.taken for one in writers] == [[NOTED, COPIED]] * 2
    assert all(one.written for one in writers)
    writer.close()
    stop.set()
    await running
    assert all(one.closed for one in writers)


async def test_a_note_that_is_damaged_ends_its_stream_and_no_other(tmp_path: Path) -> None:
    """As every other frame."""
    path, one, stop = tmp_path / "keeper", FakeWriter(), asyncio.Event()
    notes = Notes([one])
    keeper = Keeper("gw boot", Reception(path, 1 << 20, notes), Nowhere(), notes=notes)
    running = asyncio.create_task(keeper.run(stop))
    await until(path.is_socket, _WITHIN_S)
    bad_reader, bad = await asyncio.open_unix_connection(str(path))
    _, good = await asyncio.open_unix_connection(str(path))
    bad.write(framed(Kind.NOTED, b"[1]"))
    async with asyncio.timeout(_WITHIN_S):
        assert await bad_reader.read() == b""
    good.write(framed(Kind.NOTED, NOTED.encode()))
    await until(lambda: one.taken == [NOTED], _WITHIN_S)
    for writer in (bad, good):
        writer.close()
    stop.set()
    await running


def test_without_a_writer_nothing_is_read() -> None:
    """Not even what is damaged."""
    Notes(()).take(Kind.NOTED, b"[1]")
    with pytest.raises(ValueError, match="damaged"):
        Notes([FakeWriter()]).take(Kind.NOTED, b"[1]")
