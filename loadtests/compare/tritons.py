"""What stands behind everybody: two real Triton servers, one for each version of a model that returns what it gets.

It returns it once (`identity/`), or as often as it is asked to (`repeat/`).
"""

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

_HERE = Path(__file__).parent
_STOP_S = 5.0

IDENTITY, REPEAT = "identity", "repeat"
"""The models, by the folder that they are in."""


@dataclass(frozen=True, slots=True)
class Tritons:
    """The two servers, by the ports of their listeners on 127.0.0.1, HTTP and gRPC."""

    version_1: int
    version_2: int
    grpc_1: int
    grpc_2: int

    def port(self, version: int) -> int:
        """The server of version 1 or 2 by HTTP."""
        return self.version_1 if version == 1 else self.version_2

    def grpc_port(self, version: int) -> int:
        """The server of version 1 or 2 by gRPC."""
        return self.grpc_1 if version == 1 else self.grpc_2


@contextmanager
def tritons(folder: Path, kind: str = IDENTITY) -> Iterator[Tritons]:
    """Both servers with a model of this kind, ready, for as long as the block lasts. Call it from the main thread.

    Raises:
        StartFailed: one did not come up.
    """
    artifact = _artifact(kind, folder / kind)
    started: list[TritonProcess] = []
    with asyncio.Runner() as runner:
        try:
            for version in (1, 2):
                repository = write_repository(ModelVersion(MODEL, version, artifact), folder / f"{kind}-{version}")
                options = ServerOptions(log_file=folder / f"triton-{kind}-{version}.log")
                started.append(runner.run(TritonProcess.start(find(), repository, MODEL, version, options)))
            yield Tritons(*(server.http_port for server in started), *(server.grpc_port for server in started))
        finally:
            for server in started:
                runner.run(server.stop(_STOP_S))


def _artifact(kind: str, folder: Path) -> Path:
    """The model as Triton wants it: its configuration, and a folder for a version."""
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(_HERE / kind / "config.pbtxt", folder / "config.pbtxt")
    shutil.copyfile(_HERE / kind / "model.py", folder / "1" / "model.py")
    return folder
