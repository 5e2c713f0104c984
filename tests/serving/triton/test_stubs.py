"""A server's stubs are found by their parent and name, and their end is noticed without anybody waiting for them."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.triton.stubs import children_of, dead_stubs_of, exit_code_of, first_ended, has_ended, words_of


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[int, list[int]]]:
    """A process that waits for none of its children: two by the name of stubs, one by another. (pid, children)."""
    sleep = shutil.which("sleep")
    assert sleep is not None
    for name in ("triton_python_backend_stub", "other"):
        shutil.copy(sleep, tmp_path / name)
    code = textwrap.dedent(f"""
        import subprocess, time
        names = ["triton_python_backend_stub", "triton_python_backend_stub", "other"]
        children = [subprocess.Popen([{str(tmp_path)!r} + "/" + name, "60"]) for name in names]
        print(*(child.pid for child in children), flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        try:
            yield parent.pid, children
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
            parent.kill()


async def test_stubs_are_found_and_their_end_is_noticed(family: tuple[int, list[int]]) -> None:
    """Those of that name, and no others; the first that ends is told, with the signal that ended it."""
    parent, children = family
    async with asyncio.timeout(5.0):
        while set(children_of(parent)) != set(children[:2]):  # noqa: ASYNC110 - until both have become their program
            await asyncio.sleep(0.01)
    waiting = asyncio.create_task(first_ended((parent, *children[:2])))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert exit_code_of(children[1]) is None
    os.kill(children[1], signal.SIGKILL)
    assert await asyncio.wait_for(waiting, 2.0) == children[1]
    assert has_ended(children[1])
    assert not has_ended(children[0])
    assert exit_code_of(children[1]) == -signal.SIGKILL
    assert set(children_of(parent)) == set(children[:2])
    assert dead_stubs_of(parent) == {children[1]}


async def test_one_that_is_gone_has_ended() -> None:
    """A number that nobody has any more is an end at once, of which nothing more is known."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "")
    await process.wait()
    assert await asyncio.wait_for(first_ended([process.pid]), 1.0) == process.pid
    assert has_ended(process.pid)
    assert exit_code_of(process.pid) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [(None, "ended"), (3, "ended with exit code 3"), (-11, "was killed by SIGSEGV"), (-99, "was killed by signal 99")],
)
def test_an_end_in_words(code: int | None, words: str) -> None:
    """As Popen says it, in words."""
    assert words_of(code) == words
