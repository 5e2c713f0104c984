"""An installation of one's own for a proof: `sluice up` in a folder, its addresses, and its end.

It is started and asked as a user would, by command and over HTTP; nothing of the product is imported.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

READY_WITHIN_S = 180.0
_ENDS_WITHIN_S = 60.0
_LOOK_S = 0.1


class Failed(Exception):  # noqa: N818 - named after what happened
    """Something that the proof needs did not happen."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One that is up.

    Attributes:
        http_url: where predictions go.
        control_url: where operators go.
        folder: where it runs.
        pid: of the command.
        grpc_url: where predictions go over gRPC, host and port; empty where they may not.
    """

    http_url: str
    control_url: str
    folder: Path
    pid: int
    grpc_url: str = ""

    def client(self, key: str = "") -> httpx.AsyncClient:
        """For the control API; shows this key, if there is one."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=f"{self.control_url}/api/v1", headers=headers, timeout=60.0)


@contextmanager
def installation(folder: Path, settings: Mapping[str, Any]) -> Iterator[Installation]:
    """`sluice up` with these settings, on free ports, for as long as the block lasts.

    Raises:
        Failed: it did not come up, or did not end.
    """
    listen = {"http_port": 0, "grpc_port": 0}
    free: dict[str, Any] = {"listen": listen, "control": {"port": 0}, "metrics": {"port": 0}}
    free["drift"] = {"sidecar": {"metrics_port": 0}}
    (folder / "sluice.yaml").write_text(yaml.safe_dump({**free, **settings}))
    log = folder / "up.log"
    with log.open("ab") as out:
        command = subprocess.Popen(
            [str(Path(sys.executable).with_name("sluice")), "up"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        run = _ready(command, folder / ".sluice" / "run.json", log)
        yield Installation(run["http_url"], run["control_url"], folder, command.pid, run.get("grpc_url", ""))
    finally:
        _end(command)


async def finished(client: httpx.AsyncClient, answer: httpx.Response, within_s: float) -> Mapping[str, Any]:
    """The operation that an answer began, once it is done.

    Raises:
        Failed: it was refused, has failed, or is not done in time; with its own sentence.
    """
    deadline = time.monotonic() + within_s
    while True:
        said = answer.json()
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise Failed(_sentence(said))
        if said.get("state") in {"failed", "cancelled"}:
            raise Failed(f"{said['kind']} of {said['model']} {said['state']}: {_sentence(said.get('problem') or said)}")
        if answer.status_code != httpx.codes.ACCEPTED and said.get("state") not in {"waiting", "running"}:
            return dict(said)
        if time.monotonic() > deadline:
            raise Failed(f"{said['kind']} of {said['model']} is not done after {within_s:g} s: {said['words']}.")
        answer = await client.get(f"/operations/{said['id']}", params={"wait_s": 5})


def _sentence(problem: Mapping[str, Any]) -> str:
    return f"{problem.get('detail', problem)} {problem.get('hint', '')}".strip()


def _ready(command: subprocess.Popen[bytes], run_file: Path, log: Path) -> Mapping[str, Any]:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if command.poll() is not None:
            raise Failed(f"`sluice up` ended with {command.returncode}:\n{log.read_text()}")
        try:
            return dict(json.loads(run_file.read_text()))
        except (FileNotFoundError, ValueError):
            time.sleep(_LOOK_S)
    raise Failed(f"`sluice up` was not ready within {READY_WITHIN_S:g} s:\n{log.read_text()}")


def _end(command: subprocess.Popen[bytes]) -> None:
    if command.poll() is not None:
        return
    command.send_signal(signal.SIGINT)
    try:
        command.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        command.kill()
        command.wait()
        raise Failed(f"`sluice up` did not end within {_ENDS_WITHIN_S:g} s of being asked.") from None
