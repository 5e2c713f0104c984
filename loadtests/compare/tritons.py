"""What stands behind everybody: two real Triton servers, one for each version of a model that returns what it gets."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.compare.payloads import MODEL
from serving.triton.binary import find
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.process import ServerOptions, TritonProcess

_IDENTITY = Path(__file__).with_name("identity")
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Tritons:
    """The two servers, by the port of their HTTP listeners on 127.0.0.1."""

    version_1: int
    version_2: int

    def port(self, version: int) -> int:
        """The server of version 1 or 2."""
        return self.version_1 if version == 1 else self.version_2


@contextmanager
def tritons(folder: Path) -> Iterator[Tritons]:
    """Both servers, ready, for as long as the block lasts. Call it from the main thread.

    Raises:
        StartFailed: one did not come up.
    """
    artifact = _artifact(folder / "identity")
    started: list[TritonProcess] = []
    with asyncio.Runner() as runner:
        try:
            for version in (1, 2):
                repository = write_repository(ModelVersion(MODEL, version, artifact), folder / f"repository-{version}")
                options = ServerOptions(log_file=folder / f"triton-{version}.log")
                started.append(runner.run(TritonProcess.start(find(), repository, MODEL, version, options)))
            yield Tritons(started[0].http_port, started[1].http_port)
        finally:
            for server in started:
                runner.run(server.stop(_STOP_S))


def _artifact(folder: Path) -> Path:
    """The model as Triton wants it: its configuration, and a folder for a version."""
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(_IDENTITY / "config.pbtxt", folder / "config.pbtxt")
    shutil.copyfile(_IDENTITY / "model.py", folder / "1" / "model.py")
    return folder
