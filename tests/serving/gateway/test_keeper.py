"""The keeper's process is started beside the workers, started again when it ends, and gone when they are."""

from __future__ import annotations

import os
import signal
import stat
import textwrap
from pathlib import Path

import pytest

from serving.gateway import keeper as keeper_module
from serving.gateway.keeper import Keeper, socket_file
from tests.serving.gateway.rig import eventually
from tests.serving.processes import gone

SECRET = "redis://:a-secret@127.0.0.1/0"
PATIENCE_S = 30.0


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a keeper of ours writes what it was told, a line each time that it starts."""
    file = tmp_path / "told"
    (tmp_path / "told_keeper.py").write_text(
        textwrap.dedent(f"""
            import os, sys, time
            line = sys.stdin.readline()
            with open({str(file)!r}, "a") as told:
                told.write(line)
            time.sleep(600 if "ends" not in line else 0)
        """)
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return file


def lines_in(file: Path) -> list[str]:
    """What was told so far."""
    return file.read_text().splitlines() if file.exists() else []


def shown(pid: int) -> str:
    """The arguments that everybody on the machine may read."""
    return Path(f"/proc/{pid}/cmdline").read_text()


async def test_a_keeper_that_ends_is_started_again(told: Path) -> None:
    """With what the first one was told, which no argument shows; in the end it is gone."""
    keeper = Keeper(SECRET, module="told_keeper", first_pause_s=0.05)
    keeper.start()
    await eventually(lambda: lines_in(told) == [SECRET], PATIENCE_S)
    first = keeper.pid
    assert first is not None
    assert "secret" not in shown(first)
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: lines_in(told) == [SECRET, SECRET], PATIENCE_S)
    second = keeper.pid
    assert second not in (None, first)
    await keeper.stop()
    assert second is not None
    assert gone(second)
    assert keeper.pid is None


async def test_a_keeper_that_keeps_ending_is_tried_again_and_again(told: Path) -> None:
    """It never brings down what it is beside, and it can be stopped at any time."""
    keeper = Keeper("it ends", module="told_keeper", first_pause_s=0.01)
    keeper.start()
    await eventually(lambda: len(lines_in(told)) >= 3, PATIENCE_S)
    await keeper.stop()
    assert keeper.pid is None


def test_the_socket_is_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    """Nobody else may enter it; where its path would be too long, it is a temporary one."""
    path = socket_file(tmp_path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IRWXU
    deep = socket_file(tmp_path / ("long" * 40))
    assert len(os.fsencode(deep)) < 108
    assert stat.S_IMODE(deep.parent.stat().st_mode) == stat.S_IRWXU
    assert keeper_module.MODULE == "serving.keeping"
    deep.parent.rmdir()
