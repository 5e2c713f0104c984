"""Who is compared over gRPC: the same three as over HTTP, each on a port that speaks HTTP/2 in the clear.

A peer counts as up when it has answered a real call. What is measured on it, and when, is `bench.py`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from loadtests.compare.calls import Call, ask
from loadtests.compare.errors import Void
from loadtests.compare.payloads import MODEL
from loadtests.compare.peers import HOST, SPLIT, Peer, Probe, envoy_program, free_port, running
from loadtests.compare.plan import DIRECT, ENVOY, GATEWAY
from loadtests.compare.tritons import Tritons

_TEMPLATE = Path(__file__).with_name("envoy-grpc.yaml")


@contextmanager
def grpc_peers(behind: Tritons, folder: Path, call: Call) -> Iterator[Mapping[str, Peer]]:
    """All three by their paths; `call` is one that the model behind them answers."""
    with _envoy(behind, folder, call) as envoy, _gateway(behind, folder, call) as gateway:
        yield {DIRECT: Peer(_url(behind.grpc_1)), ENVOY: envoy, GATEWAY: gateway}


def address(peer: Peer) -> str:
    """Host and port, as gRPC's clients want them."""
    return urlsplit(peer.url).netloc


@contextmanager
def _envoy(behind: Tritons, folder: Path, call: Call) -> Iterator[Peer]:
    """Envoy with one worker, splitting."""
    port, config, log = free_port(), folder / "envoy-grpc.yaml", folder / "envoy-grpc.log"
    versions = {f"version_{version}_port": behind.grpc_port(version) for version in (1, 2)}
    config.write_text(Template(_TEMPLATE.read_text()).substitute(versions, split_port=port))
    argv = [str(envoy_program()), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]
    with running([*argv, "--log-level", "warning"], _over_grpc(port, call), log) as pid:
        yield Peer(_url(port), pid)


@contextmanager
def _gateway(behind: Tritons, folder: Path, call: Call) -> Iterator[Peer]:
    """This gateway: one worker with its default settings, splitting."""
    port = free_port()
    versions = [
        f"--static={MODEL}/{version}={HOST}:{behind.port(version)}:{behind.grpc_port(version)}" for version in (1, 2)
    ]
    argv = [sys.executable, "-m", "serving.gateway", "--host", HOST, "--port", "0", "--grpc-port", str(port)]
    with running([*argv, *versions, *SPLIT], _over_grpc(port, call), folder / f"gateway-{port}.log") as pid:
        yield Peer(_url(port), pid)


def _over_grpc(port: int, call: Call) -> Probe:
    """Whether the call is answered as it should be."""

    def probe() -> str | None:
        try:
            ask(f"{HOST}:{port}", call)
        except Void as error:
            return str(error)
        return None

    return probe


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"
