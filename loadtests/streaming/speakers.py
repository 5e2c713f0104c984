"""Real Triton servers that stream tokens, one for each version of one model."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from serving.triton.binary import find
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.process import ServerOptions, TritonProcess

MODEL: Final = "tokens"
_SOURCE = Path(__file__).with_name("tokens")
_STOP_S = 1.0


@contextmanager
def speakers(folder: Path, *versions: int) -> Iterator[Mapping[int, TritonProcess]]:
    """The servers by version, ready, for as long as the block lasts. Call it from the main thread.

    Raises:
        StartFailed: one did not come up.
    """
    artifact = artifact_in(folder / MODEL)
    started: dict[int, TritonProcess] = {}
    with asyncio.Runner() as runner:
        try:
            for version in versions:
                repository = write_repository(ModelVersion(MODEL, version, artifact), folder / f"repository-{version}")
                options = ServerOptions(log_file=folder / f"triton-{version}.log")
                start = TritonProcess.start(find(), repository, MODEL, version, options)
                started[version] = runner.run(start)
            yield MappingProxyType(started)
        finally:
            for server in started.values():
                runner.run(server.stop(_STOP_S))


def artifact_in(folder: Path) -> Path:
    """The model as Triton wants it: its configuration, and a folder for a version."""
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(_SOURCE / "config.pbtxt", folder / "config.pbtxt")
    shutil.copyfile(_SOURCE / "model.py", folder / "1" / "model.py")
    return folder
