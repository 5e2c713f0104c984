"""What a run leaves behind is ended, what ends by itself is left to do so, and nobody else's process is touched."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.sweeper import VARIABLE, sweep, sweeping
from tests.serving.processes import REPOSITORY, SLEEPER, eventually, gone


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of another run."""
    process = subprocess.Popen(SLEEPER, env={**os.environ, VARIABLE: "another"}, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def marked(mark: str) -> subprocess.Popen[bytes]:
    """A process of the run, in a session of its own, that would sleep for a minute."""
    return subprocess.Popen(SLEEPER, env={**os.environ, VARIABLE: mark}, start_new_session=True)


def test_what_is_left_after_the_grace_is_killed(bystander: subprocess.Popen[bytes]) -> None:
    """All of the run's processes, and no other."""
    processes = [marked("run-1") for _ in range(3)]
    sweep("run-1", grace_s=0.0)
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3
    assert bystander.poll() is None


def test_what_ends_by_itself_is_left_to_do_so() -> None:
    """Within the grace nothing is killed, and the sweep is over as soon as nothing is left."""
    code = "import time; time.sleep(0.3)"
    process = subprocess.Popen([sys.executable, "-S", "-c", code], env={**os.environ, VARIABLE: "run-2"})
    began = time.monotonic()
    sweep("run-2", grace_s=30.0)
    assert time.monotonic() - began < 30.0
    assert process.wait() == 0


def test_a_mark_is_compared_as_a_whole() -> None:
    """The beginning of another run's mark is not that run."""
    process = marked("run-33")
    try:
        sweep("run-3", grace_s=0.0)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_the_block_marks_its_environment_and_waits(bystander: subprocess.Popen[bytes]) -> None:
    """What was started in the block and detached itself is gone when the block is over."""
    before = os.environ.get(VARIABLE)
    with sweeping(0.5):
        process = subprocess.Popen(SLEEPER, start_new_session=True)
        assert os.environ[VARIABLE] != before
    assert process.poll() == -signal.SIGKILL
    assert os.environ.get(VARIABLE) == before
    assert bystander.poll() is None


def test_sigkill_of_the_command_is_followed_by_a_sweep() -> None:
    """A grandchild that is nobody's child by then, and that nothing else would have ended."""
    code = textwrap.dedent(f"""
        import subprocess, time
        from serving.sweeper import sweeping
        with sweeping(0.5):
            print(subprocess.Popen({SLEEPER!r}, start_new_session=True).pid, flush=True)
            time.sleep(60)
    """)
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPOSITORY)
    with command:
        assert command.stdout is not None
        left = int(command.stdout.readline())
        command.kill()
    assert not gone(left)
    assert eventually(lambda: gone(left), 10.0)


def test_what_a_swept_server_leaves_is_removed_by_its_guard(tmp_path: Path) -> None:
    """Owner and stub are killed at once; the guard is none of the run's, and removes folder and shared memory."""
    home = tmp_path / "home"
    code = textwrap.dedent(f"""
        import os, subprocess, time
        from pathlib import Path
        from serving.triton import guard as guarding
        home = Path({str(home)!r})
        guard = guarding.Guard.start(home)
        home.mkdir()
        mark = guard.server_mark()
        Path("/dev/shm", mark + "-region").touch()
        stub = subprocess.Popen({SLEEPER!r}, env={{**os.environ, guarding.VARIABLE: mark}}, start_new_session=True)
        guard.watch(stub.pid, mark)
        print(stub.pid, "/dev/shm/" + mark + "-region", flush=True)
        time.sleep(60)
    """)
    environment = {**os.environ, VARIABLE: "run-4"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment) as one:
        assert one.stdout is not None
        stub, region = one.stdout.readline().decode().split()
        assert Path(region).exists()
        sweep("run-4", grace_s=0.0)
    assert eventually(lambda: not home.exists() and not Path(region).exists(), 10.0)
    assert gone(int(stub))
