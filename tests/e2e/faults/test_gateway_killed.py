"""The gateway itself dies under load, again and again, and the next request is served."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
import yaml

from tests.e2e.conftest import Models
from tests.e2e.faults.load import CONNECTIONS, load
from tests.e2e.faults.test_faults import eventually
from tests.e2e.system import Installation, end

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

TIMES = 20
ROW = {"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}
BODY = json.dumps({"inputs": [ROW]}, separators=(",", ":")).encode()


def replica_of(installation: Installation) -> psutil.Process:
    """The Ray process that is the Gateway replica: the parent of the workers."""
    [worker, *_] = installation.processes("serving.gateway")
    return worker.parent()


async def test_a_killed_gateway_replica(tmp_path: Path, models: Models) -> None:
    """SIGKILL of the replica under load: its workers end with it, Serve brings another, nobody is refused.

    A connection that was open breaks, which no server can hide; whoever connects again is answered 200.
    """
    installation = Installation(tmp_path)
    versions = [{"version": 1, "path": str(models.folder / "digits" / "1")}]
    settings = {"models": [{"name": "digits", "versions": versions}], "triton": {"port_range": 0}}
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings))
    process = installation.start("up")
    try:
        run = installation.ready(process)
        port = int(run["http_url"].rsplit(":", 1)[1])
        async with load(port, "digits", BODY) as seen:
            for _ in range(TIMES):
                before = seen.answers.total()
                await eventually(lambda before=before: seen.answers.total() > before + 1_000, "answers")  # type: ignore[misc]
                replica = replica_of(installation)
                workers = [child.pid for child in replica.children(recursive=True)]
                os.kill(replica.pid, signal.SIGKILL)
                await eventually(lambda workers=workers: not any(map(psutil.pid_exists, workers)), "their end")  # type: ignore[misc]
            before = seen.answers.total()
            await eventually(lambda: seen.answers.total() > before + 1_000, "answers at the end")
        assert seen.errors == []
        assert seen.lost <= TIMES * CONNECTIONS
    finally:
        end(process)
        installation.gone()
