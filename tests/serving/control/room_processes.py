"""Starts control rooms in processes of their own, and ends them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Guarded(NamedTuple):
    """The address of a control API that lets nobody in without a key, and what may be shown to it, by name."""

    address: str
    shown: dict[str, str | None]

    def headers(self, name: str) -> dict[str, str]:
        """The headers of a request that shows this."""
        said = self.shown[name]
        return {} if said is None else {"Authorization": said}


@contextmanager
def room_process(url: str, namespace: str, folder: Path) -> Iterator[str]:
    """The address of a control API in a process of its own.

    Args:
        url: of the Valkey.
        namespace: what the room's keys begin with; two rooms of one namespace are two processes of one installation.
        folder: where its files lie.
    """
    with _started(url, namespace, str(folder)) as room:
        yield room.address


@contextmanager
def guarded_room_process(url: str, namespace: str, folder: Path) -> Iterator[Guarded]:
    """The same, with a key asked of everybody."""
    with _started(url, namespace, str(folder), "required") as room:
        yield room


@contextmanager
def _started(*arguments: str) -> Iterator[Guarded]:
    command = [sys.executable, "-m", "tests.serving.control.room_process", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, "the room did not start"
            yield Guarded(address, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
