"""The access log and the log of errors say of a request what operators need, in lines, within their size."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.keeping.lines import ACCESS, ERRORS, LineWriter, _append
from serving.noted import CopyNoted, Noted, Step, Traced

STEPS = (
    Step(0, 2, "first", "10.0.0.1:9000", "broken", 0, 1.0, 0.5),
    Step(0, 1, "fallback", "10.0.0.2:9000", "ok", 200, 1.5, 0.25),
)
NOTED = Noted(
    1.0, 0.75, "http", "infer", "digits", 1, 2, "fallback", "header", "id", 7, 200, bytes_in=5, bytes_out=9,
    steps=STEPS, access=True,
)  # fmt: skip
FAILED = replace(NOTED, status=502, refused="broken-upstream", error="It broke\noff.", failed=True, suppressed=3)


def objects(file: Path) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def names_in(folder: Path) -> list[str]:
    """Of its files."""
    return sorted(path.name for path in folder.iterdir())


async def test_a_request_is_one_line(tmp_path: Path) -> None:
    """With everything that the log promises, and the trace where there is one; files are the owner's alone."""
    folder = tmp_path / "made" / "logs"
    writer = LineWriter(folder, "json", 1 << 20)
    writer.take(NOTED)
    writer.take(replace(NOTED, access=False))
    writer.take(replace(NOTED, traced=Traced(10, 2), synthetic=True))
    writer.take_copy(CopyNoted("digits", "http", STEPS[0], Traced(1, 2)))
    await writer.write()
    first, second = objects(folder / ACCESS)
    assert first == {
        "at": "1970-01-01T00:00:01.000+00:00", "event": "request", "request_id": "id", "protocol": "http",
        "operation": "infer", "model": "digits", "version": 1, "reason": "fallback", "unit": "header", "status": 200,
        "attempts": 2, "ms": 750.0, "bytes_in": 5, "bytes_out": 9,
    }  # fmt: skip
    assert (second["trace"], second["synthetic"]) == (f"{10:032x}", True)
    assert not (folder / ERRORS).exists()
    assert ((folder / ACCESS).stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert writer.lost() == {}


async def test_a_failure_says_why_and_what_was_tried(tmp_path: Path) -> None:
    """And how many before it were too many; where the model gave the error, that is said."""
    writer = LineWriter(tmp_path, "json", 1 << 20)
    writer.take(FAILED)
    writer.take(replace(FAILED, refused="", error="", suppressed=0, steps=(STEPS[0]._replace(place=""),)))
    await writer.close()
    by_us, by_model = objects(tmp_path / ERRORS)
    assert (by_us["event"], by_us["error"], by_us["refused"]) == ("request failed", "It broke\noff.", "broken-upstream")
    assert (by_us["tried"], by_us["suppressed"]) == ("2@10.0.0.1:9000 broken, 1@10.0.0.2:9000 ok", 3)
    assert (by_model["error"], by_model["tried"]) == ("the model answered with an error", "2@nowhere broken")
    assert "suppressed" not in by_model
    assert len(objects(tmp_path / ACCESS)) == 2


async def test_lines_for_people(tmp_path: Path) -> None:
    """One line each, whatever is in it."""
    writer = LineWriter(tmp_path, "console", 1 << 20)
    writer.take(replace(FAILED, access=False))
    await writer.write()
    (line,) = (tmp_path / ERRORS).read_text().splitlines()
    assert line.startswith("1970-01-01T00:00:01.000+00:00 request failed request_id=id protocol=http")
    assert 'error="It broke\\noff."' in line


async def test_a_full_file_makes_room(tmp_path: Path) -> None:
    """The one before it stays, and no more than that."""
    writer = LineWriter(tmp_path, "json", 400)
    for number in range(5):
        writer.take(replace(NOTED, request_id=f"r{number}"))
        await writer.write()
    kept = names_in(tmp_path)
    assert kept == ["access.log", "access.log.1"]
    ids = [one["request_id"] for name in reversed(kept) for one in objects(tmp_path / name)]
    assert ids == ["r2", "r3", "r4"]


async def test_a_full_file_that_another_keeper_has_moved_away_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found it full: what the second would move is the new file, and the full one would be gone."""
    write, mine, theirs = os.write, b"mine" * 100, b"theirs" * 100

    def writes(opened: int, data: bytes) -> int:
        written = write(opened, data)
        if data == mine:
            _append(tmp_path / ACCESS, theirs, 400)
            _append(tmp_path / ACCESS, b"new", 400)
        return written

    monkeypatch.setattr(os, "write", writes)
    _append(tmp_path / ACCESS, mine, 400)
    assert (tmp_path / "access.log.1").read_bytes() == mine + theirs
    assert (tmp_path / ACCESS).read_bytes() == b"new"


async def test_a_full_file_is_moved_away_by_one_keeper_alone(tmp_path: Path) -> None:
    """While one is at it nobody else is; the next write makes room."""
    writer = LineWriter(tmp_path, "json", 1)
    (tmp_path / ACCESS).touch()
    with (tmp_path / ACCESS).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer.take(NOTED)
        await writer.write()
        assert names_in(tmp_path) == ["access.log"]
    writer.take(NOTED)
    await writer.write()
    assert names_in(tmp_path) == ["access.log.1"]
    assert len(objects(tmp_path / "access.log.1")) == 2
    assert writer.lost() == {}


async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """As a log rotation does it, which tells nobody."""
    writer = LineWriter(tmp_path, "json", 1 << 20)
    writer.take(NOTED)
    await writer.write()
    (tmp_path / ACCESS).rename(tmp_path / "moved")
    writer.take(NOTED)
    await writer.write()
    assert len(objects(tmp_path / ACCESS)) == len(objects(tmp_path / "moved")) == 1


def _nobody(folder: Path) -> None:
    (folder / ACCESS).mkdir()


def _elsewhere(folder: Path) -> None:
    (folder / ACCESS).symlink_to(folder / "elsewhere")


@pytest.mark.parametrize("spoils", [_nobody, _elsewhere], ids=["a folder", "a link"])
async def test_what_cannot_be_written_is_counted_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoils: Callable[[Path], None]
) -> None:
    """A disk that is in the way, or a link that somebody put there, which is not followed."""
    spoils(tmp_path)
    writer = LineWriter(tmp_path, "json", 1 << 20)
    for _ in range(2):
        writer.take(NOTED)
        await writer.write()
    assert writer.lost() == {"line_disk": 2}
    assert len(caplog.records) == 1
    assert "cannot be written" in caplog.text
    assert not (tmp_path / "elsewhere").exists()


async def test_lines_that_wait_have_a_bound(tmp_path: Path) -> None:
    """What is over it is counted, and there is room again once they are written."""
    writer = LineWriter(tmp_path, "json", 1 << 20, most_held=1_000)
    for _ in range(10):
        writer.take(NOTED)
    lost = writer.lost()["line_queue"]
    assert 0 < lost < 10
    await writer.write()
    writer.take(NOTED)
    await writer.close()
    assert len(objects(tmp_path / ACCESS)) == 11 - lost
