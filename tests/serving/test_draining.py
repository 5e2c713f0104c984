"""Draining from outside: who is asked, what is waited for, and what `sluice drain --local` says of it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.draining import Drain, DrainDoor, drain_local
from serving.errors import SluiceError


@asynccontextmanager
async def door_at(folder: Path, drain: Drain) -> AsyncIterator[DrainDoor]:
    """A door of this process."""
    door = await DrainDoor.open(folder, drain)
    assert door is not None
    try:
        yield door
    finally:
        door.close()


@contextmanager
def replica_at(folder: Path, drain: Drain) -> Iterator[None]:
    """A replica with a loop of its own, as one is beside a command."""
    there, over = Event(), Event()

    async def run() -> None:
        async with door_at(folder, drain):
            there.set()
            await asyncio.to_thread(over.wait)

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert there.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_the_answer_comes_when_all_is_drained(tmp_path: Path) -> None:
    """Whoever asks is kept waiting until the replica says that it is done, and is told how many there were."""
    done: list[str] = []

    async def drain() -> None:
        await asyncio.sleep(0.05)
        done.append("drained")

    with replica_at(tmp_path, drain):
        assert drain_local(tmp_path, 20.0) == 1
        assert done == ["drained"]
        assert drain_local(tmp_path, 20.0) == 1  # a hook that is called twice
    assert drain_local(tmp_path, 20.0) == 0


def test_nobody_there(tmp_path: Path) -> None:
    """A folder without replicas, and what a replica that was killed has left, are nothing to wait for."""
    assert drain_local(tmp_path / "none", 20.0) == 0

    async def leave() -> None:
        door = await DrainDoor.open(tmp_path, _nothing)
        assert door is not None
        door._server.close()

    asyncio.run(leave())
    (left,) = tmp_path.iterdir()
    assert left.is_socket()
    assert drain_local(tmp_path, 20.0) == 0


async def _nothing() -> None:
    return


def test_one_that_does_not_end(tmp_path: Path) -> None:
    """A drain that takes longer than it may is an error that says so; the replica goes on with it."""
    over = asyncio.Event()

    async def drain() -> None:
        await over.wait()

    with replica_at(tmp_path, drain), pytest.raises(SluiceError, match=r"still drains after 0\.2 s"):
        drain_local(tmp_path, 0.2)


def test_one_that_breaks_off(tmp_path: Path) -> None:
    """A connection that ends without the answer is no drain."""

    async def drain() -> None:
        raise BrokenPipeError

    with replica_at(tmp_path, drain), pytest.raises(SluiceError, match="ended before it was drained"):
        drain_local(tmp_path, 20.0)


async def test_the_door_is_for_its_own_user(tmp_path: Path) -> None:
    """Others on the machine cannot drain a gateway; and a door that is closed leaves nothing behind."""
    async with door_at(tmp_path / "state", _nothing):
        (path,) = (tmp_path / "state").iterdir()
        assert path.name == f"drain-{os.getpid()}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list((tmp_path / "state").iterdir()) == []


async def test_a_folder_that_takes_no_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A gateway serves all the same, and its log says what will not work."""
    file = tmp_path / "file"
    file.write_text("")
    assert await DrainDoor.open(file, _nothing) is None
    assert "will not find this gateway" in caplog.text


@pytest.mark.parametrize("given", [["--local"], ["--no-local"], []], ids=["local", "not local", "nothing"])
def test_the_command(tmp_path: Path, given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It wants to be told that this machine is meant, and says what it found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    with replica_at(tmp_path / "s", _nothing):
        done = CliRunner().invoke(app, ["drain", *given, "--state-dir", "s"])
    if given == ["--local"]:
        assert (done.exit_code, done.output) == (0, f"1 gateway drained here ({tmp_path / 's'})\n")
    else:
        assert done.exit_code == 2
