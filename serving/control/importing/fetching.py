"""Has a version brought by a process of its own (`tracking.py`), and ends that process whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from registry.errors import Conflict, NotFound, RegistryError, Unacceptable
from registry.tree import MOST_BYTES
from serving.child import ended, spawn, stop_async
from serving.control.importing.facts import Facts
from serving.control.importing.source import Source, SourceUnavailable, Taken, shown
from serving.errors import SluiceError

_GRACE_S = 1.0
_CREDENTIALS = re.compile(r"//[^/\s]*@")
_PROBLEMS: dict[str, type[RegistryError | SluiceError]] = {
    kind.__name__: kind for kind in (Conflict, NotFound, Unacceptable, SourceUnavailable)
}

# A second try and no more, no other servers than the one that was named, and no chatter:
# neither on a terminal nor home to its makers.
_MANNERS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A tracking server, and what it may do.

    Attributes:
        uri: its address; may hold a user and a password.
        sources: roots of artifacts beside its own store, as the settings list them.
        limit_s: how long it may take to hand a version over, in seconds.
        answer_s: how long it may be silent, in whole seconds.
        largest_file: bytes that one file may have; the sum is judged when it is brought into the store.
    """

    uri: str
    sources: Sequence[str] = ()
    limit_s: float = 1_800.0
    answer_s: int = 10
    largest_file: int = MOST_BYTES


def check_installed() -> None:
    """Refuses where MLflow's client is not installed.

    Raises:
        Unacceptable: with what to install.
    """
    if find_spec("mlflow") is None:
        raise Unacceptable(
            "MLflow's client is not installed, so nothing can be imported from a tracking server.",
            "Install the extra where the control API runs: pip install 'sluice-gateway[mlflow]'",
        )


async def fetch(source: Source, server: Server, folder: Path, taken: Taken) -> Facts:
    """What the server says of the version; its files are in `model` below the folder, which is there and empty.

    Args:
        source: the version.
        server: where it is.
        folder: for its files.
        taken: the numbers that it must not have there; nothing is downloaded if it has one of them.

    Raises:
        Conflict: its number is taken.
        NotFound: there is no such version.
        SourceUnavailable: the server does not answer, or answers nonsense.
        Unacceptable: it may not be brought, or MLflow's client is not installed.
    """
    check_installed()
    request = {
        "source": str(source),
        "tracking_uri": server.uri,
        "sources": list(server.sources),
        "largest_file": server.largest_file,
        "taken": {"model": taken.model, "numbers": sorted(taken.numbers)},
    }
    # The address may hold a password: never an argument, which everybody on the machine can read.
    (folder / "request.json").touch(mode=0o600)
    (folder / "request.json").write_text(json.dumps(request))
    await _asked(source, server, folder)
    return _answer(source, server, folder)


async def _asked(source: Source, server: Server, folder: Path) -> None:
    with (folder / "log").open("wb") as log:
        child = spawn(
            [sys.executable, "-P", "-m", "serving.control.importing.tracking", str(folder)],
            env={**os.environ, **_MANNERS, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(server.answer_s)},
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with asyncio.timeout(server.limit_s):
            await ended(child)
    except TimeoutError as error:
        raise SourceUnavailable(
            f"The tracking server at {shown(server.uri)} did not hand {source} over within {server.limit_s:g} s.",
            "See that it runs and how fast it sends; nothing was imported.",
        ) from error
    finally:
        await stop_async(child, _GRACE_S)


def _answer(source: Source, server: Server, folder: Path) -> Facts:
    try:
        answer = json.loads((folder / "answer.json").read_text())
    except (OSError, ValueError) as error:
        raise SourceUnavailable(
            f"Asking the tracking server at {shown(server.uri)} for {source} broke off: {_last_line(folder / 'log')}",
            "See that the extra `mlflow` is installed as a whole; nothing was imported.",
        ) from error
    if problem := answer.get("problem"):
        raise _PROBLEMS.get(problem["kind"], SourceUnavailable)(problem["sentence"], problem["hint"])
    return Facts.from_plain(answer["facts"])


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return without_credentials(lines[-1])[:300] if lines else "it said nothing."


def without_credentials(text: str) -> str:
    """The text without user and password in any address in it; to be asked before it is cut short."""
    return _CREDENTIALS.sub("//", text)
