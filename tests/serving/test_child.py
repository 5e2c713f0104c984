"""Children die with their parents, start with clean signals, and are stopped together with what they left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from serving import child
from serving.errors import StartFailed
from tests.serving.processes import REPOSITORY, eventually, gone

TELLING_SLEEPER = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = textwrap.dedent("""
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    left = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    print(left.pid, flush=True)
    time.sleep(60)
""")


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What the child says first."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_sigkill_of_the_parent_ends_the_child() -> None:
    """A parent that is killed with SIGKILL, which it cannot answer, takes its child with it."""
    parent_code = textwrap.dedent(f"""
        import subprocess, time
        from serving.child import spawn
        process = spawn({TELLING_SLEEPER!r}, stdout=subprocess.PIPE)
        process.stdout.readline()
        print(process.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, cwd=REPOSITORY) as parent:
        pid = int(first_line(parent))
        assert not gone(pid)
        parent.kill()
    assert eventually(lambda: gone(pid))


def test_a_launcher_whose_parent_is_already_gone_starts_nothing() -> None:
    """The launcher exits without starting the program when its parent is not the one that it expects."""
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", child._LAUNCHER, "1", "/bin/echo", "echo", "started"],
        capture_output=True,
        check=True,
    )
    assert launched.stdout == b""


def test_blocked_and_ignored_signals_are_not_inherited() -> None:
    """A child starts with no signal blocked and none ignored, whatever its parent's mask is."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process = child.spawn(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"], stdout=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    said, _ = process.communicate()
    masks = [int(line.split()[1], 16) for line in said.splitlines()]
    assert len(masks) == 2
    for number in signal.valid_signals():  # glibc keeps the two before SIGRTMIN to itself
        assert not any(mask >> (number - 1) & 1 for mask in masks)


def test_a_child_leads_its_own_session() -> None:
    """Ctrl-C at the terminal does not reach a child, for it leads a session of its own."""
    with child.spawn(TELLING_SLEEPER, stdout=subprocess.PIPE) as process:
        first_line(process)
        assert os.getsid(process.pid) == process.pid
        child.stop(process, 0.0)


def test_arguments_environment_folder_and_descriptors_reach_the_program(tmp_path: Path) -> None:
    """The program gets exactly the arguments, environment, working folder and descriptors it was given."""
    reads, writes = os.pipe()
    code = f"import os, sys; os.write({writes}, repr((sys.argv[1:], os.environ['A'], os.getcwd())).encode())"
    process = child.spawn(
        [sys.executable, "-S", "-c", code, "-x", "two words", ""], env={"A": "b"}, cwd=tmp_path, pass_fds=[writes]
    )
    os.close(writes)
    with os.fdopen(reads) as said:
        assert said.read() == repr((["-x", "two words", ""], "b", str(tmp_path)))
    assert process.wait() == 0


def test_stop_lets_a_child_that_listens_end_by_itself() -> None:
    """A child that obeys SIGTERM ends by it, and stopping it again changes nothing."""
    with child.spawn(TELLING_SLEEPER, stdout=subprocess.PIPE) as process:
        first_line(process)
        assert child.stop(process, 30.0) == -signal.SIGTERM
        assert child.stop(process, 30.0) == -signal.SIGTERM


async def test_stop_kills_a_child_that_does_not_listen_and_what_it_left_behind() -> None:
    """A child that ignores SIGTERM is killed after its grace, with the processes it had started."""
    with child.spawn([sys.executable, "-S", "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        left = int(first_line(process))
        assert child.alive(process)
        assert await child.stop_async(process, 0.1) == -signal.SIGKILL
        assert not child.alive(process)
        assert eventually(lambda: gone(left))


async def test_the_end_of_a_child_is_noticed() -> None:
    """Whoever waits for a child's end goes on when it ends, and at once when it has ended before."""
    with child.spawn(TELLING_SLEEPER, stdout=subprocess.PIPE) as process:
        first_line(process)
        waiting = asyncio.create_task(child.ended(process))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, 2.0)
        await asyncio.wait_for(child.ended(process), 2.0)
        child.stop(process, 0.0)
        await asyncio.wait_for(child.ended(process), 2.0)


def test_what_a_child_that_died_left_behind_is_killed_too() -> None:
    """Stopping a child that is already dead still ends the processes that it had started."""
    with child.spawn([sys.executable, "-S", "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        left = int(first_line(process))
        os.kill(process.pid, signal.SIGKILL)
        assert eventually(lambda: not child.alive(process))
        assert not gone(left)
        assert child.stop(process, 0.0) == -signal.SIGKILL
        assert eventually(lambda: gone(left))


def test_a_program_that_cannot_be_started_is_refused(tmp_path: Path) -> None:
    """A missing program, one that is not executable and an empty command line are refused in one sentence."""
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    for argv in ([], ["/no/such/program"], [str(plain)]):
        with pytest.raises(StartFailed):
            child.spawn(argv)
