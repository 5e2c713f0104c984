"""Starts control rooms in processes of their own, and ends them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def room_process(url: str, namespace: str, folder: Path) -> Iterator[str]:
    """The address of a control API in a process of its own.

    Args:
        url: of the Valkey.
        namespace: what the room's keys begin with; two rooms of one namespace are two processes of one installation.
        folder: where its files lie.
    """
    command = [sys.executable, "-m", "tests.serving.control.room_process", url, namespace, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, "the room did not start"
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
