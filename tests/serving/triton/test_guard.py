"""A guard ends what carries its mark when the server or the owner has ended, and removes what they leave behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.triton import guard as guarding
from serving.triton.guard import Guard
from tests.serving.processes import REPOSITORY, SLEEPER, eventually, gone


def sleeper(mark: str) -> "subprocess.Popen[bytes]":
    """A process with that mark, in a session of its own."""
    return subprocess.Popen(SLEEPER, env={**os.environ, guarding.VARIABLE: mark}, start_new_session=True)


def guards_of(mark: str) -> list[int]:
    """The guard's processes."""
    listed = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    found = []
    for entry in listed:
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if guarding.__name__.encode() in words and mark.encode() in words:
            found.append(int(entry.name))
    return found


@pytest.fixture
def processes() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes that the test starts, ended with it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_what_is_marked_ends_with_the_server_even_while_nobody_has_waited_for_it(
    processes: list["subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    """The stub ends at once when the server is a zombie, which its number would not tell; another server's do not."""
    guard = Guard.start(tmp_path / "home")
    (tmp_path / "home").mkdir()
    first, second = guard.server_mark(), guard.server_mark()
    server, stub, other, later = sleeper(first), sleeper(first), sleeper("another's"), sleeper(second)
    processes += [server, stub, other, later]
    guard.watch(server.pid, first)
    guard.watch(later.pid, second)
    time.sleep(0.3)
    assert not gone(stub.pid)
    server.kill()  # and is not waited for
    assert eventually(lambda: gone(stub.pid))
    time.sleep(0.2)
    assert not gone(other.pid)
    assert not gone(later.pid)
    assert (tmp_path / "home").exists()
    guard.close()
    assert not (tmp_path / "home").exists()
    assert gone(later.pid)
    assert not gone(other.pid)


def test_the_stubs_of_a_server_that_is_gone_already_end_at_once(
    processes: list["subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    """Also where somebody has waited for it before the guard was told."""
    guard = Guard.start(tmp_path / "home")
    mark = guard.server_mark()
    server, stub = sleeper(mark), sleeper(mark)
    processes.append(stub)
    server.kill()
    server.wait()
    guard.watch(server.pid, mark)
    assert eventually(lambda: gone(stub.pid))
    guard.close()


def test_closing_ends_all_and_returns_when_it_is_gone(
    processes: list["subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    """After close neither process nor folder nor shared memory nor the guard itself is left; again is harmless."""
    guard = Guard.start(tmp_path / "a", tmp_path / "missing")
    (tmp_path / "a" / "b").mkdir(parents=True)
    region = Path("/dev/shm", f"{guard.mark}-region")  # noqa: S108 - where Triton's stubs have theirs
    region.touch()
    stub = sleeper(guard.mark)
    processes.append(stub)
    guard.close()
    assert gone(stub.pid)
    assert not region.exists()
    assert not (tmp_path / "a").exists()
    assert eventually(lambda: not guards_of(guard.mark))
    guard.close()
    guard.watch(1, guard.server_mark())


def test_sigkill_of_the_owner_and_its_children_leaves_nothing(tmp_path: Path) -> None:
    """The guard is nobody's child: it outlives an owner that is killed, and cleans up."""
    code = textwrap.dedent(f"""
        import os, subprocess, sys, time
        from pathlib import Path
        from serving.triton import guard as guarding
        guard = guarding.Guard.start(Path({str(tmp_path / "home")!r}))
        Path({str(tmp_path / "home")!r}).mkdir()
        env = {{**os.environ, guarding.VARIABLE: guard.mark}}
        stub = subprocess.Popen({SLEEPER!r}, env=env, start_new_session=True)
        guard.watch(stub.pid, guard.mark)
        print(guard.mark, stub.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPOSITORY) as owner:
        assert owner.stdout is not None
        mark, stub = owner.stdout.readline().split()
        assert len(guards_of(mark.decode())) == 1
        children = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
        assert children == [stub.decode()]
        owner.kill()
    assert eventually(lambda: gone(int(stub)))
    assert eventually(lambda: not (tmp_path / "home").exists())
    assert eventually(lambda: not guards_of(mark.decode()))


def test_a_guard_that_was_killed_is_in_nobodys_way(processes: list["subprocess.Popen[bytes]"], tmp_path: Path) -> None:
    """Without its guard an owner goes on: watching and closing return, and end nothing."""
    guard = Guard.start(tmp_path)
    stub = sleeper(guard.mark)
    processes.append(stub)
    for pid in guards_of(guard.mark):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: all(map(gone, guards_of(guard.mark))))
    guard.watch(stub.pid, guard.mark)
    guard.close()
    assert not gone(stub.pid)
    assert tmp_path.exists()
