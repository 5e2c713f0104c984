"""An installation whose registry has a version that waits for its turn, and what is asked of it over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.e2e.hammer import Hammer
from tests.e2e.numbered import ROW, numbered
from tests.e2e.system import PATIENCE_S, Installation, end, refuses, until

CONTROL_REPLICA = "ServeReplica:sluice:control"


@dataclass(frozen=True)
class Room:
    """An installation with version 1 of digits in its settings, and version 2 in its registry."""

    installation: Installation
    processes: list[subprocess.Popen[bytes]]
    http_place: str
    api: httpx.Client
    body: bytes

    def get(self, path: str) -> dict[str, Any]:
        """What the API answers, as soon as it does."""

        def look() -> dict[str, Any]:
            with suppress(httpx.TransportError):
                answer = self.api.get(path)
                if answer.status_code == 200:
                    return dict(answer.json())
            return {}

        return until(look, f"an answer of {path}")

    def begin(self, path: str, said: Mapping[str, Any]) -> str:
        """The id of an operation that has begun."""
        answer = self.api.post(path, json=said)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def ended(self, operation: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The operation at its end."""

        def look() -> dict[str, Any]:
            found = self.get(f"/operations/{operation}")
            return found if found["state"] in {"done", "failed", "cancelled"} else {}

        return until(look, f"the end of the operation {operation}", within_s)

    def done(self, path: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """What came of an operation that must come to a good end."""
        operation = self.ended(self.begin(path, said))
        assert operation["state"] == "done", operation
        return operation

    def versions(self) -> dict[int, dict[str, Any]]:
        """The versions of digits, as the status shows them."""
        [model] = self.get("/status")["models"]
        return {one["version"]: one for one in model["versions"]}

    def pools(self, version: int) -> list[str]:
        """The states of a version's pools."""
        return [pool["state"] for pool in self.get("/status")["pools"] if pool["version"] == version]

    def shares(self) -> dict[int, int]:
        """Where traffic goes."""
        [model] = self.get("/status")["models"]
        return {int(version): share for version, share in model["shares"].items() if share}

    def hammer(self) -> Hammer:
        """Light load, which does not stop."""
        return Hammer(self.http_place, "digits", self.body, threads=2)

    def control_replicas(self) -> list[psutil.Process]:
        """The process of the control room's replica; Ray writes its name over its command line."""
        return self.installation.processes(CONTROL_REPLICA)


@contextmanager
def flip_room(folder: Path, options: Mapping[str, Any] | None = None) -> Iterator[Room]:
    """Up for as long as the block lasts; ended by SIGTERM, which ends it with 0, and nothing of it may be left over.

    A test may kill it before, and then it has to have looked itself at what is left over.

    Args:
        folder: where it comes to lie.
        options: of version 1.
    """
    installation = Installation(folder)
    models = folder / "models"
    first = {"version": 1, "path": str(numbered(models / "1", 1)), **(options or {})}
    settings = {
        "models": [{"name": "digits", "versions": [first]}],
        "registry": {"sources": [str(models)]},
        "triton": {"port_range": 0},
    }
    (installation.folder / "sluice.yaml").write_text(yaml.safe_dump(settings))
    processes = [installation.start("up")]
    try:
        run = installation.ready(processes[0], within_s=4 * PATIENCE_S)
        with httpx.Client(base_url=f"{run['control_url']}/api/v1", timeout=30) as api:
            place = run["http_url"].removeprefix("http://")
            room = Room(installation, processes, place, api, json.dumps(ROW).encode())
            source = numbered(models / "2", 2)
            room.done("/registry/models/digits/versions", {"source": str(source), "number": 2})
            yield room
    finally:
        killed = processes[-1].returncode == -signal.SIGKILL
        code = 0 if killed else end(processes[-1], signal.SIGTERM)
        installation.gone()
    assert code == 0, installation.output()
    assert refuses(f"http://{place}")
