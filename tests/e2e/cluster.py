"""A Ray cluster that somebody else has started, with a token: for tests of what joins one."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving import child
from tests.e2e.system import until


@contextmanager
def ray_cluster(folder: Path) -> Iterator[Mapping[str, str]]:
    """Up while the block lasts; the environment to reach it with.

    Args:
        folder: for its log.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    environment = {
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}", "--block"]
    options = ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--num-cpus=2"]
    with (folder / "ray.log").open("wb") as log:
        head = child.spawn(
            [*command, *options], env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        until(lambda: is_up(environment), "the cluster")
        yield environment
    finally:
        child.stop(head, 20.0)


def is_up(environment: Mapping[str, str]) -> bool:
    """Whether somebody listens where the cluster is."""
    host, _, port = environment["RAY_ADDRESS"].partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
