"""What stands while it is measured: two Triton servers, one for each version, and one gateway worker before them.

All listen on 127.0.0.1, on ports that are found free, and die with this process (`serving.child`).
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loadtests.gpu_check import models, smi
from loadtests.gpu_check.client import HOST
from loadtests.gpu_check.models import MODEL, VERSIONS
from serving import child
from serving.errors import StartFailed
from serving.pools import PoolOptions
from serving.triton.binary import find
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.process import ServerOptions, TritonProcess

_STOP_S = 10.0
_READY_S = 60.0
_LOOK_S = 0.05
Device = Literal["cpu", "gpu"]
"""Where the models run."""

_LISTENING = re.compile(r"^listening on http://.*:(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Standing:
    """Ports on 127.0.0.1.

    Attributes:
        tritons: of each version's server.
        gateway: of the gateway in front of them.
    """

    tritons: Mapping[int, int]
    gateway: int


@contextmanager
def standing(runner: asyncio.Runner, device: Device, share: str, folder: Path, logs: Path) -> Iterator[Standing]:
    """Everybody, ready, for as long as the block lasts. Call it from the main thread.

    Args:
        runner: in whose loop the servers are watched.
        device: where the models run.
        share: of version 2, as the gateway's command line takes it.
        folder: for the models and their repositories.
        logs: where everybody's log goes.

    Raises:
        StartFailed: somebody did not come up.
    """
    started: list[TritonProcess] = []
    try:
        for version in VERSIONS:
            server = runner.run(_triton(version, device, folder, logs))
            started.append(server)
        tritons = {server.version: server.http_port for server in started}
        with _gateway(tritons, share, logs / "gateway.log") as gateway:
            yield Standing(tritons, gateway)
    finally:
        for server in started:
            runner.run(server.stop(_STOP_S))


async def _triton(version: int, device: Device, folder: Path, logs: Path) -> TritonProcess:
    artifact = models.write(version, folder / f"artifact-{version}")
    repository = write_repository(
        ModelVersion(MODEL, version, artifact, PoolOptions(device=device)), folder / f"repository-{version}"
    )
    # Triton places an instance on every GPU that it sees; nvidia-smi counts them in the order of the bus.
    one_gpu = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": smi.chosen()} if device == "gpu" else {}
    options = ServerOptions(log_file=logs / f"triton-{version}.log", environment=one_gpu)
    return await TritonProcess.start(find(), repository, MODEL, version, options)


@contextmanager
def _gateway(tritons: Mapping[int, int], share: str, log: Path) -> Iterator[int]:
    behind = [f"--static={MODEL}/{version}={HOST}:{port}" for version, port in tritons.items()]
    argv = [sys.executable, "-m", "serving.gateway", "--host", HOST, "--port", "0", *behind]
    environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with log.open("wb") as said:
        process = child.spawn(
            [*argv, f"--traffic={MODEL}:2={share}"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _READY_S
        while not (port := _LISTENING.search(log.read_text(errors="replace"))):
            if not child.alive(process) or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise StartFailed(f"The gateway did not come up: {' '.join(last) or 'it gave no reason'}.")
            time.sleep(_LOOK_S)
        yield int(port[1])
    finally:
        child.stop(process, _STOP_S)
