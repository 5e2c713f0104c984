"""What a killed server's Python backend has left in /tmp is removed, and what may be somebody's is not."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from serving.triton import scratch
from serving.triton.binary import find
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.process import ServerOptions, TritonProcess
from tests.e2e.numbered import numbered

MADE = "python_env_aB3dE6"


def made(folder: Path) -> Path:
    """A folder as the backend makes it, now."""
    one = folder / MADE
    one.mkdir()
    return one


def test_one_whose_maker_is_gone_is_removed(tmp_path: Path) -> None:
    """No server runs, or all of them began after it was made."""
    for later_s in ([], [time.time() + 60]):
        one = made(tmp_path)
        scratch.remove(tmp_path, time.time() - 60, later_s)
        assert not one.exists()


def test_one_that_may_be_in_use_stays(tmp_path: Path) -> None:
    """A server that runs had begun before: it may have made it."""
    one = made(tmp_path)
    for servers_s in ([time.time() - 30], [time.time() - 30, time.time() + 60], [time.time()]):
        scratch.remove(tmp_path, time.time() - 60, servers_s)
        assert one.exists()


def test_one_with_something_in_it_and_one_from_before_stay(tmp_path: Path) -> None:
    """An environment that was unpacked; and whatever was there when we began."""
    one = made(tmp_path)
    scratch.remove(tmp_path, time.time() + 60, [])
    (one / "0").mkdir()
    scratch.remove(tmp_path, time.time() - 60, [])
    other = tmp_path / "python_environment"
    other.mkdir()
    scratch.remove(tmp_path, time.time() - 60, [])
    assert one.exists()
    assert other.exists()


async def test_a_server_counts_from_its_beginning_until_it_is_killed(tmp_path: Path) -> None:
    """Real servers are found, with when they began."""
    repository = write_repository(ModelVersion("m", 1, numbered(tmp_path / "a", 1)), tmp_path / "repository")
    before, before_s = list(scratch._servers_began()), time.time()
    server = await TritonProcess.start(find(), repository, "m", 1, ServerOptions())
    try:
        news = [one for one in scratch._servers_began() if one > before_s - scratch._INACCURACY_S]
        assert any(before_s - scratch._INACCURACY_S < one < time.time() + scratch._INACCURACY_S for one in news)
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.wait_for(server.ended(), 5)
    finally:
        await server.stop(0.0)
    assert len(news) > sum(one > before_s for one in before)
